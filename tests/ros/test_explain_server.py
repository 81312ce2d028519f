"""Questions about the person: the answer streams, can be taken back, ends at its deadline, and never holds up a label."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from action_msgs.msg import GoalStatus
from emollama.action import Explain
from rclpy.action import ActionClient
from rclpy.parameter import Parameter

from ros2_emollama.ros.perception_node import SUCCESS, PerceptionNode
from tests.ros.graph import Driver, ScriptedPipeline, wait_until

pytestmark = pytest.mark.ros
Running = tuple[PerceptionNode, Driver]


class Asker:
    """Sends goals and keeps what comes back."""

    def __init__(self, driver: Driver) -> None:
        self._client = ActionClient(driver, Explain, "emotion/explain")
        wait_until(self._client.server_is_ready)
        self.feedback: list[str] = []

    def ask(self, question: str) -> Any:
        """The goal handle."""
        sent = self._client.send_goal_async(
            Explain.Goal(question=question), feedback_callback=lambda message: self.feedback.append(message.feedback.reasoning.explanation)
        )
        wait_until(sent.done)
        return sent.result()

    def result(self, handle: Any) -> tuple[int, Any]:
        """Status and reasoning."""
        got = handle.get_result_async()
        wait_until(got.done)
        return got.result().status, got.result().result.reasoning


@pytest.fixture
def asking(running: Running) -> tuple[PerceptionNode, Driver, Asker]:
    """A node that has perceived something and explains only when asked."""
    node, driver = running
    node.set_parameters([Parameter("reasoner.on_change", value=False), Parameter("reasoner.period_seconds", value=0.0)])
    asker = Asker(driver)
    driver.feed(1.0)
    wait_until(lambda: bool(driver.states))
    return node, driver, asker


def test_a_question_is_answered_with_text_as_it_grows_and_the_whole_of_it(asking: tuple[PerceptionNode, Driver, Asker]) -> None:
    _, driver, asker = asking
    status, reasoning = asker.result(asker.ask("the mouth?"))
    assert status == GoalStatus.STATUS_SUCCEEDED
    assert (reasoning.final, reasoning.finish_reason, reasoning.explanation) == (True, "stop", "because the mouth?")
    assert reasoning.state.label == "happy" and asker.feedback == ["because"]
    assert not driver.reasonings, "what one asked is not everybody's"


def test_a_question_can_be_taken_back(asking: tuple[PerceptionNode, Driver, Asker], scripted: list[ScriptedPipeline]) -> None:
    _, _, asker = asking
    scripted[0].gate.clear()
    handle = asker.ask("why?")
    wait_until(lambda: asker.feedback == ["because"])
    handle.cancel_goal_async()
    status, reasoning = asker.result(handle)
    assert status == GoalStatus.STATUS_CANCELED and reasoning.finish_reason == "cancelled"


def test_one_question_waits_and_a_newer_one_takes_its_place(
    asking: tuple[PerceptionNode, Driver, Asker], scripted: list[ScriptedPipeline]
) -> None:
    _, _, asker = asking
    scripted[0].gate.clear()
    first, second, third = (asker.ask(text) for text in ("first", "second", "third"))
    status, reasoning = asker.result(second)
    assert (status, reasoning.finish_reason) == (GoalStatus.STATUS_ABORTED, "overtaken")
    scripted[0].gate.set()
    assert [asker.result(handle)[1].explanation for handle in (first, third)] == ["because first", "because third"]


def test_a_hanging_model_delays_no_label_and_every_question_ends_at_its_deadline(
    asking: tuple[PerceptionNode, Driver, Asker], scripted: list[ScriptedPipeline]
) -> None:
    node, driver, asker = asking
    node.set_parameters([Parameter("reasoner.deadline_seconds", value=0.3)])
    scripted[0].hang.set()
    try:
        under_way = asker.ask("first")
        waiting = asker.ask("second")
        before = len(driver.states)
        driver.feed(2.0)
        wait_until(lambda: len(driver.states) >= before + 7)
        status, reasoning = asker.result(under_way)
        assert (status, reasoning.finish_reason) == (GoalStatus.STATUS_SUCCEEDED, "deadline")
        assert reasoning.explanation == "because", "what was said until then is not lost"
        assert asker.result(waiting)[1].finish_reason == "deadline"
        wait_until(lambda: any(s.level == b"\x02" and "language model" in s.message for s in driver.reports[-1].status), 5.0)
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        assert len(scripted) == 2, "the model that hangs is left behind, another one is loaded"
    finally:
        scripted[0].hang.clear()
    driver.await_listener()
    driver.feed(1.0)
    wait_until(lambda: asker.result(asker.ask("again"))[1].explanation == "because again")


def test_a_question_is_refused_while_the_node_does_not_perceive(running: Running) -> None:
    node, driver = running
    asker = Asker(driver)
    unperceived = asker.ask("nothing yet?")
    assert unperceived.accepted and asker.result(unperceived)[0] == GoalStatus.STATUS_ABORTED
    node.trigger_deactivate()
    assert not asker.ask("asleep?").accepted
