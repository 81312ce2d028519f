"""A state drawn into its picture: face box, label with a bar for its confidence, and the newest explanation.

In:  (H, W, 3) uint8 RGB and the words. Out: a new picture of the same size. Knows nothing about ROS or threads.
"""

from __future__ import annotations

import textwrap

import cv2
import numpy as np

from .types import UNKNOWN, EmotionState, UInt8

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, QUIET = (255, 255, 255), (160, 160, 160)
COLOURS = {
    "neutral": (190, 190, 190),
    "happy": (255, 200, 40),
    "sad": (80, 140, 255),
    "angry": (235, 60, 50),
    "fear": (170, 90, 220),
    "disgust": (90, 180, 70),
    "surprise": (255, 140, 30),
}
SMALLEST_SIDE = 32  # pixels; in a smaller picture there is no room for a word


def annotate(pixels: UInt8, state: EmotionState, explanation: str = "") -> UInt8:
    """The picture with what is said of it."""
    picture: UInt8 = np.array(pixels, order="C")
    height, width = picture.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        return picture
    scale = max(min(width, height) / 480.0, 0.3)
    colour = QUIET if state.label == UNKNOWN else COLOURS.get(state.label, INK)
    if state.face_box is not None:
        _box(picture, state.face_box, colour, scale)
    _label(picture, state, colour, scale)
    if explanation:
        _caption(picture, explanation, scale)
    return picture


def _box(picture: UInt8, box: tuple[float, float, float], colour: tuple[int, int, int], scale: float) -> None:
    height, width = picture.shape[:2]
    x, y, half = box[0] * width, box[1] * height, box[2] * height / 2
    corners = [(round(x - half), round(y - half)), (round(x + half), round(y + half))]
    cv2.rectangle(picture, corners[0], corners[1], colour, max(1, round(2 * scale)), cv2.LINE_AA)


def _label(picture: UInt8, state: EmotionState, colour: tuple[int, int, int], scale: float) -> None:
    line, bar = round(26 * scale), round(150 * scale)
    picture[: line + round(8 * scale)] //= 3
    text = f"{state.label} {state.confidence:.2f}"
    _write(picture, text, (round(6 * scale), line), INK, 0.7 * scale)
    left = round(12 * scale) + cv2.getTextSize(text, FONT, 0.7 * scale, 1)[0][0]
    top, bottom = round(8 * scale), line
    cv2.rectangle(picture, (left, top), (left + bar, bottom), QUIET, 1)
    cv2.rectangle(picture, (left, top), (left + round(bar * min(max(state.confidence, 0.0), 1.0)), bottom), colour, cv2.FILLED)
    heard = f"face {state.face:.2f}  voice {state.speech:.2f}" + "".join(f"  no {name}" for name in state.missing)
    _write(picture, heard, (left + bar + round(10 * scale), line), QUIET, 0.45 * scale)


def _caption(picture: UInt8, text: str, scale: float) -> None:
    height, width = picture.shape[:2]
    letter = max(1, cv2.getTextSize("n", FONT, 0.5 * scale, 1)[0][0])
    lines = textwrap.wrap(text, max(8, width // letter - 2))[:4]
    step = max(8, round(20 * scale))
    picture[height - step * len(lines) - step // 2 :] //= 3
    for place, line in enumerate(reversed(lines)):
        _write(picture, line, (round(6 * scale), height - step * place - step // 2), INK, 0.5 * scale)


def _write(picture: UInt8, text: str, at: tuple[int, int], colour: tuple[int, int, int], size: float) -> None:
    plain = text.encode("ascii", "replace").decode()  # OpenCV's letters end there
    cv2.putText(picture, plain, at, FONT, size, colour, max(1, round(1.4 * size)), cv2.LINE_AA)
