"""Bytes of sound → mono float32, by table; a row is a sample format, named as GStreamer and audio_common name it.

Coded sound (mp3) is recognised, so that it is never read as samples. Pure: no rclpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..sound import RATES_HZ
from ..types import Float32
from .bad_message import BadMessage
from .mp3 import is_mp3

MAX_CHANNELS = 64

FORMATS: dict[str, tuple[str, float]] = {
    "S8": ("i1", 2.0**-7),
    "U8": ("u1", 2.0**-7),
    "S16LE": ("<i2", 2.0**-15),
    "S16BE": (">i2", 2.0**-15),
    "S24LE": ("<i3", 2.0**-31),
    "S24BE": (">i3", 2.0**-31),
    "S32LE": ("<i4", 2.0**-31),
    "S32BE": (">i4", 2.0**-31),
    "F32LE": ("<f4", 1.0),
    "F32BE": (">f4", 1.0),
    "F64LE": ("<f8", 1.0),
    "F64BE": (">f8", 1.0),
}
"""Name -> how a sample is stored (as NumPy writes it, and "i3" for three bytes), and what full scale is multiplied by."""


def to_mono(data: Any, kind: str, channels: int, rate_hz: int) -> Float32:
    """Interleaved samples -> their mean over channels, float32 in [-1, 1].

    BadMessage: audio_rate, audio_channels, audio_format, audio_size, audio_coded, audio_not_finite.
    """
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise BadMessage("audio_rate", f"the sample rate must be in [{RATES_HZ[0]}, {RATES_HZ[1]}] Hz, got {rate_hz}; check its publisher")
    if not 1 <= channels <= MAX_CHANNELS:
        raise BadMessage("audio_channels", f"channels must be in [1, {MAX_CHANNELS}], got {channels}; check its publisher")
    if kind not in FORMATS:
        raise BadMessage("audio_format", f"unknown sample format {kind!r}; one of {', '.join(FORMATS)}")
    stored = np.frombuffer(data, np.uint8)
    width = int(FORMATS[kind][0][-1])
    if not stored.size or stored.size % (width * channels):
        raise BadMessage(
            "audio_size", f"{stored.size} bytes are no whole number of {channels} channels x {width} bytes; check its publisher"
        )
    if FORMATS[kind][0][-2] != "f" and is_mp3(stored[:4096].tobytes()):
        raise BadMessage("audio_coded", f"this is mp3, not {kind} samples; let its publisher send raw sound, or say what it sends")
    with np.errstate(all="ignore"):  # what does not fit becomes infinity, and is refused below
        samples = _samples(stored, kind).reshape(-1, channels)
        mono: Float32 = samples[:, 0] if channels == 1 else samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise BadMessage("audio_not_finite", "sound holds NaN, infinity or what float32 cannot hold; check the microphone driver")
    clipped: Float32 = np.clip(mono, -1.0, 1.0)
    return clipped


def _samples(stored: np.ndarray[Any, Any], kind: str) -> Float32:
    form, scale = FORMATS[kind]
    if form[-1] == "3":  # three bytes become the upper ones of four
        wide = np.zeros((stored.size // 3, 4), np.uint8)
        wide[:, 1:] = stored.reshape(-1, 3) if form[0] == "<" else stored.reshape(-1, 3)[:, ::-1]
        values: Float32 = wide.view("<i4")[:, 0].astype(np.float32)
    else:
        values = stored.view(np.dtype(form)).astype(np.float32)
    if kind == "U8":
        values -= 128.0
    if scale != 1.0:
        values *= np.float32(scale)
    return values
