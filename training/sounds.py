"""Four seconds of sound as a microphone hears them: a voice, or none, in a room, through some microphone.

A voice keeps its own level relation inside the clip; the level of the whole window is random, because microphones' gains are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft

from ros2_emollama.model.presets import AudioPreset

Samples = npt.NDArray[np.float32]


POOL = 800
LEVELS_DBFS = (-38.0, -10.0)  # of the loudest sixteenth of a second; the same for voices and other sounds, or loudness alone would tell


class Sound(NamedTuple):
    """samples (S,) float32; active (tokens,): 1 where somebody speaks; mask (tokens,): 0 before the microphone began."""

    samples: Samples
    active: npt.NDArray[np.float32]
    mask: npt.NDArray[np.float32]


def coloured_noise(rng: np.random.Generator, count: int) -> Samples:
    """Unit-deviation noise with a random slope between white and brown, sometimes with a hum."""
    spectrum = scipy.fft.rfft(rng.standard_normal(count, np.float32))
    frequency = np.maximum(np.arange(spectrum.size, dtype=np.float32), 1.0)
    noise = np.asarray(scipy.fft.irfft(spectrum * frequency ** np.float32(-rng.uniform(0.0, 1.0)), count), np.float32)
    noise /= noise.std() + 1e-9
    if rng.random() < 0.2:
        noise += rng.uniform(0.2, 2.0) * np.sin(2 * np.pi * rng.choice([50, 60, 100, 120]) * np.arange(count) / 16000).astype(np.float32)
    return noise


def not_speech(rng: np.random.Generator, count: int) -> Samples:
    """Things that are no voice: steady or pulsing noise, tones, music, clicks, or almost nothing."""
    time = np.arange(count, dtype=np.float32) / 16000
    sound = _plain_not_speech(rng, time, count)
    return _through_a_tube(sound, rng) if rng.random() < 0.35 else sound


def _plain_not_speech(rng: np.random.Generator, time: Samples, count: int) -> Samples:
    kind = rng.integers(11)
    if kind >= 8:
        return _ambience(rng, time)
    if kind == 0:
        return coloured_noise(rng, count)
    if kind >= 5:
        return _music(rng, time)
    if kind == 1:
        rate, depth = rng.uniform(0.3, 9), rng.uniform(0.3, 1)
        return (coloured_noise(rng, count) * (1 + depth * np.sin(2 * np.pi * rate * time + rng.uniform(0, 6)))).astype(np.float32)
    if kind == 2:
        return _notes(rng, time)
    if kind == 3:
        clicks = np.zeros(count, np.float32)
        for start in rng.integers(0, count - 800, int(rng.integers(1, 14))):
            length = int(rng.integers(40, 800))
            clicks[start : start + length] += rng.standard_normal(length).astype(np.float32) * np.exp(
                -np.arange(length) / (length / 5)
            ).astype(np.float32)
        return clicks * 3 + 0.05 * coloured_noise(rng, count)
    return 0.01 * coloured_noise(rng, count)


def _notes(rng: np.random.Generator, time: Samples) -> Samples:
    """A few held notes with overtones, in steps: simple tunes and machines, not speech."""
    total = np.zeros_like(time)
    step = max(1600, int(rng.uniform(0.1, 1.5) * 16000))
    for start in range(0, time.size, step):
        for _ in range(int(rng.integers(1, 4))):
            total[start : start + step] += _note(rng, time[: min(step, time.size - start)], rng.uniform(0, 6))
    return (total / (total.std() + 1e-6)).astype(np.float32)


def _note(rng: np.random.Generator, time: Samples, decay: float) -> Samples:
    """One pitched sound: overtones of a string, a reed or a bell, sometimes with vibrato or a glide."""
    pitch = 55 * 2 ** (rng.integers(0, 54) / 12)
    sway = rng.uniform(0, 0.02) * np.sin(2 * np.pi * rng.uniform(3, 8) * time) if rng.random() < 0.4 else 0.0
    glide = rng.uniform(-0.3, 0.3) * time if rng.random() < 0.15 else 0.0
    phase = 2 * np.pi * np.cumsum(pitch * (1 + sway + glide) / 16000 * np.ones_like(time))
    tilt, total = rng.uniform(0.5, 2.0), np.zeros_like(time)
    for overtone in range(1, 1 + int(min(rng.integers(2, 16), 7600 // pitch))):
        total += np.sin(overtone * phase) * overtone**-tilt * rng.uniform(0.3, 1.0)
    attack = np.minimum(1.0, time / rng.uniform(0.003, 0.15))
    return (total * attack * np.exp(-decay * time)).astype(np.float32)


def _music(rng: np.random.Generator, time: Samples) -> Samples:
    """An accompaniment: chords on a beat, a tune over them, drums, a bass, a room; any of them may be missing."""
    beat = int(16000 * rng.uniform(0.2, 0.7))
    total = np.zeros_like(time)
    chance = rng.uniform(0.2, 1.0, 3)
    for start in range(int(rng.integers(0, beat)), time.size, beat):
        rest = time[: time.size - start]
        if rng.random() < chance[0]:
            length = min(rest.size, 4 * beat)
            for _ in range(int(rng.integers(2, 5))):
                total[start : start + length] += 0.5 * _note(rng, rest[:length], rng.uniform(1, 8))
        if rng.random() < chance[1]:
            length = min(rest.size, int(rng.integers(800, 4000)))
            drum = rng.random() >= 0.6
            hit = np.sin(2 * np.pi * rng.uniform(40, 120) * rest[:length]) if drum else rng.standard_normal(length)
            total[start : start + length] += rng.uniform(0.5, 2) * hit * np.exp(-rest[:length] * rng.uniform(10, 60))
        if rng.random() < chance[2]:
            length = min(rest.size, beat)
            total[start : start + length] += _note(rng, rest[:length], rng.uniform(0, 5))
    total += rng.uniform(0, 0.3) * coloured_noise(rng, time.size)
    return (total / (total.std() + 1e-6)).astype(np.float32)


def _ambience(rng: np.random.Generator, time: Samples) -> Samples:
    """Long tones that swell and fade over wind or hiss, with sparse ticks: title music, rooms, streets, machines that run on."""
    total = np.zeros_like(time)
    for _ in range(int(rng.integers(0, 12))):
        start, rise, fall = rng.uniform(-3, 3.5), rng.uniform(0.05, 2), rng.uniform(0.2, 3)
        shape = np.clip((time - start) / rise, 0, 1) * np.exp(-np.maximum(0, time - start - rise) / fall)
        total += rng.uniform(0.1, 1) * shape * _note(rng, time, 0.0)
    breath = np.interp(time, np.linspace(0, 4, 9), rng.uniform(0.1, 1.0, 9)).astype(np.float32)
    wind = coloured_noise(rng, time.size) * (breath if rng.random() < 0.7 else 1.0)
    total = total / (total.std() + 1e-6) * (rng.random() < 0.8) + rng.uniform(0.1, 2) * wind
    if rng.random() < 0.5:
        for start in rng.integers(0, time.size - 1600, int(rng.integers(1, 25))):
            length = int(rng.integers(60, 1500))
            total[start : start + length] += rng.uniform(1, 4) * rng.standard_normal(length) * np.exp(-5 * np.arange(length) / length)
    return (total / (total.std() + 1e-6)).astype(np.float32)


def _through_a_tube(sound: Samples, rng: np.random.Generator) -> Samples:
    """A few resonances, as of a box, a pipe or a small loudspeaker: what makes a sound voice-like that is no voice."""
    spectrum = scipy.fft.rfft(sound)
    hertz = scipy.fft.rfftfreq(sound.size, 1 / 16000).astype(np.float32)
    gain = np.full_like(hertz, rng.uniform(0.02, 0.4))
    for _ in range(int(rng.integers(1, 5))):
        centre, width = rng.uniform(200, 4500), rng.uniform(60, 600)
        gain += 1 / (1 + ((hertz - centre) / width) ** 2)
    shaped = np.asarray(scipy.fft.irfft(spectrum * gain, sound.size), np.float32)
    return shaped / (shaped.std() + 1e-6)


def change_speed(voice: Samples, factor: float) -> Samples:
    places = np.arange(0, voice.size - 1, factor)
    return np.interp(places, np.arange(voice.size), voice).astype(np.float32)


def reverberate(samples: Samples, rng: np.random.Generator) -> Samples:
    """A room drawn as decaying noise after a direct sound."""
    decay = rng.uniform(0.05, 0.5)
    tail = rng.standard_normal(int(decay * 16000)).astype(np.float32)
    tail *= np.exp(-6.9 * np.arange(tail.size) / tail.size).astype(np.float32) * rng.uniform(0.02, 0.15)
    tail[0] = 1.0
    size = scipy.fft.next_fast_len(samples.size + tail.size, real=True)
    wet = scipy.fft.irfft(scipy.fft.rfft(samples, size) * scipy.fft.rfft(tail, size), size)[: samples.size]
    return np.asarray(wet, np.float32)


def band_limit(samples: Samples, rng: np.random.Generator) -> Samples:
    spectrum = scipy.fft.rfft(samples)
    hertz = scipy.fft.rfftfreq(samples.size, 1 / 16000).astype(np.float32)
    low, high = rng.uniform(20, 350), rng.uniform(2800, 8000)
    keep = 1 / (1 + (low / np.maximum(hertz, 1)) ** 4) / (1 + (hertz / high) ** 8)
    return np.asarray(scipy.fft.irfft(spectrum * keep, samples.size), np.float32)


def activity(clean: Samples, tokens: int) -> npt.NDArray[np.float32]:
    """1 for each token in which the clean voice is within 30 dB of its loudest."""
    power = np.square(clean).reshape(tokens, -1).mean(axis=1)
    return (power > max(power.max() * 1e-3, 1e-9)).astype(np.float32)


def place_voice(voice: Samples, count: int, rng: np.random.Generator, cut: bool = True) -> Samples:
    """The voice somewhere in a silent window; `cut` lets it begin before or end after the window."""
    window = np.zeros(count, np.float32)
    slack = count - voice.size
    reach = voice.size // 3 if cut and rng.random() < 0.4 else 0
    low, high = min(0, slack) - reach, max(0, slack) + reach
    start = int(rng.integers(low, high + 1))
    first, last = max(0, start), min(count, start + voice.size)
    window[first:last] = voice[first - start : last - start]
    return window


@lru_cache(maxsize=POOL)
def _pooled(index: int, count: int) -> Samples:
    return not_speech(np.random.default_rng((77, index)), count)


def some_not_speech(rng: np.random.Generator, count: int) -> Samples:
    """One of POOL sounds that are no voice, from a random moment on: drawing music anew costs more than the network's step."""
    return np.roll(_pooled(int(rng.integers(POOL)), count), int(rng.integers(count)))


def heard(voice: Samples | None, preset: AudioPreset, window_seconds: float, rng: np.random.Generator) -> Sound:
    """One window with that voice in it, or with something that is no voice when it is None."""
    count = round(window_seconds * preset.sample_rate_hz)
    if voice is None:
        sound, active = some_not_speech(rng, count), np.zeros(preset.tokens, np.float32)
        decibels = rng.uniform(*LEVELS_DBFS) if rng.random() < 0.75 else rng.uniform(-75, -40)
    else:
        clean = place_voice(change_speed(voice, rng.uniform(0.9, 1.1)), count, rng)
        sound, active = _in_a_room(clean, preset.tokens, rng), activity(clean, preset.tokens)
        decibels = rng.uniform(*LEVELS_DBFS)
    samples = (sound / _loudest(sound, preset.tokens) * 10 ** (decibels / 20)).clip(-1, 1).astype(np.float32)
    return _begun_late(samples, active, rng)


def _loudest(sound: Samples, tokens: int) -> float:
    return float(np.sqrt(np.square(sound).reshape(tokens, -1).mean(axis=1).max())) + 1e-6


def _in_a_room(clean: Samples, tokens: int, rng: np.random.Generator) -> Samples:
    """Reverberation, a narrow band, noise: each sometimes."""
    sound = reverberate(clean, rng) if rng.random() < 0.3 else clean
    sound = band_limit(sound, rng) if rng.random() < 0.3 else sound
    noise = some_not_speech(rng, clean.size) if rng.random() < 0.1 else coloured_noise(rng, clean.size)
    snr = rng.uniform(8, 55) if rng.random() < 0.8 else rng.uniform(0, 12)
    return sound / _loudest(sound, tokens) + noise / (noise.std() + 1e-6) * 10 ** (-snr / 20)


def _begun_late(samples: Samples, active: npt.NDArray[np.float32], rng: np.random.Generator) -> Sound:
    """In a third of the windows the microphone began late: before that there are zeros, and they are masked."""
    mask = np.ones(active.size, np.float32)
    if rng.random() < 0.33:
        late = int(rng.integers(1, active.size - 3))
        samples[: samples.size * late // active.size] = 0.0
        mask[:late] = 0.0
    return Sound(samples, active * mask, mask)


def plain(voice: Samples, preset: AudioPreset, window_seconds: float) -> Sound:
    """A voice as the evaluation places it: at the end of its window, its last four seconds if it is longer; nothing is heard before it."""
    count = round(window_seconds * preset.sample_rate_hz)
    window = np.zeros(count, np.float32)
    kept = voice[-count:]
    window[count - kept.size :] = kept
    mask = (np.arange(1, preset.tokens + 1) * count > (count - kept.size) * preset.tokens).astype(np.float32)
    return Sound(window, mask, mask)
