"""Windows drawn on mel power are what a microphone would have given, and depend on the seed alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soundfile")

from ros2_emollama.model.logmel import FLOOR, log_mel, mel_power  # noqa: E402
from ros2_emollama.model.presets import NANO  # noqa: E402
from training.data import Row  # noqa: E402
from training.hearing import Ear, hertz_to_mel, mel_centres, stretched  # noqa: E402
from training.voices import mask_spectrum  # noqa: E402

AUDIO, COLUMNS = NANO.audio, NANO.mel_columns


def a_voice(seconds: float, seed: int) -> np.ndarray:
    """Bursts of a low, rich tone with pauses between."""
    time = np.arange(round(seconds * 16000)) / 16000
    rng = np.random.default_rng(seed)
    tone = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 20))
    return (0.1 * tone * (np.sin(2 * np.pi * 2.5 * time) > 0) + 1e-4 * rng.standard_normal(time.size)).astype(np.float32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    voices = [a_voice(seconds, seed) for seed, seconds in enumerate((1.0, 2.0, 5.0))]
    np.save(folder / "voices.npy", np.concatenate([(v * 32767).astype(np.int16) for v in voices]))
    np.save(folder / "voice_ends.npy", np.cumsum([v.size for v in voices]))
    rows = [Row("speech_x", f"{i}.flac", "happy", "a", "train") for i in range(3)]
    (folder / "voices.json").write_text(json.dumps([asdict(row) for row in rows]))
    logs = [np.log10(np.maximum(mel_power(np.pad(v, (0, -v.size % AUDIO.hop_samples)), AUDIO), FLOOR)) for v in voices]
    np.save(folder / "voice_mels.npy", np.concatenate(logs).astype(np.float16))
    np.save(folder / "voice_mel_ends.npy", np.cumsum([log.shape[0] for log in logs]))
    noise = np.random.default_rng(0).standard_normal((2, 64000)).astype(np.float32) * 0.1
    np.save(folder / "noise_mels.npy", np.stack([np.log10(mel_power(n, AUDIO)) for n in noise]).astype(np.float16))
    return folder


@pytest.fixture(scope="module")
def ear(cache: Path) -> Ear:
    return Ear(cache, AUDIO, COLUMNS)


def test_windows_depend_on_the_seed_alone(ear: Ear) -> None:
    places = np.array([0, 1, 2, -1])
    first, second = (ear.hear(places, np.random.default_rng(3)) for _ in range(2))
    other = ear.hear(places, np.random.default_rng(4))
    torch.testing.assert_close(first.logmel, second.logmel, rtol=0, atol=0)
    assert first.logmel.shape == (4, AUDIO.mels, COLUMNS) and bool(torch.isfinite(first.logmel).all())
    assert not torch.equal(first.logmel, other.logmel)


def test_nobody_speaks_where_nobody_does_and_nothing_is_heard_before_the_microphone(ear: Ear) -> None:
    for seed in range(6):
        windows = ear.hear(np.array([-1, 2, 1, 0] * 4), np.random.default_rng(seed))
        assert float(windows.active[::4].sum()) == 0
        assert bool((windows.active <= windows.mask).all())
        assert float(windows.active[1::4].sum()) > 0


def test_a_level_is_that_of_the_samples(ear: Ear) -> None:
    noise = np.random.default_rng(1).standard_normal(64000).astype(np.float32)
    for decibels in (-20.0, -50.0):
        power = torch.from_numpy(mel_power(noise * 10 ** (decibels / 20), AUDIO))[None]
        everything = torch.ones(1, AUDIO.tokens)
        assert float(ear._level(power, everything, everything)) == pytest.approx(decibels, abs=0.3)


def test_a_drawn_window_is_scaled_as_the_pipeline_scales_sound(ear: Ear) -> None:
    sound = np.pad(a_voice(2.0, 5), (0, 32000))
    power = torch.from_numpy(mel_power(sound, AUDIO))[None]
    seen = np.ones(AUDIO.tokens, np.bool_)
    mine = ear._scaled(power, torch.ones(1, AUDIO.tokens))[0]
    np.testing.assert_allclose(mine.numpy(), log_mel(sound, AUDIO, seen), atol=1e-4)


def test_another_throat_moves_what_is_heard_by_its_factor(ear: Ear) -> None:
    still = ear._other_throat(torch.tensor([1.0]))[0]
    torch.testing.assert_close(still, torch.eye(AUDIO.mels), rtol=0, atol=2e-3)
    mel = int(np.argmin(np.abs(mel_centres(AUDIO) - 1000)))
    peak = torch.zeros(1, 1, AUDIO.mels)
    peak[0, 0, mel] = 1.0
    heard_at = mel_centres(AUDIO)[int((peak @ ear._other_throat(torch.tensor([1.2]))).argmax())]
    assert heard_at == pytest.approx(1.2 * mel_centres(AUDIO)[mel], rel=0.05)
    assert float(hertz_to_mel(torch.tensor(1000.0))) == pytest.approx(1000, abs=1)


def test_slower_speech_is_longer() -> None:
    log = np.arange(20, dtype=np.float32)[:, None] * np.ones((1, 3), np.float32)
    slow = stretched(log, 1.5)
    assert slow.shape == (30, 3)
    np.testing.assert_allclose(slow[[0, -1], 0], (0, 19))
    assert bool((np.diff(slow[:, 0]) > 0).all())


def test_masked_bands_hold_the_mean(ear: Ear) -> None:
    from training.dice import Dice

    logmel = torch.rand(8, AUDIO.mels, COLUMNS)
    masked = mask_spectrum(logmel.clone(), Dice(np.random.default_rng(0), 8))
    changed = masked != logmel
    assert bool(changed.any(dim=(1, 2)).all())
    for index in range(8):
        assert torch.allclose(masked[index][changed[index]], logmel[index].mean(), atol=0.02)


def test_a_cache_without_mels_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="python -m training prepare"):
        Ear(tmp_path, AUDIO, COLUMNS)
