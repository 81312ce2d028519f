"""A matrix in 4-bit blocks, in the two layouts that runtimes read.

Each block of inputs of one output shares a scale; a weight is (q - 8) · scale with q in 0 … 15. Rounded to nearest by ONNX Runtime's own
quantiser, the one that onnxruntime-genai's builder uses, so the numbers are those of its graphs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnxruntime.capi._pybind_state import quantize_matmul_4bits


@dataclass(frozen=True)
class Int4Matrix:
    """outputs × inputs weights: `packed` (outputs, blocks, block_size / 2) uint8, low half first; `scales` (outputs, blocks) float32."""

    packed: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float32]
    block_size: int

    @property
    def outputs(self) -> int:
        return int(self.packed.shape[0])

    @property
    def inputs(self) -> int:
        return int(self.packed.shape[1]) * self.block_size

    def values(self) -> npt.NDArray[np.float32]:
        """(outputs, inputs): what the 4 bits stand for."""
        quarters = self._unpacked().reshape(self.outputs, -1, self.block_size).astype(np.float32)
        return np.asarray((quarters - 8) * self.scales[..., None], np.float32).reshape(self.outputs, self.inputs)

    def transposed(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """For DequantizeLinear over axis 0 of (inputs, outputs): signed int4, two a byte in that order, and scales (blocks, outputs)."""
        signed = (self._unpacked() - np.uint8(8)).T & np.uint8(15)
        flat = np.ascontiguousarray(signed).reshape(-1)
        return flat[0::2] | flat[1::2] << 4, np.ascontiguousarray(self.scales.T)

    def _unpacked(self) -> npt.NDArray[np.uint8]:
        """(outputs, inputs) q."""
        halves = np.stack([self.packed & 15, self.packed >> 4], axis=-1)
        return halves.reshape(self.outputs, self.inputs)


def quantize(weight: npt.NDArray[np.float32], block_size: int) -> Int4Matrix:
    """(outputs, inputs) float32 → 4 bits. `block_size` must divide the inputs."""
    outputs, inputs = weight.shape
    blocks = inputs // block_size
    packed = np.zeros((outputs, blocks, block_size // 2), np.uint8)
    scales = np.zeros(outputs * blocks, np.float32)
    no_zero_points = np.zeros(outputs * ((blocks + 1) // 2), np.uint8)
    quantize_matmul_4bits(packed, np.ascontiguousarray(weight.T), scales, no_zero_points, block_size, outputs, inputs, True)
    return Int4Matrix(packed, scales.reshape(outputs, blocks), block_size)
