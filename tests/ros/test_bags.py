"""A bag gives the labels that the robot gave, at any speed and however often it is played."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")
pytest.importorskip("rosbags")

from emollama.msg import AudioChunk as AudioChunkMessage
from emollama.msg import EmotionState
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from ros2_emollama.config import Config, ModelConfig, ReasonerConfig
from ros2_emollama.media import read_clip
from ros2_emollama.pipeline import Pipeline
from ros2_emollama.ros import conversions
from ros2_emollama.ros.perception_node import PerceptionNode
from ros2_emollama.ros.pictures import image_to_rgb
from ros2_emollama.types import Frame
from ros2_emollama.windows import WindowAssembler
from tests.core import clips
from tests.ros.bags import BagPlayer, Recorded, read_bag, record, write_bag
from tests.ros.graph import Driver, Graph, perception, wait_until

pytestmark = pytest.mark.ros
START_NS = 1_700_000_000_000_000_000
Labels = dict[int, tuple[float, ...]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Recorded]:
    """Five seconds of what the robot saw and heard."""
    path = clips.write_clip(tmp_path_factory.mktemp("clip") / "c.mkv", seconds=5.0)
    return record(read_clip(path, 16000), START_NS)


@pytest.fixture(scope="module")
def offline(recorded: list[Recorded], nano: Path) -> Labels:
    """End of window → probabilities, with no graph, no threads and no clock."""
    pipeline = Pipeline.load(Config(model=ModelConfig(path=str(nano)), reasoner=ReasonerConfig(enabled=False)))
    assembler, found = WindowAssembler(pipeline.window_spec), {}
    for message in recorded:
        if message.topic == "/audio":
            windows = assembler.add_audio(conversions.audio_from_message(deserialize_message(message.cdr, AudioChunkMessage)))
        else:
            picture = deserialize_message(message.cdr, Image)
            windows = assembler.add_frame(Frame(conversions.stamp_ns(picture.header.stamp), image_to_rgb(picture)))
        found.update({window.end_ns: pipeline.perceive(window).state.probabilities for window in windows})
    assert len(found) >= 18
    return found


def started(graph: Graph, nano: Path, sim_time: bool) -> tuple[PerceptionNode, Driver, BagPlayer]:
    node = perception(graph, model__path=str(nano), reasoner__enabled=False, use_sim_time=sim_time)
    assert node.start()
    driver = Driver(graph.context)
    player = BagPlayer(driver)
    graph.add(node)
    graph.add(driver)
    wait_until(lambda: player.listened_to or not sim_time)
    driver.await_listener()
    return node, driver, player


def labels(states: list[EmotionState]) -> Labels:
    return {conversions.stamp_ns(state.header.stamp): tuple(state.probabilities) for state in states}


def assert_alike(played: Labels, reference: Labels) -> None:
    assert set(played) <= set(reference)
    for end_ns, probabilities in played.items():
        np.testing.assert_allclose(probabilities, reference[end_ns], atol=1e-6)


def test_live_is_offline(graph: Graph, nano: Path, recorded: list[Recorded], offline: Labels) -> None:
    _, driver, player = started(graph, nano, sim_time=False)
    player.play(recorded, rate=2.0)
    wait_until(lambda: len(driver.states) >= len(offline) - 1)
    assert_alike(labels(driver.states), offline)


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_a_bag_at_any_rate_gives_the_labels_of_live(
    graph: Graph, nano: Path, recorded: list[Recorded], offline: Labels, tmp_path: Path, rate: float
) -> None:
    bag = list(read_bag(write_bag(tmp_path / "bag", recorded)))
    assert bag == recorded
    _, driver, player = started(graph, nano, sim_time=True)
    player.play(bag, rate)
    wait_until(lambda: len(driver.states) >= len(offline) - 1)
    assert_alike(labels(driver.states), offline)


def test_a_looped_bag_gives_the_same_labels_each_time(graph: Graph, nano: Path, recorded: list[Recorded], offline: Labels) -> None:
    _, driver, player = started(graph, nano, sim_time=True)
    for _ in range(2):
        driver.states.clear()
        player.play(recorded, rate=3.0)
        wait_until(lambda: len(driver.states) >= len(offline) - 1)
        assert_alike(labels(driver.states), offline)
    assert driver.dropped().get("clock_jumps", 0) >= 1
    assert not any(state.missing for state in driver.states)
