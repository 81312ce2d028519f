"""mp3 (MPEG audio layer III: ISO 11172-3, 13818-3): is this mp3, and what does it sound like?

Sound packages send it on topics that others read as samples, whole frames a message or cut anywhere, said beforehand or not at all.
Pure: no rclpy. PyAV is imported where something is decoded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..types import Float32
from .bad_message import BadMessage

KBPS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG 2 and 2.5
}
HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
PROOF_BYTES = 4608  # holds three frames of the longest kind (1441 bytes), wherever it begins
FORGET_BYTES = 4 * PROOF_BYTES  # a stream that was mp3 and shows no frames for so long is mp3 no more


def frame_bytes(data: bytes) -> int:
    """Length of the frame these bytes begin with, 0 where none begins."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE6 != 0xE2:  # eleven bits of sync, layer III
        return 0
    version, rate, place = data[1] >> 3 & 3, data[2] >> 4, data[2] >> 2 & 3
    if version == 1 or rate in (0, 15) or place == 3:
        return 0
    kbps, hertz = KBPS[3 if version == 3 else 2][rate], HZ[version][place]
    return (144 if version == 3 else 72) * kbps * 1000 // hertz + (data[2] >> 1 & 1)


def is_mp3(data: bytes) -> bool:
    """True when a whole frame is followed by another one, or by nothing: chance makes samples look so once in millions of chunks."""
    if data[:3] == b"ID3":
        return True
    first = frame_bytes(data)
    return bool(first) and (first == len(data) or bool(frame_bytes(data[first : first + 4])))


def holds_mp3(data: bytes) -> bool:
    """True when three frames of one kind follow each other anywhere in it: chance does not bring that about."""
    stored = np.frombuffer(data, np.uint8)
    for start in np.flatnonzero((stored[:-1] == 0xFF) & (stored[1:] & 0xE6 == 0xE2)).tolist():
        second = start + frame_bytes(data[start : start + 4])
        third = second + frame_bytes(data[second : second + 4])
        if start < second < third and frame_bytes(data[third : third + 4]):
            kinds = {_kind(data, place) for place in (start, second, third)}
            if len(kinds) == 1:
                return True
    return False


def _kind(data: bytes, start: int) -> tuple[int, int]:
    """Version and sample rate: what all frames of one stream have in common."""
    return data[start + 1] & 0x18, data[start + 2] & 0x0C


class Recogniser:
    """Watches a stream of bytes. `mp3` is None until enough of it was seen."""

    def __init__(self) -> None:
        self.mp3: bool | None = None
        self._tail = b""
        self._seen = 0  # since the last proof

    def feed(self, data: bytes) -> None:
        first = not self._tail
        self._tail = (self._tail + data)[-PROOF_BYTES:]
        self._seen += len(data)
        if holds_mp3(self._tail) or (first and data[:3] == b"ID3"):
            self.mp3, self._seen = True, 0
        elif self._seen >= (FORGET_BYTES if self.mp3 else PROOF_BYTES):
            self.mp3 = False


class Decoder:
    """A stream of mp3 bytes → samples, with FFmpeg's decoder. BadMessage (audio_coded) where PyAV is not installed."""

    def __init__(self) -> None:
        try:
            import av
        except ImportError as error:
            raise BadMessage("audio_coded", "sound comes as mp3, and PyAV is not installed; pip install av") from error
        self._codec = av.CodecContext.create("mp3", "r")
        self._to_float: Any = None
        self._kind: Any = None

    def decode(self, data: bytes) -> tuple[list[tuple[Float32, int]], int]:
        """Runs of samples that became whole, each with its rate, and how many packets could not be decoded."""
        import av

        runs: list[tuple[Float32, int]] = []
        damaged = 0
        for packet in self._codec.parse(data):
            try:
                frames = self._codec.decode(packet)
            except av.error.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                runs.append((self._mono(frame), int(frame.sample_rate)))
        return _joined(runs), damaged

    def _mono(self, frame: Any) -> Float32:
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # a resampler takes one kind of frame
            self._kind, self._to_float = kind, av.AudioResampler(format="fltp")
        parts = [out.to_ndarray() for out in self._to_float.resample(frame)]
        mono: Float32 = np.concatenate(parts, axis=1).mean(axis=0, dtype=np.float32) if parts else np.zeros(0, np.float32)
        return np.clip(mono, -1.0, 1.0)


def _joined(runs: list[tuple[Float32, int]]) -> list[tuple[Float32, int]]:
    """Neighbours of one rate put together."""
    joined: list[tuple[list[Float32], int]] = []
    for samples, rate in runs:
        if joined and joined[-1][1] == rate:
            joined[-1][0].append(samples)
        elif samples.size:
            joined.append(([samples], rate))
    return [(np.concatenate(parts), rate) for parts, rate in joined]
