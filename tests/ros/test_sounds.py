"""Sound messages of five packages become the same chunks: sample-exact, in their place; what cannot be read is reported with its cause.

Here the messages are stand-ins with the published fields; tests/ros/test_foreign.py uses the generated ones in a real graph.
"""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros2_emollama.config import AudioConfig
from ros2_emollama.ros.bad_message import BadMessage
from ros2_emollama.ros.sounds import Continuity, SoundReader, message_class
from ros2_emollama.sound import SoundTrack
from ros2_emollama.types import AudioChunk
from tests.ros.foreign.fields import KINDS, audio_info, own, portaudio, raw_audio, ros_drivers
from tests.ros.mp3s import cut, encoded, tone

NOW_NS = 1_700_000_000 * 10**9
PCM = np.array([[0, 16384], [-32768, 0], [32767, -32768]], np.int16)
MIXED = np.array([0.25, -0.5, -0.5 / 32768], np.float32)


class Ear:
    """A reader, and what it reported."""

    def __init__(self, package: str, **config: Any) -> None:
        self.bad: list[BadMessage] = []
        self.reader = SoundReader(KINDS[package], AudioConfig(**config), self.bad.append)

    def hear(self, message: Any, now_ns: int = NOW_NS) -> list[AudioChunk]:
        return self.reader.read(message, now_ns)

    def causes(self) -> list[str]:
        return [error.cause for error in self.bad]


def only(chunks: list[AudioChunk]) -> AudioChunk:
    [chunk] = chunks
    return chunk


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("emollama/AudioChunk", own(PCM.tobytes(), 48000, 2, NOW_NS + 7)),
        ("foxglove_msgs/RawAudio", raw_audio(PCM.tobytes(), 48000, 2, NOW_NS + 7)),
        ("audio_common_msgs/AudioStamped", portaudio("int16_data", PCM.ravel(), 48000, 2, NOW_NS + 7)),
    ],
)
def test_samples_channels_rate_and_stamp_are_read_exactly(package: str, message: Any) -> None:
    ear = Ear(package)
    chunk = only(ear.hear(message))
    assert np.array_equal(chunk.samples, MIXED) and chunk.sample_rate_hz == 48000 and chunk.stamp_ns == NOW_NS + 7
    assert not ear.bad


def test_audio_data_is_what_the_parameters_say_until_audio_info_says_otherwise() -> None:
    ear = Ear("audio_common_msgs/AudioDataStamped", assume_format="S16LE", assume_channels=2, assume_rate_hz=48000)
    chunk = only(ear.hear(ros_drivers(PCM.tobytes(), NOW_NS + 7)))
    assert np.array_equal(chunk.samples, MIXED) and chunk.sample_rate_hz == 48000 and chunk.stamp_ns == NOW_NS + 7
    ear.reader.tell(audio_info("F32LE", 1, 8000))
    samples = np.array([0.5, -0.25], np.float32)
    chunk = only(ear.hear(ros_drivers(samples.tobytes(), NOW_NS + 10**9)))
    assert np.array_equal(chunk.samples, samples) and chunk.sample_rate_hz == 8000


@pytest.mark.parametrize(
    ("field", "dtype", "scale"),
    [
        ("float32_data", np.float32, 1.0),
        ("int32_data", np.int32, 2.0**31),
        ("int16_data", np.int16, 2.0**15),
        ("int8_data", np.int8, 2.0**7),
        ("uint8_data", np.uint8, 2.0**7),
    ],
)
def test_every_portaudio_format_is_read_from_the_field_of_its_type(field: str, dtype: Any, scale: float) -> None:
    values = np.array([0.0, 0.5, -1.0, 0.25])
    stored = (values * scale + (128 if dtype == np.uint8 else 0)).astype(dtype)
    chunk = only(Ear("audio_common_msgs/AudioStamped").hear(portaudio(field, stored, 16000, 1, NOW_NS)))
    assert np.array_equal(chunk.samples, values.astype(np.float32))


@pytest.mark.parametrize(
    ("package", "message", "config", "cause"),
    [
        ("audio_common_msgs/AudioStamped", portaudio("int16_data", PCM.ravel(), 16000, 1, NOW_NS, number=4), {}, "audio_format"),
        ("audio_common_msgs/AudioStamped", portaudio("int8_data", np.zeros(4, np.int8), 16000, 1, NOW_NS, number=8), {}, "audio_size"),
        ("audio_common_msgs/AudioStamped", portaudio("int16_data", PCM.ravel(), 0, 1, NOW_NS), {}, "audio_rate"),
        ("foxglove_msgs/RawAudio", raw_audio(PCM.tobytes(), 16000, 2, NOW_NS, coding="opus"), {}, "audio_format"),
        ("foxglove_msgs/RawAudio", raw_audio(PCM.tobytes()[1:], 16000, 2, NOW_NS), {}, "audio_size"),
        ("audio_common_msgs/AudioData", ros_drivers(b""), {"assume_format": "S16LE"}, "audio_size"),
        ("audio_common_msgs/AudioData", ros_drivers(b""), {"assume_format": "mp3"}, "audio_size"),
    ],
)
def test_what_cannot_be_read_is_reported_with_its_cause(package: str, message: Any, config: dict[str, Any], cause: str) -> None:
    ear = Ear(package, **config)
    assert ear.hear(message) == [] and ear.causes() == [cause]
    assert "; " in str(ear.bad[0])


def test_a_coding_we_cannot_decode_is_refused_by_name() -> None:
    ear = Ear("audio_common_msgs/AudioData")
    ear.reader.tell(audio_info("S16LE", 1, 16000, coding="FLAC"))
    assert ear.hear(ros_drivers(PCM.tobytes())) == []
    assert ear.causes() == ["audio_coded"] and "'flac'" in str(ear.bad[0])


def test_packages_are_told_apart_by_their_fields_not_by_their_names() -> None:
    class AudioData:
        @classmethod
        def get_fields_and_field_types(cls) -> dict[str, str]:
            return {"int16_data": "sequence<int16>", "float32_data": "sequence<float>"}

    with pytest.raises(ImportError, match=r"fields we do not know: float32_data, int16_data"):
        SoundReader(AudioData, AudioConfig(), print)
    with pytest.raises(ImportError):
        message_class("no_such_package_msgs/msg/Audio")


def heard_of(ear: Ear, pieces: list[bytes], stamped: bool = True) -> list[AudioChunk]:
    """Pieces that come every 20 ms."""
    chunks = []
    for i, piece in enumerate(pieces):
        now_ns = NOW_NS + i * 20_000_000
        chunks += ear.hear(ros_drivers(piece, now_ns if stamped else None), now_ns)
    return chunks


@pytest.mark.parametrize(
    ("config", "coding", "stamped"),
    [
        ({"assume_format": "mp3"}, None, True),
        ({}, "mp3", True),
        ({}, None, True),
        ({}, None, False),
        ({"assume_format": "S16LE"}, None, True),
        ({}, "wave", True),
    ],
)
def test_mp3_is_decoded_said_or_unsaid_and_even_when_the_opposite_is_said(
    config: dict[str, Any], coding: str | None, stamped: bool
) -> None:
    sent = tone(3.0)
    ear = Ear("audio_common_msgs/AudioDataStamped" if stamped else "audio_common_msgs/AudioData", **config)
    if coding:
        ear.reader.tell(audio_info("S16LE", 1, 16000, coding))
    chunks = heard_of(ear, cut(encoded(sent)), stamped)
    heard = np.concatenate([chunk.samples for chunk in chunks])
    denied = config == {"assume_format": "S16LE"} or coding == "wave"  # then the first bytes are read as what they are said to be
    if not denied:
        assert not ear.bad and 0 <= heard.size - sent.size < 4000
    power = np.abs(np.fft.rfft(heard[-40000:-8000])) ** 2
    assert int(power.argmax()) == 880 and power[878:883].sum() > 0.99 * power.sum()
    assert {chunk.sample_rate_hz for chunk in chunks} == {16000}


def test_unannounced_samples_wait_until_they_cannot_be_mp3_and_none_is_lost() -> None:
    ear, noise = Ear("audio_common_msgs/AudioData"), np.random.default_rng(0).integers(-3000, 3000, 16000).astype("<i2")
    pieces = [noise[i : i + 320].tobytes() for i in range(0, noise.size, 320)]
    assert heard_of(ear, pieces[:7], stamped=False) == []
    chunks = heard_of(ear, pieces[7:], stamped=False)
    assert len(chunks) == len(pieces) and not ear.bad
    assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), noise.astype(np.float32) / 32768)


def test_damaged_mp3_is_counted_and_the_rest_is_heard() -> None:
    data = bytearray(encoded(tone(3.0)))
    for place in np.random.default_rng(2).integers(2000, len(data) - 2000, 60):
        data[place] ^= 0xFF
    ear = Ear("audio_common_msgs/AudioDataStamped", assume_format="mp3")
    heard = sum(chunk.samples.size for chunk in heard_of(ear, cut(bytes(data))))
    assert set(ear.causes()) == {"audio_undecodable"} and 1.0 * 16000 < heard < 3.2 * 16000


def test_what_is_said_to_be_mp3_and_is_not_is_reported() -> None:
    ear = Ear("audio_common_msgs/AudioData", assume_format="mp3")
    noise = np.random.default_rng(0).bytes(40_000)
    assert heard_of(ear, [noise[i : i + 640] for i in range(0, len(noise), 640)], stamped=False) == []
    assert ear.causes().count("audio_undecodable") >= 50


def test_gstreamers_stamps_count_from_the_machines_start_and_give_way_to_the_time_of_arrival() -> None:
    ear = Ear("audio_common_msgs/AudioDataStamped", assume_format="S16LE")
    chunk = only(ear.hear(ros_drivers(PCM.tobytes(), 5_000 * 10**9)))
    assert chunk.stamp_ns == NOW_NS - round(6 * 10**9 / 16000)
    simulated = only(
        Ear("audio_common_msgs/AudioDataStamped", assume_format="S16LE").hear(ros_drivers(PCM.tobytes(), 5 * 10**9), 6 * 10**9)
    )
    assert simulated.stamp_ns == 5 * 10**9


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("emollama/AudioChunk", own(PCM.tobytes(), 16000, 2, 0)),
        ("foxglove_msgs/RawAudio", raw_audio(PCM.tobytes(), 16000, 2, 0)),
        ("audio_common_msgs/AudioStamped", portaudio("int16_data", PCM.ravel(), 16000, 2, 0)),
        ("audio_common_msgs/Audio", portaudio("int16_data", PCM.ravel(), 16000, 2)),
    ],
)
def test_a_message_without_a_stamp_is_placed_by_its_arrival(package: str, message: Any) -> None:
    assert only(Ear(package).hear(message)).stamp_ns == NOW_NS - 3 * 10**9 // 16000


@given(st.lists(st.integers(-20_000_000, 20_000_000), min_size=40, max_size=200))
def test_jitter_leaves_neither_holes_nor_overlaps(jitter_ns: list[int]) -> None:
    place, track, end_ns = Continuity(), SoundTrack(16000, 10.0), 0
    for i, off_ns in enumerate(jitter_ns):
        stamp_ns = place.place(NOW_NS + i * 20_000_000 + off_ns, 320, 16000)
        assert i == 0 or abs(stamp_ns - end_ns) <= 1_000_000
        end_ns = stamp_ns + 20_000_000
        track.add(AudioChunk(stamp_ns, np.full(320, 0.5, np.float32), 16000))
    assert abs(end_ns - NOW_NS - len(jitter_ns) * 20_000_000) <= 40_000_000


def test_a_hole_of_more_than_a_tenth_of_a_second_is_believed_and_so_is_a_jump_back() -> None:
    place = Continuity()
    assert place.place(NOW_NS, 320, 16000) == NOW_NS
    assert place.place(NOW_NS + 20_000_000 + 100_000_001, 320, 16000) == NOW_NS + 120_000_001
    assert place.place(NOW_NS - 5 * 10**9, 320, 16000) == NOW_NS - 5 * 10**9


def test_a_drifting_clock_is_followed() -> None:
    place, stamp_ns, measured_ns = Continuity(), 0, 0
    for i in range(20_000):
        measured_ns = NOW_NS + round(i * 20_000_000 * 1.0003)
        stamp_ns = place.place(measured_ns, 320, 16000)
    assert abs(stamp_ns - measured_ns) < 1_000_000


def test_arrays_of_any_kind_hold_samples() -> None:
    for data in (array.array("B", PCM.tobytes()), PCM.tobytes(), np.frombuffer(PCM.tobytes(), np.uint8)):
        ear = Ear("audio_common_msgs/AudioData", assume_format="S16LE", assume_channels=2)
        message = SimpleNamespace(data=data)
        assert np.array_equal(only(ear.hear(message)).samples, MIXED)
