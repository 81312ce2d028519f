"""Asks the node `reasoner` on another machine: prefix out, label probabilities or text back, over the action `emotion/reason`.

The worker's threads wait here; everything of ROS happens on the executor's thread. A reasoner that is silent for `link_seconds` (it sends a
sign of life several times a second) is lost: the answer fails, the labels of the node's own head go on, and the next question tries anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from emollama.action import Reason
from rclpy.action import ActionClient
from rclpy.node import Node

from ..model.folder import ModelFolder
from ..reasoner.prompt import label_to_explain
from ..types import Explanation, Float32, Percept
from .prefixes import own_words, prefix_to_message

ACTION = "emotion/reason"
LOOK_SECONDS = 0.05  # how often a cancel is looked for while nothing comes
SCORE_SECONDS = 10.0  # label scores that take longer are of no use to anybody


class LinkLost(RuntimeError):
    """No answer from the other machine; the message says what to look at."""


class _Call:
    """One goal on its way: written on the executor's thread, read on the asker's."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.heard = time.monotonic()
        self.text, self.texts = "", 0
        self.result: Any = None
        self.refused = self.ended = False
        self.handle: Any = None

    def tell(self, **facts: Any) -> None:
        with self.changed:
            self.heard = time.monotonic()
            for name, value in facts.items():
                setattr(self, name, value)
            self.changed.notify_all()


class ReasonerLink:
    """One node's way to a reasoner. `counters`: asked, answered, lost, bytes_sent. `trouble`: why the last question found no answer."""

    def __init__(self, node: Node, link_seconds: float) -> None:
        self._node, self._link_seconds = node, link_seconds
        self._client = ActionClient(node, Reason, ACTION)
        self.counters = {"asked": 0, "answered": 0, "lost": 0, "bytes_sent": 0}
        self.trouble = ""

    def destroy(self) -> None:
        self._client.destroy()

    @property
    def ready(self) -> bool:
        """Is there a reasoner at all?"""
        return bool(self._client.server_is_ready())

    def ask(self, goal: Any, on_text: Callable[[str], None], ended: Callable[[], str]) -> tuple[str, Any]:
        """Send a goal and wait. Why the waiting ended ("" where the result is here), and the result or the text so far.

        Not to be called on the executor's thread. LinkLost where nobody answers, RuntimeError where the goal is refused.
        """
        self.counters["asked"] += 1
        if not self.ready:
            raise self._lost(f"no reasoner serves {ACTION}; start it on the other machine: ros2 launch emollama reasoner.launch.py")
        call, told = _Call(), 0
        self._later(self._send, goal, call)
        self.counters["bytes_sent"] += len(goal.prefix.data)
        try:
            while True:
                with call.changed:
                    if not call.result and not call.refused and call.texts == told:
                        call.changed.wait(LOOK_SECONDS)
                    text, told, fresh = call.text, call.texts, call.texts != told
                if fresh:
                    on_text(text)
                if call.refused:
                    raise RuntimeError(f"the reasoner refused {ACTION}; its log says why")
                if call.result is not None:
                    return "", self._answered(call.result)
                if reason := ended():
                    return reason, text
                if time.monotonic() - call.heard > self._link_seconds:
                    raise self._lost(
                        f"the reasoner is silent for {self._link_seconds:g} s (reasoner.link_seconds); see the network and its log"
                    )
        finally:
            call.ended = True
            if call.result is None:
                self._later(self._cancel, call)

    def _answered(self, result: Any) -> Any:
        if result.error:
            raise RuntimeError(f"the reasoner {result.finish_reason or 'failed'}: {result.error}")
        self.counters["answered"] += 1
        if self.trouble:
            self._node.get_logger().info("the reasoner answers again")
        self.trouble = ""
        return result

    def _lost(self, reason: str) -> LinkLost:
        self.counters["lost"] += 1
        self.trouble = reason
        return LinkLost(reason)

    def _later(self, work: Callable[..., None], *arguments: Any) -> None:
        """On the executor's thread: an action client of Humble is not safe on two."""
        executor = self._node.executor
        if executor is None:
            raise LinkLost("the node does not spin, so nothing can be asked")
        executor.create_task(work, *arguments)

    # On the executor's thread.

    def _send(self, goal: Any, call: _Call) -> None:
        sent = self._client.send_goal_async(goal, feedback_callback=lambda message: self._on_feedback(call, message.feedback.text))
        sent.add_done_callback(lambda future: self._on_response(call, future.result()))

    def _on_response(self, call: _Call, handle: Any) -> None:
        if not handle.accepted:
            call.tell(refused=True)
            return
        call.tell(handle=handle)
        if call.ended:
            handle.cancel_goal_async()
        handle.get_result_async().add_done_callback(lambda future: call.tell(result=future.result().result))

    def _on_feedback(self, call: _Call, text: str) -> None:
        call.tell(**({"text": text, "texts": call.texts + 1} if text and text != call.text else {}))

    def _cancel(self, call: _Call) -> None:
        if call.handle is not None and call.result is None:
            call.handle.cancel_goal_async()


class RemoteReasoner:
    """A `Talker` over a link, for one model."""

    def __init__(self, link: ReasonerLink, folder: ModelFolder) -> None:
        self._link, self._preset, self._model_id = link, folder.preset, folder.model_id

    @property
    def name(self) -> str:
        return f"asked of {ACTION}"

    @property
    def after_scene(self) -> Float32:
        """The mark of words that the other machine puts in."""
        return own_words(self._preset.llama.hidden)

    def warm_up(self) -> None:
        """Nothing: the other machine has done so, and may not be there yet."""

    def score_labels(self, prefix: Float32, labels: Sequence[str], transcript: str = "") -> Float32:
        """As `Reasoner.score_labels`. LinkLost or RuntimeError where there is no answer."""
        goal = self._goal(prefix, 0, transcript)
        goal.labels, goal.deadline_seconds = list(labels), SCORE_SECONDS
        until = time.monotonic() + SCORE_SECONDS
        reason, result = self._link.ask(goal, lambda text: None, lambda: "late" if time.monotonic() > until else "")
        if reason or len(result.probabilities) != len(labels):
            raise RuntimeError(f"the reasoner gave {reason or len(result.probabilities)} for {len(labels)} labels; see its log")
        return np.asarray(result.probabilities, np.float32)

    def explain(
        self,
        percept: Percept,
        question: str = "",
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        max_tokens: int = 80,
        deadline_seconds: float = 5.0,
        temperature: float = 0.0,
    ) -> Explanation:
        """As `Reasoner.explain`. LinkLost or RuntimeError where there is no answer."""
        state, started, first = percept.state, time.monotonic(), [0.0]
        goal = self._goal(percept.prefix, state.end_ns, percept.transcript)
        goal.label = label_to_explain(state, self._preset)
        goal.question, goal.max_tokens = question, max_tokens
        goal.deadline_seconds, goal.temperature = deadline_seconds, temperature

        def ended() -> str:
            if cancelled():
                return "cancelled"
            return "deadline" if time.monotonic() - started >= deadline_seconds else ""

        def heard(text: str) -> None:
            first[0] = first[0] or time.monotonic() - started
            if on_text:
                on_text(text)

        reason, answer = self._link.ask(goal, heard, ended)
        took = time.monotonic() - started
        if reason:
            return Explanation(state, answer, True, reason, 0, first[0], took)
        return Explanation(state, answer.text, True, answer.finish_reason, answer.token_count, first[0] or took, took)

    def _goal(self, prefix: Float32, stamp_ns: int, transcript: str) -> Any:
        goal = Reason.Goal(transcript=transcript if self._preset.llama.reads_transcripts else "")
        prefix_to_message(goal.prefix, prefix, self._model_id, stamp_ns)
        return goal
