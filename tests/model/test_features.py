"""Pictures and sound become features in one way, whatever their size and place."""

from __future__ import annotations

import numpy as np
import pytest

from ros2_emollama.model.logmel import log_mel, mel_filters
from ros2_emollama.model.pixels import PADDING_GREY, box_to_picture, to_canvas
from ros2_emollama.model.presets import NANO, Preset, find_preset, preset_from_dict


@pytest.mark.parametrize(("height", "width"), [(480, 640), (720, 1280), (640, 360), (256, 256), (31, 17)])
def test_the_canvas_keeps_proportions_and_centres_the_picture(height: int, width: int) -> None:
    canvas = to_canvas(np.full((height, width, 3), 255, np.uint8), 256)
    rows, columns = (
        np.flatnonzero((canvas == 255).all(axis=(1, 2)) | (canvas == 255).all(axis=2).any(axis=1)),
        np.flatnonzero((canvas == 255).all(axis=2).any(axis=0)),
    )
    assert canvas.shape == (256, 256, 3)
    assert abs(rows.size / columns.size - height / width) < 0.05 * height / width + 0.01
    assert abs((rows[0] + rows[-1]) / 2 - 127.5) <= 1 and abs((columns[0] + columns[-1]) / 2 - 127.5) <= 1
    assert set(np.unique(canvas)) <= {255, PADDING_GREY}


def test_a_box_on_the_canvas_is_found_again_in_the_picture() -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[120:240, 400:520] = 255  # centre (460, 180), 120 high
    canvas = to_canvas(picture, 256)
    rows, columns = np.where(canvas[..., 0] > 200)
    box = ((columns.min() + columns.max() + 1) / 512, (rows.min() + rows.max() + 1) / 512, (rows.max() - rows.min() + 1) / 256)
    np.testing.assert_allclose(box_to_picture(box, 480, 640), (460 / 640, 180 / 480, 120 / 480), atol=0.01)


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)])
def test_a_frame_of_another_form_is_refused_with_its_form(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8 RGB, got"):
        to_canvas(bad, 256)


def test_later_sound_does_not_change_earlier_columns() -> None:
    rng = np.random.default_rng(0)
    loud = np.full(64000, 0.5, np.float32) * rng.standard_normal(64000).astype(np.float32)
    other = loud.copy()
    other[32000:] = 0.5 * rng.standard_normal(32000).astype(np.float32)
    first, second = log_mel(loud, NANO.audio), log_mel(other, NANO.audio)
    assert first.shape == (64, 256)
    np.testing.assert_allclose(first[:, :127], second[:, :127], atol=1e-6)
    assert np.abs(first[:, 129:] - second[:, 129:]).max() > 0.01


def test_a_tone_is_loudest_in_the_band_that_holds_it() -> None:
    time = np.arange(64000) / 16000
    for hertz in (200, 1000, 4000):
        column = log_mel(np.sin(2 * np.pi * hertz * time).astype(np.float32), NANO.audio)[:, 100]
        centres = mel_filters(64, 512, 16000) @ np.linspace(0, 8000, 257) / mel_filters(64, 512, 16000).sum(axis=1)
        assert abs(centres[int(column.argmax())] - hertz) < max(60, 0.08 * hertz)


def test_a_preset_survives_its_json_and_an_unknown_field_is_named() -> None:
    assert preset_from_dict(NANO.to_dict()) == NANO
    broken = NANO.to_dict()
    broken["audio"]["melz"] = 3
    with pytest.raises(ValueError, match="melz"):
        preset_from_dict(broken)


def test_a_misspelt_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean nano"):
        find_preset("nanno")


def test_a_window_that_does_not_divide_into_tokens_is_refused() -> None:
    values = {**NANO.to_dict(), "window_seconds": 3.99}
    with pytest.raises(ValueError, match="multiple of 64"):
        preset_from_dict(values)
    assert isinstance(NANO, Preset)


def test_what_the_microphone_did_not_hear_is_as_quiet_as_what_it_did() -> None:
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal(64000)).astype(np.float32)
    samples[:16000] = 0.0
    seen = np.arange(16) >= 4
    filled, plain = log_mel(samples, NANO.audio, seen), log_mel(samples, NANO.audio)
    np.testing.assert_array_equal(filled[:, 64:], plain[:, 64:])
    floor = np.percentile(plain[:, 64:], 10, axis=1)
    np.testing.assert_allclose(filled[:, :64], np.repeat(floor[:, None], 64, axis=1), atol=1e-5)
    np.testing.assert_array_equal(log_mel(samples, NANO.audio, np.zeros(16, np.bool_)), plain)
    np.testing.assert_array_equal(log_mel(samples, NANO.audio, np.ones(16, np.bool_)), plain)
