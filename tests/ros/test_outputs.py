"""Pictures are drawn only for those who look; every report names rates, drops, model and memory."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from sensor_msgs.msg import Image

from ros2_emollama.ros import outputs
from ros2_emollama.ros.perception_node import PerceptionNode
from ros2_emollama.ros.pictures import image_to_rgb
from tests.ros.graph import PICTURE, Driver, ScriptedPipeline, wait_until

pytestmark = pytest.mark.ros
Running = tuple[PerceptionNode, Driver]


def test_a_picture_is_drawn_only_while_somebody_looks(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    _, driver = running
    drawn: list[str] = []
    real = outputs.annotate
    monkeypatch.setattr(outputs, "annotate", lambda pixels, state, said: (drawn.append(said), real(pixels, state, said))[1])
    driver.feed(1.0)
    wait_until(lambda: len(driver.states) >= 3)
    assert not drawn
    seen: list[Image] = []
    looking = driver.create_subscription(Image, "emotion/image_annotated", seen.append, 10)
    wait_until(lambda: driver.count_publishers("emotion/image_annotated") > 0 and looking.get_publisher_count() > 0)
    driver.feed(1.0)
    wait_until(lambda: len(seen) >= 2)
    picture = image_to_rgb(seen[-1])
    assert picture.shape == PICTURE.shape and (picture != PICTURE).any()
    assert seen[-1].header.frame_id == "camera" and drawn[-1] == "because happy"
    driver.destroy_subscription(looking)
    wait_until(lambda: driver.count_subscribers("emotion/image_annotated") == 0)
    wait_until(lambda: (driver.feed(0.5), len(drawn))[1] == len(drawn))
    before = len(drawn)
    driver.feed(1.0)
    assert len(drawn) == before


def test_with_nobody_there_the_label_is_unknown(running: Running, scripted: list[ScriptedPipeline]) -> None:
    _, driver = running
    scripted[0].face = 0.1
    driver.feed(1.5)
    wait_until(lambda: bool(driver.states) and driver.states[-1].label == "unknown")
    state = driver.states[-1]
    assert state.UNKNOWN == "unknown" and state.confidence == pytest.approx(0.9)
    assert np.sum(state.probabilities) == pytest.approx(1.0), "the network's own reading stays beside it"
    assert not driver.reasonings, "of nobody there is nothing to explain"


def test_a_report_says_what_the_node_does(running: Running) -> None:
    _, driver = running
    driver.feed(2.0)
    wait_until(lambda: len(driver.reports) > 2 and len(driver.reports[-1].status) == 4)
    parts = {status.name.split(": ")[1]: {v.key: v.value for v in status.values} for status in driver.reports[-1].status}
    assert set(parts) == {"emotion perception", "camera", "microphone", "model"}
    assert float(parts["model"]["memory_mb"]) > 10 and parts["model"]["queue"] == "0" and "frames_ms" in parts["model"]
    assert float(parts["camera"]["frame_rate_node"]) >= 0.0 and "newest_age_ms" in parts["camera"]
    assert parts["microphone"]["stage"] in ("live", "stalled") and "chunk_rate_node" in parts["microphone"]
    assert int(parts["emotion perception"]["pictures"]) > 10 and float(parts["emotion perception"]["current_delay_from_realtime_ms"]) > 0
