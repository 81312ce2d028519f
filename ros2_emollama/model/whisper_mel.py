"""Sound to the log-mel that Whisper's encoder was trained on. numpy only: the run-time path has no torch.

Source: arXiv 2212.04356 and the released WhisperFeatureExtractor: 25 ms Hann windows every 10 ms, reflected at the ends, 128 triangles of
equal area on Slaney's mel scale up to 8 kHz, log10 at most 8 below the loudest, then (x + 4) / 4.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..types import Float32
from .logmel import FLOOR, RANGE_DECADES
from .streams import WhisperPreset

# Slaney's scale: linear up to 1 kHz, then 27 mels for each factor of 6.4.
LINEAR_HZ_PER_MEL = 200.0 / 3
KNEE_HZ = 1000.0
KNEE_MEL = KNEE_HZ / LINEAR_HZ_PER_MEL
LOG_STEP = np.log(6.4) / 27.0


def slaney_hz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    hz: npt.NDArray[np.float64] = np.where(mels < KNEE_MEL, mels * LINEAR_HZ_PER_MEL, KNEE_HZ * np.exp(LOG_STEP * (mels - KNEE_MEL)))
    return hz


@lru_cache(maxsize=4)
def slaney_filters(mels: int, fft_samples: int, sample_rate_hz: int) -> Float32:
    """(mels, fft_samples // 2 + 1) triangles whose area in Hz is 1, from 0 to half the sample rate."""
    top_mel = KNEE_MEL + np.log(sample_rate_hz / 2 / KNEE_HZ) / LOG_STEP
    edges = slaney_hz(np.linspace(0.0, top_mel, mels + 2))
    bins = np.linspace(0, sample_rate_hz / 2, fft_samples // 2 + 1)
    rise = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    area = 2.0 / (edges[2:] - edges[:-2])
    return (np.maximum(0, np.minimum(rise, fall)) * area[:, None]).astype(np.float32)


def whisper_log_mel(samples: Float32, preset: WhisperPreset) -> Float32:
    """(S,) float32 in [-1, 1] -> (mels, columns) float32; after the samples comes silence. ValueError when they are longer than 30 s."""
    total = preset.columns * preset.hop_samples
    if samples.ndim != 1 or samples.size > total:
        raise ValueError(f"whisper_log_mel takes (S,) samples, at most {total}, got {samples.shape}")
    half = preset.fft_samples // 2
    padded = np.pad(np.pad(samples.astype(np.float32, copy=False), (0, total - samples.size)), half, mode="reflect")
    # Columns that begin after the sound are all silence: 26 of 30 s for a window of 4 s need no transform.
    heard = min(preset.columns, (samples.size + half) // preset.hop_samples + 1)
    framed = np.lib.stride_tricks.sliding_window_view(padded, preset.fft_samples)[:: preset.hop_samples][:heard]
    spectrum = np.fft.rfft(framed * np.hanning(preset.fft_samples + 1)[:-1].astype(np.float32), axis=1)
    power = (np.square(spectrum.real) + np.square(spectrum.imag)).astype(np.float32)
    mel = np.zeros((preset.columns, preset.mels), np.float32)
    mel[:heard] = power @ slaney_filters(preset.mels, preset.fft_samples, preset.sample_rate_hz).T
    log = np.log10(np.maximum(mel, FLOOR))
    log = np.maximum(log, log.max() - RANGE_DECADES)
    return np.ascontiguousarray(((log + 4.0) / 4.0).T.astype(np.float32))
