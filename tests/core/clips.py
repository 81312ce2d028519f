"""Clips written for tests: a picture whose brightness tells the time, a tone."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_clip(path: Path, seconds: float = 2.0, fps: int = 25, rate_hz: int = 44100, video: bool = True, audio: bool = True) -> Path:
    """Grey pictures of 64×48, the left half black, brightness 10 a frame (mod 200); a tone of 440 Hz at half scale on the left channel."""
    with av.open(str(path), "w") as container:
        if video:
            pictures = container.add_stream("mpeg4", rate=fps, width=64, height=48, pix_fmt="yuv420p", options={"qscale": "2"})
        if audio:
            sound = container.add_stream("flac" if path.suffix in (".flac", ".mkv") else "aac", rate=rate_hz, layout="stereo")
        if video:
            for i in range(round(seconds * fps)):
                picture = np.full((48, 64, 3), 40 + i * 10 % 200, np.uint8)
                picture[:, :32] = 0
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, fps)
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode(None))
        if audio:
            time = np.arange(round(seconds * rate_hz)) / rate_hz
            left = np.sin(2 * np.pi * 440.0 * time) * 0.5
            samples = (np.stack([left, np.zeros_like(left)], axis=1) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
            resampler = av.AudioResampler(format=sound.format, layout="stereo", rate=rate_hz, frame_size=sound.frame_size or 1024)
            for block in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


def turn_clockwise(path: Path) -> Path:
    """Say in an mp4's track header that its picture is to be shown turned by 90° clockwise, as telephones do."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40  # version and flags, times, id, duration, layer, volume: then the matrix
    one = 1 << 16
    for i, value in enumerate([0, one, 0, -one, 0, 0, 0, 0, 1 << 30]):
        content[place + 4 * i : place + 4 * i + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(content)
    return path
