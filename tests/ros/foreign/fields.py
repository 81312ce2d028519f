"""Stand-ins with the fields of published sound messages, for tests that need no generated ones."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np

PORTAUDIO_NUMBERS = {"float32_data": 1, "int32_data": 2, "int16_data": 8, "int8_data": 16, "uint8_data": 32}


def _kind(name: str, **fields: str) -> type:
    return type(
        name.partition("/")[2], (), {"__module__": name.partition("/")[0], "get_fields_and_field_types": classmethod(lambda cls: fields)}
    )


KINDS = {
    name: _kind(name, **fields)
    for name, fields in {
        "emollama/AudioChunk": {
            "header": "std_msgs/Header",
            "sample_rate": "uint32",
            "channels": "uint8",
            "format": "uint8",
            "data": "sequence<uint8>",
        },
        "foxglove_msgs/RawAudio": {
            "timestamp": "builtin_interfaces/Time",
            "data": "sequence<uint8>",
            "format": "string",
            "sample_rate": "uint32",
            "number_of_channels": "uint32",
            "uuid": "string",  # newer releases have more fields; we need none of them
        },
        "audio_common_msgs/Audio": {"audio_data": "audio_common_msgs/AudioData", "info": "audio_common_msgs/AudioInfo"},
        "audio_common_msgs/AudioStamped": {"header": "std_msgs/Header", "audio": "audio_common_msgs/Audio"},
        "audio_common_msgs/AudioData": {"data": "sequence<uint8>"},
        "audio_common_msgs/AudioDataStamped": {"header": "std_msgs/Header", "audio": "audio_common_msgs/AudioData"},
    }.items()
}


def time_of(stamp_ns: int) -> SimpleNamespace:
    return SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)


def header(stamp_ns: int) -> SimpleNamespace:
    return SimpleNamespace(stamp=time_of(stamp_ns), frame_id="microphone")


def own(data: bytes, rate_hz: int, channels: int, stamp_ns: int, kind: int = 1) -> SimpleNamespace:
    return SimpleNamespace(header=header(stamp_ns), sample_rate=rate_hz, channels=channels, format=kind, data=array.array("B", data))


def raw_audio(data: bytes, rate_hz: int, channels: int, stamp_ns: int, coding: str = "pcm-s16") -> SimpleNamespace:
    return SimpleNamespace(
        timestamp=time_of(stamp_ns), data=array.array("B", data), format=coding, sample_rate=rate_hz, number_of_channels=channels
    )


def portaudio(
    field: str, values: np.ndarray, rate_hz: int, channels: int, stamp_ns: int | None = None, number: int | None = None
) -> SimpleNamespace:
    codes = {"float32_data": "f", "int32_data": "i", "int16_data": "h", "int8_data": "b", "uint8_data": "B"}
    data = SimpleNamespace(**{name: array.array(code, values.tobytes() if name == field else b"") for name, code in codes.items()})
    info = SimpleNamespace(format=PORTAUDIO_NUMBERS[field] if number is None else number, channels=channels, rate=rate_hz, chunk=0)
    audio = SimpleNamespace(audio_data=data, info=info)
    return audio if stamp_ns is None else SimpleNamespace(header=header(stamp_ns), audio=audio)


def ros_drivers(data: bytes, stamp_ns: int | None = None) -> SimpleNamespace:
    audio = SimpleNamespace(data=array.array("B", data))
    return audio if stamp_ns is None else SimpleNamespace(header=header(stamp_ns), audio=audio)


def audio_info(kind: str, channels: int, rate_hz: int, coding: str = "wave") -> Any:
    return SimpleNamespace(sample_format=kind, channels=channels, sample_rate=rate_hz, bitrate=128, coding_format=coding)
