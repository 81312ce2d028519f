"""A picture of any size onto the square canvas the vision streams see. The one place where frames are resized.

Letterboxed, not squeezed: a face keeps its proportions whatever the camera's.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..types import UInt8

PADDING_GREY = 114


def to_canvas(pixels: UInt8, side: int) -> UInt8:
    """(H, W, 3) uint8 RGB -> (side, side, 3) uint8, centred, proportions kept, borders grey.

    ValueError for another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"a frame must be (H, W, 3) uint8 RGB, got {pixels.shape} {pixels.dtype}; convert it before the pipeline")
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    inner = cv2.resize(pixels, size, interpolation=shrink)
    canvas = np.full((side, side, 3), PADDING_GREY, np.uint8)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = inner
    return canvas


def box_to_picture(box: tuple[float, float, float], height: int, width: int) -> tuple[float, float, float]:
    """A box on the canvas (centre x, centre y, size; fractions of the side) as fractions of the picture's width, height and height."""
    longest = max(height, width)
    x = 0.5 + (box[0] - 0.5) * longest / width
    y = 0.5 + (box[1] - 0.5) * longest / height
    return x, y, box[2] * longest / height
