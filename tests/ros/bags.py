"""Bags of a clip, written and read without ROS's own tools (rosbags), and played as `ros2 bag play --clock` does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from emollama.msg import AudioChunk as AudioChunkMessage
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from ros2_emollama.media import Clip
from ros2_emollama.ros import conversions
from ros2_emollama.types import Frame, seconds_to_ns
from tests.conftest import REPOSITORY

TOPICS = {"/image_raw": ("sensor_msgs/msg/Image", Image), "/audio": ("emollama/msg/AudioChunk", AudioChunkMessage)}


class Recorded(NamedTuple):
    """One message: when it was received, on which topic, and its bytes."""

    received_ns: int
    topic: str
    cdr: bytes


def record(clip: Clip, start_ns: int) -> list[Recorded]:
    """What a camera and a microphone would have sent of the clip."""
    recorded = []
    for item in clip.items():
        assert not hasattr(item, "reason"), "nothing is skipped where every frame is wanted"
        if isinstance(item, Frame):
            message = conversions.picture_to_message(Image(), item.pixels, start_ns + item.stamp_ns, "camera")
            recorded.append(Recorded(start_ns + item.stamp_ns, "/image_raw", serialize_message(message)))
        else:
            sound = conversions.audio_to_message(AudioChunkMessage(), replace(item, stamp_ns=start_ns + item.stamp_ns))
            recorded.append(Recorded(start_ns + item.end_ns, "/audio", serialize_message(sound)))
    return sorted(recorded)


def write_bag(path: Path, recorded: Sequence[Recorded]) -> Path:
    """An MCAP bag."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    definition = (REPOSITORY / "msg" / "AudioChunk.msg").read_text(encoding="utf-8")
    store.register(get_types_from_msg(definition, "emollama/msg/AudioChunk"))
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as bag:
        connections = {topic: bag.add_connection(topic, name, typestore=store) for topic, (name, _) in TOPICS.items()}
        for message in recorded:
            bag.write(connections[message.topic], message.received_ns, message.cdr)
    return path


def read_bag(path: Path) -> Iterator[Recorded]:
    """Its messages in the order they were received."""
    from rosbags.rosbag2 import Reader

    with Reader(path) as bag:
        for connection, received_ns, cdr in bag.messages():
            yield Recorded(received_ns, connection.topic, bytes(cdr))


class BagPlayer:
    """Publishes recorded messages at `rate` times their pace, and /clock at 100 Hz beside them."""

    def __init__(self, node: Node) -> None:
        self._publishers: dict[str, Any] = {
            topic: node.create_publisher(kind, topic, QoSProfile(depth=100)) for topic, (_, kind) in TOPICS.items()
        }
        self._clock = node.create_publisher(Clock, "/clock", 10)

    @property
    def listened_to(self) -> bool:
        return all(publisher.get_subscription_count() for publisher in (*self._publishers.values(), self._clock))

    def play(self, recorded: Sequence[Recorded], rate: float) -> None:
        began, first_ns = time.monotonic(), recorded[0].received_ns
        told_ns = first_ns - seconds_to_ns(0.01)
        for message in recorded:
            while told_ns + seconds_to_ns(0.01) <= message.received_ns:
                told_ns += seconds_to_ns(0.01)
                time.sleep(max(0.0, (told_ns - first_ns) * 1e-9 / rate - (time.monotonic() - began)))
                self.tell(told_ns)
            self._publishers[message.topic].publish(message.cdr)

    def tell(self, now_ns: int) -> None:
        message = Clock()
        conversions.set_stamp(message.clock, now_ns)
        self._clock.publish(message)
