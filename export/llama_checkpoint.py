"""A LLaMA's tensors from Hugging Face safetensors, one or many files, one tensor in memory at a time.

Matrices that a quantiser has already brought to 4 bits (packed_weights.py) are given as they are, or as the numbers they stand for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .int4 import Int4Matrix, quantize
from .llama_config import LlamaConfig, QuantizeError
from .packed_weights import Packing, read_packing

Float = npt.NDArray[np.float32]
SHARD_BYTES = 1 << 30
EMBEDDINGS, HEAD, LAST_NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


class LlamaCheckpoint:
    """Where each tensor lies. A file is opened for one tensor and closed again: a map left open counts all its read pages as ours."""

    def __init__(self, source: Path, config: LlamaConfig) -> None:
        self.source, self.config = source, config
        self._files = _files_of(source)
        self.packing: Packing | None = read_packing(source)
        self._check()

    def tensor(self, name: str) -> Float:
        """One tensor in float32. QuantizeError where its file is damaged."""
        if self._is_packed(name):
            return self._unpacked(name.removesuffix(".weight")).values()
        found: Float = self._read(name).float().numpy()  # NumPy has no bfloat16
        if not np.isfinite(found).all():
            raise QuantizeError(f"{self._files[name]}: {name} holds numbers that are not finite; copy or train the checkpoint again")
        return found

    def _read(self, name: str) -> Any:
        path = self._files[name]
        try:
            with safe_open(str(path), framework="pt") as file:
                return file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise QuantizeError(f"{path}: {name} cannot be read ({error}); copy the checkpoint again") from error

    def _is_packed(self, name: str) -> bool:
        return self.packing is not None and name not in self._files

    def _unpacked(self, name: str) -> Int4Matrix:
        """A matrix as the quantiser left it. QuantizeError where our graphs cannot hold it."""
        assert self.packing is not None
        tensors = {suffix: self._read(f"{name}.{suffix}") for suffix in self.packing.suffixes if f"{name}.{suffix}" in self._files}
        return self.packing.unpacked(name, tensors)

    def int4(self, names: Sequence[str], block_size: int) -> Int4Matrix:
        """Matrices with the same inputs, one below the other, in 4 bits: the quantiser's own, or rounded to nearest."""
        if not any(self._is_packed(f"{name}.weight") for name in names):
            return quantize(self.matrix(*names), block_size)
        parts = [self._unpacked(name) if self._is_packed(f"{name}.weight") else quantize(self.matrix(name), block_size) for name in names]
        return Int4Matrix(np.concatenate([part.packed for part in parts]), np.concatenate([part.scales for part in parts]), block_size)

    def matrix(self, *names: str) -> Float:
        """Matrices (outputs, inputs) with the same inputs, one below the other."""
        parts = [self.tensor(f"{name}.weight") for name in names]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def bias(self, *names: str) -> Float:
        return np.concatenate([self.tensor(f"{name}.bias") for name in names])

    @property
    def head(self) -> str:
        """The matrix (vocabulary, hidden), the embeddings' own where they are tied."""
        return (EMBEDDINGS if self.config.tied else HEAD).removesuffix(".weight")

    def save_half(self, target: Path) -> None:
        """The same checkpoint in float16, in files of at most SHARD_BYTES: far finer than the 4 bits that are compared with it."""
        shards = list(self._shards())
        table = {}
        for number, names in enumerate(shards, start=1):
            file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            save_file({name: self._half(name) for name in names}, target / file, {"format": "pt"})
            table.update(dict.fromkeys(names, file))
        if len(shards) > 1:
            index = {"metadata": {"total_size": sum(2 * self._size(name) for name in table)}, "weight_map": table}
            (target / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    def _half(self, name: str):  # type: ignore[no-untyped-def]
        if self._is_packed(name):
            return torch.from_numpy(self.tensor(name)).half()
        return self._read(name).half().contiguous()

    def _size(self, name: str) -> int:
        return int(np.prod(self._wanted()[name]))

    def _shards(self) -> Iterator[list[str]]:
        names: list[str] = []
        held = 0
        for name in self._wanted():
            size = 2 * self._size(name)
            if names and held + size > SHARD_BYTES:
                yield names
                names, held = [], 0
            names.append(name)
            held += size
        yield names

    def _wanted(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of this architecture and its shape."""
        config = self.config
        wanted: dict[str, tuple[int, ...]] = {EMBEDDINGS: (config.vocab, config.hidden)}
        for layer in range(config.layers):
            place = f"model.layers.{layer}."
            for name, (outputs, inputs) in config.matrices.items():
                wanted[f"{place}{name}.weight"] = (outputs, inputs)
                if config.attention_bias if name.startswith("self_attn") else config.mlp_bias:
                    wanted[f"{place}{name}.bias"] = (outputs,)
            wanted[place + "input_layernorm.weight"] = wanted[place + "post_attention_layernorm.weight"] = (config.hidden,)
        wanted[LAST_NORM] = (config.hidden,)
        if not config.tied:
            wanted[HEAD] = (config.vocab, config.hidden)
        return wanted

    def _check(self) -> None:
        """QuantizeError naming a missing or misshapen tensor, before anything is written. Reads headers only."""
        wanted = self._wanted()
        if self.packing is not None:
            wanted = self.packing.replaced(wanted, set(self._files))
        missing = [name for name in wanted if name not in self._files]
        if missing:
            raise QuantizeError(
                f"{self.source} lacks {len(missing)} of {len(wanted)} tensors, {missing[0]} the first; copy all of the checkpoint's files"
            )
        by_file: dict[Path, list[str]] = {}
        for name in wanted:
            by_file.setdefault(self._files[name], []).append(name)
        for path, names in by_file.items():
            shapes = _shapes(path)
            for name in names:
                if shapes.get(name) != wanted[name]:
                    found = shapes.get(name, "nothing")
                    raise QuantizeError(f"{path}: {name} must be {wanted[name]} as config.json says, found {found}; do not mix checkpoints")


def _files_of(source: Path) -> dict[str, Path]:
    """Tensor name → its file."""
    index, single = source / "model.safetensors.index.json", source / "model.safetensors"
    if index.is_file():
        try:
            table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return {name: source / Path(file).name for name, file in table.items()}
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise QuantizeError(f"{index} cannot be read ({error}); copy the checkpoint again") from error
    if single.is_file():
        return dict.fromkeys(_shapes(single), single)
    raise QuantizeError(f"{source} holds no model.safetensors and no model.safetensors.index.json; give --llama a Hugging Face folder")


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in list(file.keys())}
    except (SafetensorError, OSError) as error:
        raise QuantizeError(f"{path} cannot be read ({error}); copy the checkpoint again") from error
