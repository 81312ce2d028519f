"""The perception node in a real graph, around a scripted pipeline: what comes in, what goes out, what it survives."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from lifecycle_msgs.srv import GetState
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from ros2_emollama.model.folder import Manifest, write_manifest
from ros2_emollama.model.presets import TINY
from ros2_emollama.options import ConfigError
from ros2_emollama.ros import conversions, perception_node
from ros2_emollama.ros.perception_node import PerceptionNode
from tests.ros.graph import PICTURE, Driver, Graph, ScriptedPipeline, perception, wait_until

pytestmark = pytest.mark.ros
HOP_NS = 250_000_000


def test_a_state_leaves_at_every_hop_stamped_with_its_windows_end(running: tuple[PerceptionNode, Driver]) -> None:
    _, driver = running
    driver.feed(3.0)
    wait_until(lambda: len(driver.states) >= 11)
    ends = [conversions.stamp_ns(state.header.stamp) for state in driver.states]
    assert all(end % HOP_NS == 0 for end in ends)
    assert all(later - earlier == HOP_NS for earlier, later in itertools.pairwise(ends))
    last = driver.states[-1]
    assert list(last.modalities) == ["video", "audio"] and last.label == "happy" and last.header.frame_id == "camera"
    assert ends[-1] - conversions.stamp_ns(last.window_start) == 4_000_000_000


def test_explanations_stream_and_end(running: tuple[PerceptionNode, Driver]) -> None:
    _, driver = running
    driver.feed(1.0)
    wait_until(lambda: any(message.final for message in driver.reasonings))
    partial, final = driver.reasonings[:2]
    assert (partial.final, partial.explanation, partial.finish_reason) == (False, "because", "")
    assert (final.final, final.explanation, final.finish_reason) == (True, "because happy", "stop")


def bad_picture(driver: Driver, **change: Any) -> Image:
    message = conversions.picture_to_message(Image(), PICTURE, driver.now_ns, "camera")
    for name, value in change.items():
        setattr(message, name, value)
    return message


def test_bad_input_is_counted_by_cause_and_the_node_lives_on(running: tuple[PerceptionNode, Driver]) -> None:
    node, driver = running
    driver.feed(1.0)
    for _ in range(2):
        driver.now_ns += HOP_NS  # a new tick, so that the picture is needed
        driver.pictures.publish(bad_picture(driver, encoding="rgb565"))
    driver.now_ns += HOP_NS
    driver.pictures.publish(bad_picture(driver, height=4800))
    nan = driver.sound()
    nan.format, nan.data = conversions.FORMAT_FLOAT32, np.full(320, np.nan, np.float32).tobytes()
    driver.sounds.publish(nan)
    wait_until(lambda: node.dropped.get("audio_not_finite") == 1)
    before = len(driver.states)
    driver.feed(2.0)
    wait_until(lambda: len(driver.states) >= before + 6)
    counted = driver.dropped()
    assert {cause: counted.get(cause) for cause in ("image_encoding", "image_data_short", "audio_not_finite")} == {
        "image_encoding": 2,
        "image_data_short": 1,
        "audio_not_finite": 1,
    }
    wait_until(lambda: driver.last_report().get("dropped.image_encoding") == "2")


def test_one_stream_is_enough(running: tuple[PerceptionNode, Driver]) -> None:
    _, driver = running
    driver.feed(2.0, sound=False)
    wait_until(lambda: len(driver.states) >= 4)
    assert list(driver.states[-1].modalities) == ["video"]


def test_a_failing_pipeline_costs_one_state_and_is_reported(
    running: tuple[PerceptionNode, Driver], scripted: list[ScriptedPipeline]
) -> None:
    node, driver = running
    driver.feed(1.0)
    scripted[0].fail_next = True
    driver.feed(2.0)
    wait_until(lambda: node.dropped.get("perception_errors") == 1)
    before = len(driver.states)
    driver.feed(1.0)
    wait_until(lambda: len(driver.states) > before)


def test_it_can_be_stopped_and_started_again(running: tuple[PerceptionNode, Driver]) -> None:
    node, driver = running
    driver.feed(1.0)
    wait_until(lambda: bool(driver.states))
    assert node.trigger_deactivate() == perception_node.SUCCESS
    driver.states.clear()
    driver.feed(1.0)
    assert not driver.states
    assert node.trigger_cleanup() == perception_node.SUCCESS
    assert node.start()
    driver.await_listener()
    driver.feed(1.0)
    wait_until(lambda: bool(driver.states))


def test_what_was_dropped_is_counted_through_a_restart(running: tuple[PerceptionNode, Driver]) -> None:
    node, driver = running
    driver.feed(0.5)
    driver.now_ns += HOP_NS
    driver.pictures.publish(bad_picture(driver, encoding="rgb565"))
    wait_until(lambda: node.dropped.get("image_encoding") == 1)
    node.trigger_deactivate()
    node.trigger_activate()
    driver.await_listener()
    driver.feed(0.5)
    driver.now_ns += HOP_NS
    driver.pictures.publish(bad_picture(driver, encoding="rgb565"))
    wait_until(lambda: node.dropped.get("image_encoding") == 2)
    wait_until(lambda: driver.last_report().get("dropped.image_encoding") == "2")


def altered_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "frame_encoder.onnx").write_bytes(b"weights")
    write_manifest(folder, Manifest("altered", TINY, {"frame_encoder": "frame_encoder.onnx"}, {}, {}))
    (folder / "frame_encoder.onnx").write_bytes(b"other weights")
    return folder


def test_an_altered_model_is_refused_and_the_node_stays_unconfigured(graph: Graph, tmp_path: Path) -> None:
    node = perception(graph, model__path=str(altered_model(tmp_path / "altered")), diagnostics__period_seconds=0.1)
    assert not node.start()
    driver = Driver(graph.context)
    client = driver.create_client(GetState, "perception/get_state")
    graph.add(node)
    graph.add(driver)
    wait_until(client.service_is_ready)
    answer = client.call_async(GetState.Request())
    wait_until(answer.done)
    assert answer.result().current_state.label == "unconfigured"
    wait_until(lambda: bool(driver.reports))
    report = driver.last_report()
    assert report["level"] == "2" and "frame_encoder.onnx" in report["message"] and "manifest" in report["message"]


def test_a_missing_model_is_refused(graph: Graph) -> None:
    assert not graph.add(perception(graph, model__path="/no/such/model")).start()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("reasoner__max_token", 5, "did you mean 'reasoner.max_tokens'"),
        ("window__hop_ticks", 99, "window.hop_ticks"),
        ("reasoner__period_seconds", 2, "write 2.0"),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_at_start(graph: Graph, name: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        perception(graph, **{name: value})


def test_parameters_change_while_running_where_they_may(running: tuple[PerceptionNode, Driver], scripted: list[ScriptedPipeline]) -> None:
    node, _ = running
    asked = [Parameter("reasoner.max_tokens", value=7), Parameter("model.path", value="other"), Parameter("labels.margin", value=3.0)]
    results = node.set_parameters(asked)
    assert [result.successful for result in results] == [True, False, False]
    assert scripted[0].config.reasoner.max_tokens == 7 and node.config.model.path == "nano"
    described = node.describe_parameter("window.patience_seconds")
    assert described.read_only and "waited" in described.description and described.floating_point_range[0].to_value == 4.0


def test_a_clock_that_jumps_back_begins_anew(graph: Graph, scripted: list[ScriptedPipeline]) -> None:
    node = perception(graph, use_sim_time=True)
    assert node.start()
    driver = Driver(graph.context)
    clock = driver.create_publisher(Clock, "/clock", 10)
    graph.add(node)
    graph.add(driver)
    driver.await_listener()
    wait_until(lambda: clock.get_subscription_count() > 0)

    def tell(seconds: int) -> None:
        message = Clock()
        message.clock.sec = seconds
        clock.publish(message)
        wait_until(lambda: node.get_clock().now().nanoseconds == seconds * 10**9)

    tell(100)
    driver.feed(1.0)
    tell(50)
    driver.now_ns = 50 * 10**9
    driver.states.clear()
    driver.feed(1.0)
    wait_until(lambda: any(conversions.stamp_ns(state.header.stamp) <= 51 * 10**9 for state in driver.states))
    assert driver.dropped().get("clock_jumps", 0) >= 1


def test_an_unusable_message_is_logged_once_a_cause(running: tuple[PerceptionNode, Driver]) -> None:
    node, driver = running
    logged: list[str] = []
    node.get_logger().warning = lambda text: logged.append(text)  # type: ignore[method-assign]
    for _ in range(3):
        driver.now_ns += HOP_NS
        driver.pictures.publish(bad_picture(driver, encoding="rgb565"))
    wait_until(lambda: node.dropped.get("image_encoding") == 3)
    assert len(logged) == 1 and "rgb565" in logged[0]
