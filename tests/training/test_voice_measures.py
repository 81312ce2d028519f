"""Pitch, level, jitter, syllables and pauses of a voice are found, and noise breaks nothing."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("parselmouth")
pytest.importorskip("soundfile")
pytest.importorskip("skimage")

from tests.training.measured_people import RATE, measured, voiced  # noqa: E402
from training.voice_measures import VOICE_MEASURES, measure_voice, speaking, speaking_level  # noqa: E402


def test_the_pitch_and_the_level_of_a_tone_are_found() -> None:
    for hertz in (110.0, 230.0, 400.0):
        found = measured(voiced(1.5, hertz))
        assert found["pitch_hz"] == pytest.approx(hertz, rel=0.03)
        assert found["pitch_range_semitones"] < 1.0
    quiet, loud = measured(voiced(1.5, 150.0) * 0.1), measured(voiced(1.5, 150.0))
    assert loud["level_dbfs"] - quiet["level_dbfs"] == pytest.approx(20.0, abs=0.5)
    glide = np.sin(2 * np.pi * np.cumsum(np.linspace(120, 240, 2 * RATE)) / RATE).astype(np.float32) * 0.2
    assert measured(glide)["pitch_range_semitones"] == pytest.approx(12 * np.log2(228 / 132), abs=1.0)


def test_an_uneven_voice_has_more_jitter_and_is_rougher() -> None:
    even, uneven = measured(voiced(2.0, 140.0)), measured(voiced(2.0, 140.0, jitter=0.04))
    assert uneven["jitter"] > 0.02 > even["jitter"]
    assert uneven["hnr_db"] < even["hnr_db"] and uneven["roughness"] > even["roughness"]


def test_syllables_and_pauses_are_counted() -> None:
    slow, fast = measured(voiced(3.0, 150.0, syllables=2.0)), measured(voiced(3.0, 150.0, syllables=5.0))
    assert 1.5 < slow["rate_per_second"] < 3.2 and 4.0 < fast["rate_per_second"] < 6.0
    spoken, silence = voiced(1.0, 150.0), np.zeros(RATE // 2, np.float32)
    assert measured(spoken)["pause_share"] == 0.0
    broken = measured(np.concatenate([silence, spoken, silence, spoken, silence]))  # silence around a voice is no pause
    assert broken["pause_share"] == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.ones(100, np.float32),
        np.zeros(RATE, np.float32),
        np.full(RATE, np.nan, np.float32),
        (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32),
        np.eye(1, RATE, 8000, dtype=np.float32)[0],
    ],
    ids=["nothing", "short", "silence", "NaN", "noise", "click"],
)
def test_what_is_no_voice_has_no_pitch_and_breaks_nothing(samples: np.ndarray) -> None:
    assert measure_voice(samples).shape == (len(VOICE_MEASURES),)
    assert np.isnan(measured(samples)["pitch_hz"]) and np.isnan(measured(samples)["roughness"])


def test_the_level_is_that_of_the_speaking_part() -> None:
    samples = np.zeros(64000, np.float32)
    samples[:16000] = 0.1 * voiced(1.0, 150.0)
    active = (np.arange(64) < 16).astype(np.float32)
    assert speaking(samples).sum() == 16
    expected = 10 * np.log10(np.square(samples[:16000]).mean())
    assert speaking_level(samples, active) == pytest.approx(expected, abs=1e-3)
    assert np.isnan(speaking_level(samples, 0 * active)) and np.isnan(speaking_level(samples[:0], active[:0]))
