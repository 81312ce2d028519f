"""Files of published weights, read key by key: PyTorch checkpoints (weights only, memory-mapped) and Hugging Face folders.

Nothing here is unpickled but tensors and plain values, and a tensor's bytes are read when it is asked for.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

POINTER = b"version https://git-lfs"
NAMED = 12  # keys named in one message


class CheckpointError(ValueError):
    """These files make no model; the message names file and key and ends with the cure."""


@dataclass
class Source:
    """Tensors of one origin by key. `files` are what it was read from; `extra` is what a checkpoint says beside its weights."""

    path: Path
    files: list[Path]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    _tensors: Mapping[str, Tensor] = field(default_factory=dict)
    _places: dict[str, Path] = field(default_factory=dict)

    def tensor(self, key: str) -> Tensor:
        """One tensor. KeyError where there is none of that key."""
        if key in self._tensors:
            return self._tensors[key]
        with safe_open(self._places[key], framework="pt") as opened:
            return opened.get_tensor(key)


def open_checkpoint(path: Path) -> Source:
    """A .pth file: a state dict, or a dict that holds one under "model" or "state_dict". CheckpointError with the cure."""
    _refuse_pointer(path)
    content = _load(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, no weights by name; give the checkpoint itself")
    inner = next((content[name] for name in ("model", "state_dict", "module") if isinstance(content.get(name), Mapping)), content)
    tensors = {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no tensors (its keys: {listed(map(str, content))}); give the checkpoint itself")
    extra = {key: value for key, value in content.items() if not isinstance(value, (Tensor, Mapping)) or key == "config"}
    return Source(path, [path], {key: tuple(value.shape) for key, value in tensors.items()}, extra, tensors)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is not there; give the file's place, or see what to fetch: emollama models") from error
    except pickle.UnpicklingError as error:
        line = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"{path} holds more than weights, and nothing else is loaded from it ({line:.160}); where you trust its maker, save its "
            f"weights alone: torch.save({{'model': torch.load(FILE, weights_only=False)['model']}}, NEW)"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        if "mmap can only be used with files saved with" in str(error):
            return _load_old(path)
        raise CheckpointError(
            f"{path} is cut off or no PyTorch checkpoint ({str(error).strip().splitlines()[0]:.160}); fetch it again"
        ) from error


def _load_old(path: Path) -> Any:
    """Files of before PyTorch 1.6 cannot be mapped and are read whole."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} is cut off or no PyTorch checkpoint ({str(error).strip().splitlines()[0]:.160}); fetch it again"
        ) from error


def open_folder_of(root: Path) -> tuple[dict[str, Any], Source]:
    """A Hugging Face folder: its config and its tensors, from safetensors or else pytorch_model*.bin. CheckpointError with the cure."""
    path = root / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{root} is no Hugging Face model folder: config.json is missing; give the folder that holds it")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; fetch it again") from error
    files = _weight_files(root)
    source = Source(root, [path, *files])
    tensors: dict[str, Tensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            for key, shape in _safetensors_shapes(file):
                source.shapes[key], source._places[key] = shape, file
        else:
            part = open_checkpoint(file)
            source.shapes |= part.shapes
            tensors |= part._tensors
    source._tensors = tensors
    return config, source


def _weight_files(root: Path) -> list[Path]:
    for stem, suffix in (("model", "safetensors"), ("pytorch_model", "bin")):
        index = root / f"{stem}.{suffix}.index.json"
        if index.is_file():
            try:
                names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (ValueError, LookupError, AttributeError) as error:
                raise CheckpointError(f"{index} cannot be read: {error}; fetch it again") from error
            files = [root / name for name in names]
            if missing := [file.name for file in files if not file.is_file()]:
                raise CheckpointError(f"{root} lacks {listed(missing)}, which {index.name} names; fetch the rest")
            return files
        if (root / f"{stem}.{suffix}").is_file():
            return [root / f"{stem}.{suffix}"]
    raise CheckpointError(f"{root} holds no weights (model.safetensors, pytorch_model.bin or their parts); fetch them")


def _safetensors_shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    _refuse_pointer(path)
    try:
        with safe_open(path, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 - it is no dict
                yield key, tuple(opened.get_slice(key).get_shape())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is cut off or no safetensors file ({error}); fetch it again") from error


def _refuse_pointer(path: Path) -> None:
    if path.is_file() and path.stat().st_size < 1024 and path.read_bytes().startswith(POINTER):
        raise CheckpointError(f"{path} is a Git LFS pointer, not the file itself; fetch it: git lfs pull")


def listed(names: Any) -> str:
    """The first names and how many more."""
    found = list(names)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(found[:NAMED]) + more or "none"
