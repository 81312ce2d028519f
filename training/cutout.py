"""A picture → the part of it that shows the person a record is about."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ros2_emollama.types import UInt8


def cut_out(pixels: UInt8, side: str = "", box: Sequence[float] = ()) -> UInt8:
    """(H, W, 3) → the half named by `side` (left, right), then what `box` (x, y, width, height in pixels of that) leaves of it.

    A box that lies outside the picture is an annotation gone wrong: the whole picture is better than nothing.
    """
    half = pixels.shape[1] // 2
    if side in ("left", "right"):
        pixels = pixels[:, :half] if side == "left" else pixels[:, half:]
    if len(box) == 4:
        x, y, width, height = (round(number) for number in box)
        inner = pixels[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)]
        pixels = inner if inner.size else pixels
    return np.ascontiguousarray(pixels)
