"""The perception node's subscriptions in a real graph: QoS, types, transports, words, bytes that are no message."""

from __future__ import annotations

import random
import time
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from emollama.msg import AudioChunk as AudioChunkMessage
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from ros2_emollama.ros import conversions
from ros2_emollama.ros.perception_node import SUCCESS, PerceptionNode
from tests.ros.graph import CHUNK_NS, PICTURE, Driver, Graph, ScriptedPipeline, perception, said_by, wait_until

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("scripted")]
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


def active(graph: Graph, **parameters: Any) -> tuple[PerceptionNode, Driver, list[str]]:
    """An active node, a driver, and what the node says from its start on."""
    node = perception(graph, **parameters)
    said = said_by(node)
    assert node.start(), said
    graph.add(node)
    return node, graph.add(Driver(graph.context)), said


def errors(said: list[str]) -> list[str]:
    return [line for line in said if line.startswith("error")]


@pytest.mark.parametrize(
    ("parameters", "cure"),
    [
        ({"audio__reliability": "reliable"}, "set audio.reliability to best_effort"),
        (
            {"qos_overrides./audio.subscription.reliability": "reliable"},
            "set qos_overrides./audio.subscription.reliability to best_effort",
        ),
        (
            {"qos_overrides./audio.subscription.durability": "transient_local"},
            "set qos_overrides./audio.subscription.durability to volatile",
        ),
    ],
)
def test_a_publisher_whose_qos_does_not_match_is_said_with_the_cure(graph: Graph, parameters: dict[str, Any], cure: str) -> None:
    _, driver, said = active(graph, **parameters)
    driver.destroy_publisher(driver.sounds)
    driver.create_publisher(AudioChunkMessage, "audio", BEST_EFFORT)
    wait_until(lambda: any(cure in line for line in said))
    assert any(line.startswith("error: a publisher of /audio offers another") for line in said)


def subscribed(driver: Driver, topic: str) -> QoSProfile:
    wait_until(lambda: bool(driver.get_subscriptions_info_by_topic(topic)))
    [info] = driver.get_subscriptions_info_by_topic(topic)
    profile: QoSProfile = info.qos_profile
    return profile


def test_qos_overrides_stand_above_our_parameters_and_survive_a_restart(graph: Graph) -> None:
    node, driver, _ = active(
        graph,
        **{
            "qos_overrides./audio.subscription.reliability": "reliable",
            "qos_overrides./transcript.subscription.durability": "transient_local",
            "image.reliability": "reliable",
        },
    )
    for _ in range(2):
        assert subscribed(driver, "/audio").reliability == ReliabilityPolicy.RELIABLE
        assert subscribed(driver, "/image_raw").reliability == ReliabilityPolicy.RELIABLE
        transcript = subscribed(driver, "/transcript")
        assert (transcript.reliability, transcript.durability) == (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.TRANSIENT_LOCAL)
        assert node.get_parameter("qos_overrides./audio.subscription.depth").value == 50
        node.trigger_deactivate()
        wait_until(lambda: not driver.get_subscriptions_info_by_topic("/audio"))
        assert node.trigger_activate() == SUCCESS
    driver.await_listener()
    driver.feed(1.0)
    wait_until(lambda: bool(driver.states))
    assert "audio" in driver.states[-1].modalities


def test_an_override_that_cannot_be_is_refused_at_activation_with_its_name(graph: Graph) -> None:
    node = perception(graph, **{"qos_overrides./audio.subscription.reliability": "sometimes"})
    said = said_by(node)
    graph.add(node)
    assert not node.start()
    assert any("reliability" in line and "sometimes" in line for line in errors(said))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_pictures_are_seen(graph: Graph, suffix: str) -> None:
    node, driver, said = active(graph, image__transport="compressed")
    pictures = driver.create_publisher(CompressedImage, "image_raw/compressed", 10)
    wait_until(lambda: pictures.get_subscription_count() > 0)
    data = cv2.imencode(suffix, np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    for _ in range(12):
        message = CompressedImage(format=suffix[1:], data=data)
        conversions.set_stamp(message.header.stamp, driver.now_ns)
        pictures.publish(message)
        driver.feed(0.25, picture=False)
    wait_until(lambda: any("video" in state.modalities for state in driver.states))
    assert not errors(said) and "image_undecodable" not in driver.dropped() and node.config.image.transport == "compressed"


@pytest.mark.parametrize(
    ("parameters", "topic", "kind", "expected"),
    [
        ({}, "audio", String, "/audio is published as std_msgs/msg/String, nothing will arrive from it; we read emollama/msg/AudioChunk"),
        ({}, "image_raw", CompressedImage, "; set image.transport to compressed"),
        ({"image__transport": "compressed"}, "image_raw/compressed", Image, "; set image.transport to raw"),
        ({}, "transcript", Image, "; we read std_msgs/msg/String, hri_msgs/msg/LiveSpeech"),
    ],
)
def test_a_type_that_cannot_be_read_is_said_once(
    graph: Graph, elsewhere: Graph, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], topic: str, kind: Any, expected: str
) -> None:
    monkeypatch.setattr("ros2_emollama.ros.perception_node.FOLLOW_SECONDS", 0.1)
    node = perception(graph, **parameters)
    said = said_by(node)
    assert graph.add(node).start()
    elsewhere.add(Node("other", context=elsewhere.context)).create_publisher(kind, topic, 10)
    wait_until(lambda: bool(errors(said)))
    looked = node._followed
    wait_until(lambda: node._followed > looked + 0.3)
    [line] = errors(said)
    assert expected in line


def test_words_reach_the_windows(graph: Graph) -> None:
    _, driver, _ = active(graph)
    driver.await_listener()
    wait_until(lambda: driver.transcripts.get_subscription_count() > 0)
    driver.now_ns = driver.get_clock().now().nanoseconds // CHUNK_NS * CHUNK_NS  # a String has no stamp: it was said when it came
    driver.feed(1.0)
    driver.transcripts.publish(String(data="good morning " * 10_000))
    driver.feed(3.0)
    wait_until(lambda: any("text" in state.modalities for state in driver.states))


def broken(data: bytes, rng: random.Random) -> bytes:
    """Bytes with some flipped near the front, where the lengths are, and perhaps cut short."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(4, min(len(changed), 80))] = rng.choice([0, 127, 128, 255])
    return bytes(changed[: rng.randrange(4, len(changed))] if rng.random() < 0.3 else changed)


def test_bytes_that_are_no_message_do_not_end_the_node(graph: Graph, scripted: list[ScriptedPipeline]) -> None:
    node, driver, _ = active(graph)
    driver.await_listener()
    driver.feed(1.0)
    rng = random.Random(5)
    wire = {
        driver.pictures: serialize_message(conversions.picture_to_message(Image(), PICTURE, driver.now_ns, "camera")),
        driver.sounds: serialize_message(driver.sound()),
        driver.transcripts: serialize_message(String(data="hello")),
    }
    for _ in range(200):
        for publisher, data in wire.items():
            publisher.publish(broken(data, rng))
        time.sleep(0.003)  # slower than the queues, which keep the newest five
    wait_until(lambda: node.dropped.get("message_broken", 0) > 20)  # of all three topics
    driver.states.clear()
    driver.now_ns += 60 * 10**9
    driver.feed(3.0)
    wait_until(lambda: bool(driver.states))
    assert scripted[0].config is not None and any("video" in state.modalities for state in driver.states)
