"""Sound and states cross the wire unchanged; broken sound says why."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ros2_emollama.ros import conversions
from ros2_emollama.ros.bad_message import BadMessage
from ros2_emollama.types import UNKNOWN, AudioChunk, EmotionState, Explanation


def sound(samples: np.ndarray, **change: Any) -> SimpleNamespace:
    kind = conversions.FORMAT_INT16 if samples.dtype == np.int16 else conversions.FORMAT_FLOAT32
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=5))
    channels = samples.shape[1] if samples.ndim > 1 else 1
    fields: dict[str, Any] = {"header": header, "sample_rate": 16000, "channels": channels, "format": kind, "data": samples.tobytes()}
    return SimpleNamespace(**{**fields, **change})


def test_int16_and_float32_mean_the_same_sound() -> None:
    pcm = np.array([0, 16384, -32768, 32767], np.int16)
    chunk = conversions.audio_from_message(sound(pcm))
    same = conversions.audio_from_message(sound((pcm / 32768.0).astype(np.float32)))
    assert chunk.stamp_ns == 3_000_000_005
    assert np.allclose(chunk.samples, [0.0, 0.5, -1.0, 1.0], atol=1e-4)
    assert np.array_equal(chunk.samples, same.samples) and chunk.samples.dtype == np.float32


def test_channels_are_averaged() -> None:
    stereo = np.array([[0.5, -0.5], [0.2, 0.4]], np.float32)
    assert np.allclose(conversions.audio_from_message(sound(stereo)).samples, [0.0, 0.3])


def test_float_sound_is_clipped_to_full_scale() -> None:
    assert np.array_equal(conversions.audio_from_message(sound(np.array([3.0, -7.0], np.float32))).samples, [1.0, -1.0])


@pytest.mark.parametrize(
    ("samples", "change", "cause"),
    [
        (np.array([0.0, math.nan], np.float32), {}, "audio_not_finite"),
        (np.array([0.0, math.inf], np.float32), {}, "audio_not_finite"),
        (np.zeros(4, np.int16), {"format": 9}, "audio_format"),
        (np.zeros(4, np.int16), {"sample_rate": 0}, "audio_rate"),
        (np.zeros(4, np.int16), {"channels": 0}, "audio_channels"),
        (np.zeros(4, np.int16), {"channels": 3}, "audio_size"),
        (np.zeros(0, np.int16), {}, "audio_size"),
    ],
)
def test_broken_sound_says_why(samples: np.ndarray, change: dict[str, Any], cause: str) -> None:
    with pytest.raises(BadMessage) as caught:
        conversions.audio_from_message(sound(samples, **change))
    assert caught.value.cause == cause


def state(**change: Any) -> EmotionState:
    fields: dict[str, Any] = {
        "start_ns": 1_000_000_001,
        "end_ns": 5_000_000_001,
        "newest_frame_ns": 4_900_000_000,
        "labels": ("neutral", "happy"),
        "probabilities": (0.25, 0.75),
        "face": 0.5,
        "speech": 0.125,
        "modalities": ("video", "audio"),
        "valence": math.nan,
        "arousal": math.nan,
        "dropped": {"late_frames": 2},
        "stage_seconds": {"frames": 0.5},
        "model_id": "nano@0123",
        "runtime": "onnxruntime:CPUExecutionProvider",
        "face_box": (0.5, 0.25, 0.125),
        "held": "neutral",  # not the likeliest
    }
    return EmotionState(**{**fields, **change})


def test_a_header_is_read_without_the_rest_of_the_message() -> None:
    pytest.importorskip("rclpy")
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import Image

    message = conversions.picture_to_message(Image(), np.zeros((4, 6, 3), np.uint8), 12_000_000_034, "camera")
    assert conversions.serialized_stamp_ns(serialize_message(message)) == 12_000_000_034
    with pytest.raises(BadMessage):
        conversions.serialized_stamp_ns(b"\x00\x01")


@pytest.mark.ros
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"newest_frame_ns": None, "face_box": None, "dropped": {}, "modalities": (), "missing": ("video", "audio"), "held": UNKNOWN},
    ],
)
def test_a_state_survives_the_wire(change: dict[str, Any]) -> None:
    messages = pytest.importorskip("emollama.msg")
    from rclpy.serialization import deserialize_message, serialize_message

    sent = state(**change)
    wire = serialize_message(conversions.state_to_message(messages.EmotionState(), sent, "camera"))
    received = conversions.state_from_message(deserialize_message(wire, messages.EmotionState))
    assert math.isnan(received.valence) and math.isnan(received.arousal)
    plain = {"valence": 0.0, "arousal": 0.0}
    assert {**vars(received), **plain} == {**vars(sent), **plain}


@pytest.mark.ros
def test_an_explanation_survives_the_wire() -> None:
    messages = pytest.importorskip("emollama.msg")
    sent = Explanation(state(valence=0.0, arousal=0.0), "because", True, "stop", 3, 0.25, 0.5)
    message = conversions.explanation_to_message(messages.EmotionReasoning(), sent, "camera")
    assert conversions.stamp_ns(message.header.stamp) == sent.state.end_ns
    assert conversions.explanation_from_message(message) == sent


@pytest.mark.ros
def test_sound_survives_the_wire() -> None:
    messages = pytest.importorskip("emollama.msg")
    sent = AudioChunk(7_000_000_000, np.linspace(-1.0, 1.0, 320, dtype=np.float32), 16000)
    received = conversions.audio_from_message(conversions.audio_to_message(messages.AudioChunk(), sent))
    assert (received.stamp_ns, received.sample_rate_hz) == (sent.stamp_ns, sent.sample_rate_hz)
    assert np.allclose(received.samples, sent.samples, atol=1e-4)
