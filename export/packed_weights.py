"""Matrices that a quantiser (GPTQ, AWQ) has already brought to 4 bits, taken over bit by bit: no rounding is done twice.

Two forms are read, both symmetric, with a scale for each group of inputs of one output:
    gptq              X.qweight (K/8, N) int32, eight inputs a word, low bits first; X.scales (K/g, N); X.qzeros; X.g_idx
                      what GPTQModel and AutoRound write (quant_method "gptq", checkpoint_format "gptq" or "gptq_v2")
    pack-quantized    X.weight_packed (N, K/8) int32; X.weight_scale (N, K/g); X.weight_shape
                      what LLM Compressor writes for GPTQ and AWQ alike (quant_method "compressed-tensors")
In both a weight is (q - 8) · scale, which is what our graphs hold. Zero points of another value, groups in another order and other
numbers of bits are refused with the cure: TensorRT has no place for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .int4 import Int4Matrix
from .llama_config import QuantizeError

CURE = "quantise it again symmetrically, 4 bits, groups of 32, 64 or 128 in their own order (sym true, desc_act false)"
SUFFIXES = {
    "gptq": ("qweight", "scales", "qzeros", "g_idx"),
    "pack-quantized": ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx"),
}


@dataclass(frozen=True)
class Packing:
    """How the matrices of a checkpoint are packed. `zero`: what its zero points hold for q = 8."""

    form: str
    group: int
    zero: int = 8

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of a matrix's tensors; the first two are always there."""
        return SUFFIXES[self.form]

    def replaced(self, wanted: Mapping[str, tuple[int, ...]], there: set[str]) -> dict[str, tuple[int, ...]]:
        """The tensors a checkpoint must hold: those of packed matrices in place of the matrices."""
        found: dict[str, tuple[int, ...]] = {}
        for name, shape in wanted.items():
            stem = name.removesuffix(".weight")
            if name in there or f"{stem}.{self.suffixes[0]}" not in there:
                found[name] = shape
                continue
            (outputs, inputs), turned = shape, self.form == "gptq"
            shapes = (inputs // 8, outputs), (inputs // self.group, outputs)
            for suffix, packed in zip(self.suffixes, shapes, strict=False):
                found[f"{stem}.{suffix}"] = packed if turned else packed[::-1]
        return found

    def unpacked(self, name: str, tensors: Mapping[str, Any]) -> Int4Matrix:
        """One matrix of its tensors by suffix. QuantizeError where our form cannot hold it."""
        words, scales = (tensors[suffix] for suffix in self.suffixes[:2])
        quarters, scale = _nibbles(words.numpy()), scales.float().numpy()
        if self.form == "gptq":
            # (K/8, N, 8) → (N, K)
            q = quarters.transpose(1, 0, 2).reshape(words.shape[1], -1)
            scale = scale.T
        else:
            q = quarters.reshape(words.shape[0], -1)
        self._check(name, q.shape[1], tensors)
        if not np.isfinite(scale).all():
            raise QuantizeError(f"{name}: scales are not finite; quantise the checkpoint again")
        blocks = q.reshape(q.shape[0], -1, self.group)
        return Int4Matrix(blocks[..., 0::2] | blocks[..., 1::2] << 4, np.ascontiguousarray(scale, np.float32), self.group)

    def _check(self, name: str, inputs: int, tensors: Mapping[str, Any]) -> None:
        for suffix in ("g_idx", "weight_g_idx"):
            order = tensors.get(suffix)
            if order is not None and not np.array_equal(order.numpy(), np.arange(inputs) // self.group):
                raise QuantizeError(f"{name}: its groups are in another order (act-order); {CURE}")
        if (zeros := tensors.get("qzeros")) is not None and not (_nibbles(zeros.numpy()) == self.zero).all():
            raise QuantizeError(f"{name}: it has zero points; {CURE}")
        if "weight_zero_point" in tensors:
            raise QuantizeError(f"{name}: it has zero points; {CURE}")


def _nibbles(words: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """(..., 8): the eight 4-bit numbers of each word, low bits first."""
    shifts = np.arange(0, 32, 4, dtype=np.uint32)
    return ((words.view(np.uint32)[..., None] >> shifts) & 15).astype(np.uint8)


def read_packing(source: Path) -> Packing | None:
    """Of a Hugging Face folder; None where its weights are plain. QuantizeError where they are packed as we cannot read."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8")).get("quantization_config")
    if not config:
        return None
    method = str(config.get("quant_method", ""))
    try:
        if method == "gptq":
            return _gptq(config)
        if method == "compressed-tensors":
            return _compressed(config)
    except (LookupError, TypeError, ValueError) as error:
        raise QuantizeError(f"{source / 'config.json'}: quantization_config cannot be read ({error}); {CURE}") from error
    known = "gptq, and compressed-tensors with pack-quantized, which LLM Compressor writes for AWQ too"
    raise QuantizeError(f"{source} is quantised by {method or 'an unnamed method'}; what is read: {known}")


def _gptq(config: Mapping[str, Any]) -> Packing:
    bits, group, form = int(config["bits"]), int(config["group_size"]), config.get("checkpoint_format", "gptq")
    if bits != 4 or group < 16 or not config.get("sym", True) or config.get("desc_act") or form not in ("gptq", "gptq_v2"):
        raise QuantizeError(f"quantised with bits {bits}, group_size {group}, sym {config.get('sym')}, format {form}; {CURE}")
    return Packing("gptq", group, zero=8 if form == "gptq_v2" else 7)  # the first form stores zero points less one


def _compressed(config: Mapping[str, Any]) -> Packing:
    groups = list(config["config_groups"].values())
    weights = groups[0]["weights"]
    facts = (int(weights["num_bits"]), weights.get("strategy"), weights.get("type", "int"), bool(weights.get("symmetric", True)))
    form = config.get("format") or groups[0].get("format")
    if len(groups) != 1 or form != "pack-quantized" or facts != (4, "group", "int", True) or weights.get("actorder") == "group":
        raise QuantizeError(f"quantised as {form}, {facts[0]} bits, {facts[1]}, symmetric {facts[3]}, {len(groups)} kinds; {CURE}")
    return Packing("pack-quantized", int(weights["group_size"]))
