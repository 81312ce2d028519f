"""audio_common_msgs of mgonzs13, as generated. Run by test_foreign.py, which sets its process up."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from audio_common_msgs.msg import Audio, AudioData, AudioInfo, AudioStamped
from rclpy.qos import qos_profile_sensor_data

from ros2_emollama.config import AudioConfig
from ros2_emollama.ros import conversions
from ros2_emollama.ros.sounds import SoundReader
from tests.ros.foreign.scene import Scene
from tests.ros.graph import wait_until

START_NS = 1_700_000_000 * 10**9
VALUES = np.round(np.random.default_rng(4).uniform(-1.0, 1.0, (200, 512)) * 100) / 128  # exact in eight bits
FORMATS = [
    ("float32_data", 1, np.float32, "f", 1.0, 0),
    ("int32_data", 2, np.int32, "i", 2.0**31, 0),
    ("int16_data", 8, np.int16, "h", 2.0**15, 0),
    ("int8_data", 16, np.int8, "b", 2.0**7, 0),
    ("uint8_data", 32, np.uint8, "B", 2.0**7, 128),
]


def audio(row: np.ndarray, field: str, number: int, dtype: Any, code: str, scale: float, zero: int) -> Audio:
    data = AudioData()
    setattr(data, field, array.array(code, (row * scale + zero).astype(dtype).tobytes()))
    return Audio(audio_data=data, info=AudioInfo(format=number, channels=2, rate=16000, chunk=256))


@pytest.mark.parametrize("form", FORMATS, ids=[form[0] for form in FORMATS])
def test_stamped_sound_of_every_format_arrives_mixed_and_exact(scene: Scene, form: tuple[Any, ...]) -> None:
    publisher = scene.publisher(AudioStamped, "audio", qos_profile_sensor_data)  # as its capturer publishes
    messages = []
    for i, row in enumerate(VALUES):
        message = AudioStamped(audio=audio(row, *form))
        conversions.set_stamp(message.header.stamp, START_NS + i * 16_000_000)
        messages.append(message)
    scene.publish(publisher, messages, lambda: len(scene.heard) == len(messages))
    expected = VALUES.reshape(len(VALUES), -1, 2).mean(axis=2).astype(np.float32)
    assert np.allclose(np.stack([chunk.samples for chunk in scene.heard]), expected, atol=1e-7)
    assert [chunk.stamp_ns for chunk in scene.heard] == [START_NS + i * 16_000_000 for i in range(len(VALUES))]
    wait_until(lambda: scene.sound_states() >= 4)


def test_sound_without_a_stamp_is_placed_by_its_arrival(scene: Scene) -> None:
    publisher = scene.publisher(Audio, "audio")
    scene.publish(publisher, [audio(row, *FORMATS[2]) for row in VALUES[:50]], lambda: len(scene.heard) == 50)
    assert abs(scene.heard[-1].end_ns - scene.node.get_clock().now().nanoseconds) < 3 * 10**9


def test_a_format_portaudio_has_and_we_do_not_is_refused_by_number(scene: Scene) -> None:
    publisher = scene.publisher(AudioStamped, "audio")
    form = ("uint8_data", 4, np.uint8, "B", 2.0**7, 128)  # 24 bits packed
    message = AudioStamped(audio=audio(VALUES[0], *form))
    wait_until(lambda: publisher.publish(message) is None and scene.node.dropped.get("audio_format", 0) > 0)
    assert any("PortAudio format 4 cannot be read" in line for line in scene.said)


def test_its_audio_data_alone_is_not_taken_for_the_other_packages() -> None:
    with pytest.raises(ImportError, match="float32_data"):
        SoundReader(AudioData, AudioConfig(), print)
