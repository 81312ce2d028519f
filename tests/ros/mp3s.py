"""Tones as mp3, made on the spot."""

from __future__ import annotations

import av
import numpy as np


def tone(seconds: float = 2.0, rate_hz: int = 16000, hertz: float = 440.0) -> np.ndarray:
    """float32 at half scale."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def encoded(samples: np.ndarray, rate_hz: int = 16000, channels: int = 1) -> bytes:
    """Bare frames, as GStreamer's lamemp3enc gives them: no header before them."""
    layout = "mono" if channels == 1 else "stereo"
    codec = av.CodecContext.create("libmp3lame", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = rate_hz, layout, "fltp", 64000 * channels
    codec.open()
    frame = av.AudioFrame.from_ndarray(np.repeat(samples[None, :], channels, axis=0), format="fltp", layout=layout)
    frame.sample_rate, frame.pts = rate_hz, 0
    blocks = av.AudioResampler(format="fltp", layout=layout, rate=rate_hz, frame_size=codec.frame_size)
    packets = [packet for block in [*blocks.resample(frame), *blocks.resample(None)] for packet in codec.encode(block)]
    return b"".join(bytes(packet) for packet in [*packets, *codec.encode(None)])


def cut(data: bytes, seed: int = 0) -> list[bytes]:
    """In pieces of 1 to 900 bytes."""
    random, pieces = np.random.default_rng(seed), []
    while data:
        size = int(random.integers(1, 900))
        pieces.append(data[:size])
        data = data[size:]
    return pieces
