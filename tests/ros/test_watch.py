"""What stops is noticed within a second and comes back by itself; who may not be watched is forgotten at once."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from diagnostic_msgs.msg import DiagnosticStatus
from std_srvs.srv import SetBool

from ros2_emollama.ros.perception_node import PerceptionNode
from ros2_emollama.ros.watch import LIVE, STALLED, STILL, WAITING, StreamWatch
from tests.ros.graph import CHUNK_NS, Driver, ScriptedPipeline, wait_until

Running = tuple[PerceptionNode, Driver]
ros = pytest.mark.ros


def test_a_stream_is_waiting_then_live_then_stalled_and_live_again() -> None:
    watch = StreamWatch("camera", 0.5)
    assert watch.look(10.0) is None and watch.stage == WAITING
    watch.arrived(10.0)
    assert watch.look(10.1) == LIVE and watch.look(10.5) is None
    assert watch.look(10.6) == STALLED and watch.age_seconds(10.6) == pytest.approx(0.6)
    watch.arrived(11.0)
    assert watch.look(11.0) == LIVE and watch.stalls == 1


def test_a_stream_that_arrives_and_is_missing_all_the_same_says_why() -> None:
    camera, microphone = StreamWatch("camera", 0.5), StreamWatch("microphone", 0.5, if_useless=STILL)
    camera.arrived(1.0, stamp_ns=3600 * 10**9)
    microphone.arrived(1.0, stamp_ns=3600 * 10**9)
    assert camera.look(1.0) == LIVE
    microphone.examine(True, camera, 1.1)
    assert microphone.look(1.1) == STALLED and "same value" in microphone.trouble
    microphone.arrived(1.2, stamp_ns=10**9)
    microphone.examine(True, camera, 1.2)
    assert "3599.0 s behind the camera's" in microphone.trouble and "chrony" in microphone.trouble
    microphone.examine(False, camera, 1.2)
    assert microphone.look(1.2) == LIVE


def live(driver: Driver, seconds: float, *, picture: bool = True, sound: bool = True, still: bool = False) -> None:
    """Feed at real time's pace, stamped as it passes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        driver.feed(0.1, picture=picture, sound=sound and not still)
        if still:
            driver.now_ns -= 5 * CHUNK_NS
            for _ in range(5):
                driver.sounds.publish(driver.sound(np.zeros(320, np.float32)))
                driver.now_ns += CHUNK_NS
        time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))


def status_of(driver: Driver, part: str) -> DiagnosticStatus:
    return next(status for status in driver.reports[-1].status if status.name.endswith(part))


@ros
@pytest.mark.parametrize(("gone", "watched", "missing"), [("picture", "camera", "video"), ("sound", "microphone", "audio")])
def test_a_sensor_that_stops_is_missing_within_a_second_and_returns_by_itself(
    running: Running, gone: str, watched: str, missing: str
) -> None:
    _, driver = running
    live(driver, 1.5)
    wait_until(lambda: bool(driver.states) and not driver.states[-1].missing)
    stopped = time.monotonic()
    before = len(driver.states)
    live(driver, 1.0, picture=gone != "picture", sound=gone != "sound")
    wait_until(lambda: list(driver.states[-1].missing) == [missing], 0.5)
    assert time.monotonic() - stopped < 1.5  # a second of feeding, and the wait above
    assert len(driver.states) >= before + 3, "the other stream carries on"
    wait_until(lambda: status_of(driver, watched).level == DiagnosticStatus.STALE, 0.5)
    live(driver, 1.0)
    wait_until(lambda: not driver.states[-1].missing, 0.5)
    wait_until(lambda: status_of(driver, watched).level == DiagnosticStatus.OK, 0.5)


@ros
def test_a_microphone_that_sends_zeros_is_missing(running: Running) -> None:
    _, driver = running
    live(driver, 1.5)
    live(driver, 1.5, still=True)
    wait_until(lambda: list(driver.states[-1].missing) == ["audio"], 0.5)
    wait_until(lambda: "same value" in status_of(driver, "microphone").message, 1.0)


@ros
def test_consent_taken_back_closes_the_inputs_and_forgets_at_once(running: Running, scripted: list[ScriptedPipeline]) -> None:
    node, driver = running
    client = driver.create_client(SetBool, "perception/enabled")
    wait_until(client.service_is_ready)

    def enable(value: bool) -> None:
        answer = client.call_async(SetBool.Request(data=value))
        wait_until(answer.done)
        assert answer.result().success

    driver.feed(2.0)
    wait_until(lambda: len(driver.states) >= 6)
    forgotten = scripted[0].forgotten
    enable(False)
    assert scripted[0].forgotten == forgotten + 1
    assert node._assembler is not None and not node._assembler._held, "no picture is held"
    wait_until(lambda: driver.pictures.get_subscription_count() == 0 and driver.sounds.get_subscription_count() == 0)
    wait_until(lambda: "disabled" in driver.last_report()["message"])
    driver.states.clear()
    driver.feed(1.0)
    assert not driver.states
    assert node.get_parameter("perception.enabled").value is False
    enable(True)
    driver.await_listener()
    driver.feed(1.5)
    wait_until(lambda: bool(driver.states))
    first = driver.states[0]
    held_ns = driver.now_ns - (first.window_start.sec * 10**9 + first.window_start.nanosec)
    assert held_ns > 0 and dict(zip(first.dropped_causes, first.dropped_counts, strict=True)).get("disabled") == 1


@ros
def test_a_node_started_without_consent_listens_to_nothing(running: Running) -> None:
    node, driver = running
    node.trigger_deactivate()
    node.set_parameters([type(node.get_parameter("autostart"))("perception.enabled", value=False)])
    node.trigger_activate()
    driver.feed(0.5)
    assert driver.pictures.get_subscription_count() == 0 and not node._inputs._topics[0].subscription  # type: ignore[union-attr]
