"""A state drawn into its picture: what is drawn is where it belongs, and no picture is too odd to draw on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ros2_emollama.annotation import COLOURS, annotate
from ros2_emollama.types import UNKNOWN, EmotionState


def state(**change: Any) -> EmotionState:
    fields: dict[str, Any] = {
        "start_ns": 0, "end_ns": 4, "newest_frame_ns": 4, "labels": ("neutral", "happy"), "probabilities": (0.1, 0.9), "face": 0.9,
        "speech": 0.2, "modalities": ("video",), "valence": math.nan, "arousal": math.nan, "dropped": {}, "stage_seconds": {},
        "model_id": "m", "runtime": "r", "face_box": (0.5, 0.5, 0.5), "held": "happy",
    }  # fmt: skip
    return EmotionState(**{**fields, **change})


def picture(height: int = 480, width: int = 640) -> np.ndarray:
    return np.full((height, width, 3), 120, np.uint8)


def test_the_box_is_around_the_face_and_the_picture_given_stays_as_it_was() -> None:
    given = picture()
    drawn = annotate(given, state())
    assert (given == 120).all()
    line = drawn[240, :, :]  # through the middle: the box's two sides and nothing else
    sides = np.flatnonzero((line != 120).any(axis=1))
    assert abs(int(sides[0]) - 200) <= 2 and abs(int(sides[-1]) - 440) <= 2
    assert tuple(drawn[240, 200]) == COLOURS["happy"]


def bar_pixels(confidence: float) -> int:
    drawn = annotate(picture(), state(probabilities=(1.0 - confidence, confidence), face_box=None))
    return int((drawn == COLOURS["happy"]).all(axis=2).sum())


def test_the_bar_is_as_long_as_the_confidence() -> None:
    assert bar_pixels(0.9) / bar_pixels(0.45) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("size", [(1, 1), (31, 400), (32, 32), (48, 64), (1080, 1920), (2000, 40)])
def test_any_picture_can_be_drawn_on(size: tuple[int, int]) -> None:
    said = "The person seems happy: the face brightens. " * 20
    drawn = annotate(picture(*size), state(face_box=(1.5, -0.2, 3.0), missing=("audio",)), said)
    assert drawn.shape == (*size, 3) and drawn.dtype == np.uint8


def test_nobody_and_labels_without_a_colour_are_drawn_too() -> None:
    for change in ({"held": UNKNOWN, "face_box": None}, {"labels": ("calm", "contempt"), "held": "contempt"}):
        assert (annotate(picture(), state(**change)) != 120).any()
    assert annotate(picture(), state(), "Überrascht 😀").shape == (480, 640, 3)
