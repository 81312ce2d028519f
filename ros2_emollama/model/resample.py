"""Pictures squeezed onto a square as the published checkpoints were trained: Pillow's antialiased bilinear and bicubic resize, in numpy.

OpenCV's INTER_CUBIC looks at four pixels however much it shrinks, which is another picture than the encoders were trained on.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..types import Float32, Int64, UInt8

BICUBIC_A = -0.5  # Pillow's and, antialiased, torch's; OpenCV has -0.75


def squeeze(pixels: UInt8, side: int, bicubic: bool) -> UInt8:
    """(H, W, 3) uint8 RGB -> (side, side, 3) uint8, proportions not kept. ValueError for another shape or type."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"a frame must be (H, W, 3) uint8 RGB, got {pixels.shape} {pixels.dtype}; convert it before the pipeline")
    # Across first and rounded in between, as Pillow does.
    across = _rounded(_apply(pixels, pixels.shape[1], side, bicubic, axis=1))
    return _rounded(_apply(across, pixels.shape[0], side, bicubic, axis=0))


def _rounded(values: Float32) -> UInt8:
    out: UInt8 = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return out


def _apply(pixels: UInt8, size: int, side: int, bicubic: bool, axis: int) -> Float32:
    if size == side:
        return pixels.astype(np.float32)
    places, weights = taps(size, side, bicubic)
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    total: Float32 = np.zeros((side, *pixels.shape[1:]) if axis == 0 else (pixels.shape[0], side, 3), np.float32)
    for place, weight in zip(places.T, weights.T, strict=True):
        total += np.take(pixels, place, axis=axis) * weight.reshape(shape)
    return total


@lru_cache(maxsize=16)
def taps(size: int, side: int, bicubic: bool) -> tuple[Int64, Float32]:
    """Which of `size` pixels make each of `side`, and how much: places and weights, both (side, K); weights of a row sum to 1."""
    scale = size / side
    stretch = max(1.0, scale)
    reach = (2.0 if bicubic else 1.0) * stretch
    centres = (np.arange(side) + 0.5) * scale
    first = np.floor(centres - reach + 0.5).astype(np.int64)
    places = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 1)
    weights = _kernel((places + 0.5 - centres[:, None]) / stretch, bicubic)
    weights[(places < 0) | (places >= size)] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(places, 0, size - 1), weights.astype(np.float32)


def _kernel(x: npt.NDArray[np.float64], bicubic: bool) -> npt.NDArray[np.float64]:
    x = np.abs(x)
    if not bicubic:
        return np.maximum(0.0, 1.0 - x)
    a = BICUBIC_A
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    weights: npt.NDArray[np.float64] = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weights
