"""Measures of a face depend on its expression alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("parselmouth")
pytest.importorskip("soundfile")
pytest.importorskip("skimage")

from tests.training.measured_people import a_face  # noqa: E402
from training.face_measures import (  # noqa: E402
    FACE_MEASURES,
    LANDMARK_MODEL,
    Landmarks,
    measures_of,
)


def test_measures_of_a_face_do_not_depend_on_size_place_or_turn() -> None:
    plain = dict(zip(FACE_MEASURES, measures_of(a_face()), strict=True))
    smiling = dict(zip(FACE_MEASURES, measures_of(a_face(open_by=20, corners_up=10)), strict=True))
    assert plain["mouth_opening"] == 0 and smiling["mouth_opening"] == pytest.approx(0.2)
    assert plain["lip_corners"] == pytest.approx(0) and smiling["lip_corners"] == pytest.approx(0.15)
    angle = 0.5
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    roll = np.array([[np.cos(0.2), -np.sin(0.2), 0], [np.sin(0.2), np.cos(0.2), 0], [0, 0, 1]])
    moved = 1.7 * a_face(20, 10) @ turn @ roll + np.array([30, -8, 2])
    np.testing.assert_allclose(measures_of(moved), measures_of(a_face(20, 10)), atol=1e-5)
    assert np.isnan(measures_of(np.zeros((468, 3)))).all()


def test_a_landmark_model_that_is_missing_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make landmarks"):
        Landmarks(tmp_path / "none.tflite")


@pytest.mark.skipif(not LANDMARK_MODEL.is_file(), reason="no landmarks; make landmarks")
def test_a_portrait_has_a_face_and_noise_has_none() -> None:
    pytest.importorskip("ai_edge_litert")
    import cv2
    import skimage.data

    landmarks = Landmarks()
    portrait = cv2.resize(
        cv2.cvtColor(skimage.data.astronaut()[30:210, 140:320], cv2.COLOR_RGB2GRAY), (48, 48), interpolation=cv2.INTER_AREA
    )
    found = dict(zip(FACE_MEASURES, landmarks.measure(portrait), strict=True))
    assert all(np.isfinite(value) for value in found.values()) and found["lip_corners"] > 0
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    assert np.isnan(landmarks.measure(noise)).all()
