"""Sound messages of any package → `AudioChunk`s. Which package's a message is, its fields say: two packages share one name.

    emollama/AudioChunk                              header, sample_rate, channels, format, data
    foxglove_msgs/RawAudio                           timestamp, data, format, sample_rate, number_of_channels
    audio_common_msgs/AudioStamped, Audio            of mgonzs13: header, audio {audio_data, info}
    audio_common_msgs/AudioDataStamped, AudioData    of ros-drivers: header, audio {data}; what it is stands on the topic audio_info

Field names are those of the published definitions. Only our own package must be installed; nothing here imports rclpy.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import AudioConfig
from ..types import NANOSECONDS, AudioChunk, Float32
from . import conversions, pcm
from .bad_message import BadMessage

SLACK_NS = 100_000_000  # what a stamp may lie beside the place its predecessors say before a hole or a jump is believed
FOLLOW = 16  # otherwise a sixteenth of the difference is followed: drift, not jitter

CANDIDATES = (
    "emollama/msg/AudioChunk",
    "audio_common_msgs/msg/AudioStamped",
    "audio_common_msgs/msg/AudioDataStamped",
    "audio_common_msgs/msg/Audio",
    "audio_common_msgs/msg/AudioData",
    "foxglove_msgs/msg/RawAudio",
)
PORTAUDIO = {
    1: ("float32_data", "F32LE"),
    2: ("int32_data", "S32LE"),
    8: ("int16_data", "S16LE"),
    16: ("int8_data", "S8"),
    32: ("uint8_data", "U8"),
}
"""PortAudio's sample formats as audio_common of mgonzs13 sends them: the field that holds the samples, and their name here."""


def message_class(type_name: str) -> Any:
    """Class of "package/msg/Name". ImportError where the package is not installed."""
    package, _, name = type_name.partition("/msg/")
    module = importlib.import_module(f"{package}.msg")
    found = getattr(module, name, None)
    if found is None:
        raise ImportError(f"the installed {package} has no message {name}")
    return found


class Continuity:
    """Places chunks one behind the other although their measured times jitter."""

    def __init__(self) -> None:
        self._expected_ns: int | None = None

    def place(self, measured_ns: int, samples: int, rate_hz: int) -> int:
        """Stamp of a chunk that was measured to begin at `measured_ns`."""
        off_ns = measured_ns - (self._expected_ns if self._expected_ns is not None else measured_ns)
        stamp_ns = measured_ns if abs(off_ns) > SLACK_NS else measured_ns - off_ns + off_ns // FOLLOW
        self._expected_ns = stamp_ns + samples * NANOSECONDS // rate_hz
        return stamp_ns


@dataclass(frozen=True)
class Spoken:
    """What sound says of itself where the message does not. `coding` is "mp3", or "" for samples."""

    kind: str
    channels: int
    rate_hz: int
    coding: str


class SoundReader:
    """Reads the messages of one topic. `read` takes a message and the time it came, in ns; BadMessage with its cause.

    A message without a stamp is placed by its arrival.
    """

    def __init__(self, kind: Any, config: AudioConfig) -> None:
        self._read = _reader_of(kind)(config)

    def read(self, message: Any, now_ns: int) -> list[AudioChunk]:
        return self._read(message, now_ns)

    def tell(self, info: Any) -> None:
        """What audio_common's AudioInfo says (ros-drivers)."""
        if isinstance(self._read, _RosDrivers):
            self._read.tell(info)

    @property
    def wants_info(self) -> bool:
        return isinstance(self._read, _RosDrivers)


def _reader_of(kind: Any) -> Callable[[AudioConfig], Callable[[Any, int], list[AudioChunk]]]:
    fields: Mapping[str, str] = kind.get_fields_and_field_types()
    names, audio = set(fields), fields.get("audio", "")
    if {"header", "sample_rate", "channels", "format", "data"} <= names:
        return lambda config: _own
    if {"timestamp", "data", "format", "sample_rate", "number_of_channels"} <= names:
        return lambda config: _foxglove
    if {"audio_data", "info"} <= names or audio.endswith("/Audio"):
        return lambda config: _PortAudio()
    if names == {"data"} or audio.endswith("/AudioData"):
        return _RosDrivers
    raise ImportError(f"{kind.__module__.partition('.')[0]}/{kind.__name__} has fields we do not know: {', '.join(sorted(names))}")


def _own(message: Any, now_ns: int) -> list[AudioChunk]:
    return [conversions.audio_from_message(message)]


def _foxglove(message: Any, now_ns: int) -> list[AudioChunk]:
    if message.format != "pcm-s16":
        raise BadMessage("audio_format", f"RawAudio of format {message.format!r} cannot be read; let its publisher send pcm-s16")
    rate = int(message.sample_rate)
    mono = pcm.to_mono(message.data, "S16LE", int(message.number_of_channels), rate)
    return [AudioChunk(conversions.stamp_ns(message.timestamp), mono, rate)]


class _PortAudio:
    """audio_common of mgonzs13: samples in a field of their own type."""

    def __init__(self) -> None:
        self._continuity = Continuity()

    def __call__(self, message: Any, now_ns: int) -> list[AudioChunk]:
        audio = message.audio if hasattr(message, "audio") else message
        field, kind = PORTAUDIO.get(int(audio.info.format), ("", ""))
        if not field:
            known = ", ".join(f"{number} ({kind})" for number, (_, kind) in PORTAUDIO.items())
            raise BadMessage("audio_format", f"PortAudio format {audio.info.format} cannot be read; one of {known}")
        rate, channels = int(audio.info.rate), int(audio.info.channels)
        mono = pcm.to_mono(_bytes(getattr(audio.audio_data, field)), kind, channels, rate)
        stamp = conversions.stamp_ns(message.header.stamp) if hasattr(message, "header") else 0
        measured = stamp or now_ns - mono.size * NANOSECONDS // rate
        return [AudioChunk(self._continuity.place(measured, mono.size, rate), mono, rate)]


def _bytes(values: Any) -> bytes:
    """The bytes of a sequence field, as rclpy gives it: array.array, or a NumPy array."""
    return bytes(memoryview(values).cast("B")) if len(values) else b""


class _RosDrivers:
    """audio_common of ros-drivers: bytes that AudioInfo describes; until it has spoken, the parameters do. Its default is mp3."""

    def __init__(self, config: AudioConfig) -> None:
        kind = config.assume_format
        self._spoken = Spoken(
            kind if kind in pcm.FORMATS else "S16LE", config.assume_channels, config.assume_rate_hz, "mp3" if kind == "mp3" else ""
        )
        self._told = kind != "auto"
        self._continuity = Continuity()
        self._mp3: _Mp3 | None = None

    def tell(self, info: Any) -> None:
        coding = str(info.coding_format).lower()
        self._spoken = Spoken(
            str(info.sample_format), int(info.channels), int(info.sample_rate), "" if coding in ("wave", "wav", "raw", "") else coding
        )
        self._told = True

    def __call__(self, message: Any, now_ns: int) -> list[AudioChunk]:
        data = _bytes((message.audio if hasattr(message, "audio") else message).data)
        stamp = conversions.stamp_ns(message.header.stamp) if hasattr(message, "header") else 0
        spoken = self._spoken
        if spoken.coding == "mp3" or (not self._told and pcm.is_mp3(data[:4096])):
            return self._decode(data, stamp, now_ns)
        if spoken.coding:
            raise BadMessage("audio_coded", f"sound coded as {spoken.coding!r} cannot be read; let its publisher send wave or mp3")
        mono = pcm.to_mono(data, spoken.kind, spoken.channels, spoken.rate_hz)
        return [self._placed(mono, spoken.rate_hz, stamp, now_ns)]

    def _decode(self, data: bytes, stamp_ns: int, now_ns: int) -> list[AudioChunk]:
        if self._mp3 is None:
            self._mp3 = _Mp3()
        mono, rate = self._mp3.decode(data)
        return [self._placed(mono, rate, stamp_ns, now_ns)] if mono.size else []

    def _placed(self, mono: Float32, rate_hz: int, stamp_ns: int, now_ns: int) -> AudioChunk:
        measured = stamp_ns or now_ns - mono.size * NANOSECONDS // rate_hz
        return AudioChunk(self._continuity.place(measured, mono.size, rate_hz), mono, rate_hz)


class _Mp3:
    """A stream of mp3 bytes → samples, with FFmpeg's decoder."""

    def __init__(self) -> None:
        import av

        self._codec = av.CodecContext.create("mp3", "r")
        self._to_float = av.AudioResampler(format="fltp", layout="mono")

    def decode(self, data: bytes) -> tuple[Float32, int]:
        """Samples that became whole, and their rate. BadMessage: audio_undecodable."""
        import av

        parts, rate = [np.zeros(0, np.float32)], 0
        try:
            for packet in self._codec.parse(data):
                for frame in self._codec.decode(packet):
                    rate = frame.sample_rate
                    parts += [out.to_ndarray()[0] for out in self._to_float.resample(frame)]
        except av.error.FFmpegError as error:
            raise BadMessage(
                "audio_undecodable", f"{len(data)} bytes are no mp3 that can be decoded ({error}); check its publisher"
            ) from error
        return np.concatenate(parts), rate
