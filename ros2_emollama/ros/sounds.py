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
from typing import Any, Protocol

from ..config import AudioConfig
from ..types import NANOSECONDS, AudioChunk, Float32
from . import conversions, mp3, pcm
from .bad_message import BadMessage

SLACK_NS = 100_000_000  # what a stamp may lie beside the place its predecessors say before a hole or a jump is believed
FOLLOW = 64  # otherwise so small a part of the difference is followed: drift, not jitter
WALL_CLOCK_NS = 10**18  # the year 2001: a stamp before it, on a clock after it, counts from somebody's start

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

    def chunk(self, mono: Float32, rate_hz: int, stamp_ns: int, now_ns: int) -> AudioChunk:
        """The samples in their place; by their arrival where `stamp_ns` is 0."""
        measured_ns = stamp_ns or now_ns - mono.size * NANOSECONDS // rate_hz
        return AudioChunk(self.place(measured_ns, mono.size, rate_hz), mono, rate_hz)


OnBad = Callable[[BadMessage], None]


class SoundReader:
    """Reads the messages of one topic. A message without a stamp is placed by its arrival.

    ImportError for a class whose fields we do not know.
    """

    def __init__(self, kind: Any, config: AudioConfig, on_bad: OnBad) -> None:
        self._on_bad = on_bad
        self._reader = _reader_of(kind)(config, on_bad)

    def read(self, message: Any, now_ns: int) -> list[AudioChunk]:
        """The sound of a message that came at `now_ns`. What cannot be read goes to `on_bad`, with its cause."""
        try:
            return self._reader.read(message, now_ns)
        except BadMessage as error:
            self._on_bad(error)
            return []

    def tell(self, info: Any) -> None:
        """What audio_common's AudioInfo says (ros-drivers)."""
        if isinstance(self._reader, _RosDrivers):
            self._reader.tell(info)

    @property
    def wants_info(self) -> bool:
        return isinstance(self._reader, _RosDrivers)


class _Reader(Protocol):
    def read(self, message: Any, now_ns: int) -> list[AudioChunk]: ...


def _reader_of(kind: Any) -> Callable[[AudioConfig, OnBad], _Reader]:
    fields: Mapping[str, str] = kind.get_fields_and_field_types()
    names, audio = set(fields), fields.get("audio", "")
    if {"header", "sample_rate", "channels", "format", "data"} <= names:
        return lambda config, on_bad: _Stamped(conversions.audio_from_message)
    if {"timestamp", "data", "format", "sample_rate", "number_of_channels"} <= names:
        return lambda config, on_bad: _Stamped(_foxglove)
    if {"audio_data", "info"} <= names or audio.endswith("/Audio"):
        return lambda config, on_bad: _PortAudio()
    if names == {"data"} or audio.endswith("/AudioData"):
        return _RosDrivers
    raise ImportError(f"{kind.__module__.partition('.')[0]}/{kind.__name__} has fields we do not know: {', '.join(sorted(names))}")


class _Stamped:
    """Messages that say when their first sample was heard: that is believed to the nanosecond."""

    def __init__(self, convert: Callable[[Any], AudioChunk]) -> None:
        self._convert = convert
        self._continuity = Continuity()

    def read(self, message: Any, now_ns: int) -> list[AudioChunk]:
        chunk = self._convert(message)
        return [chunk if chunk.stamp_ns else self._continuity.chunk(chunk.samples, chunk.sample_rate_hz, 0, now_ns)]


def _foxglove(message: Any) -> AudioChunk:
    if message.format != "pcm-s16":
        raise BadMessage("audio_format", f"RawAudio of format {message.format!r} cannot be read; let its publisher send pcm-s16")
    rate = int(message.sample_rate)
    mono = pcm.to_mono(message.data, "S16LE", int(message.number_of_channels), rate)
    return AudioChunk(conversions.stamp_ns(message.timestamp), mono, rate)


class _PortAudio:
    """audio_common of mgonzs13: samples in a field of their own type, stamped when reading began."""

    def __init__(self) -> None:
        self._continuity = Continuity()

    def read(self, message: Any, now_ns: int) -> list[AudioChunk]:
        audio = message.audio if hasattr(message, "audio") else message
        field, kind = PORTAUDIO.get(int(audio.info.format), ("", ""))
        if not field:
            known = ", ".join(f"{number} ({kind})" for number, (_, kind) in PORTAUDIO.items())
            raise BadMessage("audio_format", f"PortAudio format {audio.info.format} cannot be read; one of {known}")
        rate, channels = int(audio.info.rate), int(audio.info.channels)
        mono = pcm.to_mono(_bytes(getattr(audio.audio_data, field)), kind, channels, rate)
        return [self._continuity.chunk(mono, rate, _stamp_of(message), now_ns)]


def _stamp_of(message: Any) -> int:
    return conversions.stamp_ns(message.header.stamp) if hasattr(message, "header") else 0


def _bytes(values: Any) -> bytes:
    """The bytes of a sequence field, as rclpy gives it: array.array, or a NumPy array."""
    return bytes(memoryview(values).cast("B")) if len(values) else b""


@dataclass(frozen=True)
class _Spoken:
    """What sound is said to be. `coding` is "mp3", another coding's name, or "" for samples."""

    kind: str
    channels: int
    rate_hz: int
    coding: str = ""


class _RosDrivers:
    """audio_common of ros-drivers: bytes that AudioInfo describes; until it has spoken, the parameters do.

    Its default is mp3, and mp3 read as samples is a roar: whatever was said, bytes that are mp3 beyond doubt are decoded. Where nothing
    was said, the first ones wait until there are enough to tell (0.14 s at 16 kHz).
    """

    def __init__(self, config: AudioConfig, on_bad: OnBad) -> None:
        kind = config.assume_format
        self._spoken = _Spoken(
            kind if kind in pcm.FORMATS else "S16LE", config.assume_channels, config.assume_rate_hz, "mp3" if kind == "mp3" else ""
        )
        self._told = kind != "auto"
        self._on_bad = on_bad
        self._continuity, self._recogniser = Continuity(), mp3.Recogniser()
        self._decoder: mp3.Decoder | None = None
        self._waiting: list[tuple[bytes, int, int]] = []

    def tell(self, info: Any) -> None:
        coding = str(info.coding_format).lower()
        coding = "" if coding in ("wave", "wav", "raw", "") else coding
        spoken = _Spoken(str(info.sample_format), int(info.channels), int(info.sample_rate), coding)
        if self._told and spoken != self._spoken:  # another stream begins
            self._recogniser, self._decoder = mp3.Recogniser(), None
        self._spoken, self._told = spoken, True

    def read(self, message: Any, now_ns: int) -> list[AudioChunk]:
        data = _bytes((message.audio if hasattr(message, "audio") else message).data)
        stamp_ns = _stamp_of(message)
        if stamp_ns < WALL_CLOCK_NS <= now_ns:  # audio_capture stamps with GStreamer's clock, which counts from the machine's start
            stamp_ns = 0
        if not data:
            raise BadMessage("audio_size", "a message without a byte of sound; check its publisher")
        self._recogniser.feed(data)
        self._waiting.append((data, stamp_ns, now_ns))
        if self._recogniser.mp3 is None and not self._told:
            return []
        waited, self._waiting = self._waiting, []
        chunks: list[AudioChunk] = []
        for one in waited:
            try:
                chunks += self._read(*one)
            except BadMessage as error:
                self._on_bad(error)
        return chunks

    def _read(self, data: bytes, stamp_ns: int, now_ns: int) -> list[AudioChunk]:
        spoken = self._spoken
        if self._recogniser.mp3 or (self._recogniser.mp3 is None and spoken.coding == "mp3"):
            return self._decode(data, stamp_ns, now_ns)
        self._decoder = None  # FFmpeg would gather what is no mp3 for ever
        if spoken.coding == "mp3":
            raise BadMessage("audio_undecodable", "sound said to be mp3 holds no mp3 frames; check what its publisher says in audio_info")
        if spoken.coding:
            raise BadMessage("audio_coded", f"sound coded as {spoken.coding!r} cannot be read; let its publisher send wave or mp3")
        mono = pcm.to_mono(data, spoken.kind, spoken.channels, spoken.rate_hz)
        return [self._continuity.chunk(mono, spoken.rate_hz, stamp_ns, now_ns)]

    def _decode(self, data: bytes, stamp_ns: int, now_ns: int) -> list[AudioChunk]:
        if self._decoder is None:
            self._decoder = mp3.Decoder()
        runs, damaged = self._decoder.decode(data)
        for _ in range(damaged):
            self._on_bad(BadMessage("audio_undecodable", "a frame of mp3 cannot be decoded; check its publisher and the network"))
        chunks = []
        for mono, rate in runs:
            chunks.append(self._continuity.chunk(mono, rate, stamp_ns, now_ns))
            stamp_ns = chunks[-1].end_ns if stamp_ns else 0
        return chunks
