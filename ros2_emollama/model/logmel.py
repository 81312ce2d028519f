"""Sound to log-mel features, the one place where it is done: training and every runtime call this.

The scaling is Whisper's (log10, at most 8 below the window's peak, then (x + 4) / 4), so loudness stays readable; the
filters are the usual triangles on the HTK mel scale.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..types import Float32
from .streams import AudioPreset

FLOOR = 1e-10
FLOOR_PERCENT = 10
RANGE_DECADES = 8.0


def mel_edges(mels: int, sample_rate_hz: int) -> npt.NDArray[np.float64]:
    """(mels + 2,) Hz, evenly spaced on the HTK mel scale; filter i rises from edge i, peaks at i + 1 and ends at i + 2."""
    edges_mel = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + sample_rate_hz / 2 / 700), mels + 2)
    edges: npt.NDArray[np.float64] = 700 * (10 ** (edges_mel / 2595) - 1)
    return edges


@lru_cache(maxsize=4)
def mel_filters(mels: int, fft_samples: int, sample_rate_hz: int) -> Float32:
    """(mels, fft_samples // 2 + 1) triangles of unit height, from 20 Hz to half the sample rate."""
    bins = np.linspace(0, sample_rate_hz / 2, fft_samples // 2 + 1)
    edges = mel_edges(mels, sample_rate_hz)
    rise = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def mel_power(samples: Float32, preset: AudioPreset) -> Float32:
    """(S,) float32 in [-1, 1] -> (S // hop, mels) power. Column i is centred on sample (i + 0.5) * hop; S must be a multiple of the hop."""
    hop, size = preset.hop_samples, preset.fft_samples
    if samples.ndim != 1 or samples.size % hop:
        raise ValueError(f"log_mel needs (S,) samples, S a multiple of {hop}, got {samples.shape}")
    before = (size - hop) // 2
    padded = np.pad(samples.astype(np.float32, copy=False), (before, size - hop - before))
    framed = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    spectrum = np.fft.rfft(framed * np.hanning(size + 1)[:-1].astype(np.float32), axis=1)
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).astype(np.float32)
    mel: Float32 = power @ mel_filters(preset.mels, size, preset.sample_rate_hz).T
    return mel


def log_mel(samples: Float32, preset: AudioPreset, seen: npt.NDArray[np.bool_] | None = None) -> Float32:
    """(S,) float32 in [-1, 1] -> (mels, S // hop) float32; a window's columns never look at sound after it (see `mel_power`).

    seen  (K,) bool, True for each K-th of the window that a microphone really filled; the columns of the others are as quiet as the
          quietest tenth of those that were. Left at zero, the step from digital silence to the first sound looks like a voice's onset.
    """
    log = np.log10(np.maximum(mel_power(samples, preset), FLOOR))
    log = np.maximum(log, log.max(initial=-10.0) - RANGE_DECADES)
    return np.ascontiguousarray(((_filled(log, seen) + 4.0) / 4.0).T.astype(np.float32))


def _filled(log: Float32, seen: npt.NDArray[np.bool_] | None) -> Float32:
    """(columns, mels) with the unseen columns at the noise floor of the seen ones."""
    if seen is None or seen.all() or not seen.any():
        return log
    columns = np.repeat(seen, log.shape[0] // seen.size)
    filled: Float32 = log.copy()
    filled[~columns] = np.percentile(log[columns], FLOOR_PERCENT, axis=0)
    return filled
