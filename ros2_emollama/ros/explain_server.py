"""The action `emotion/explain`: a question in, the answer token by token as feedback, the whole of it as result.

One question is answered and one may wait; a newer one takes the waiting one's place. A goal is closed by the node itself when its deadline
has passed and the language model does not come back: nobody waits for ever.

The executor has one thread, so nothing may block in it: a goal stays "accepted" while it is answered on the reasoner's thread, and is
executed, which only hands over the result, when the answer is whole. Awaiting instead would spin that thread (Jazzy's executor polls).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from emollama.action import Explain
from emollama.msg import EmotionReasoning
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node

from ..types import Explanation
from ..worker import Request
from . import conversions

GRACE_SECONDS = 0.5  # past the deadline; the decode loop itself ends at it unless one step of the model hangs


class _Goal:
    """A goal and the request that answers it; ended once."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.request: Request | None = None
        self.lock = threading.Lock()
        self.ended = False


class ExplainServer:
    """`ask` is the worker's: question and sink → request, None when there is nothing to ask about. It may be None while inactive."""

    def __init__(self, node: Node, frame_id: Callable[[], str]) -> None:
        self._node, self._frame_id = node, frame_id
        self.ask: Callable[[str, Callable[[Explanation], None]], Request | None] | None = None
        self._goals: list[_Goal] = []
        self._server = ActionServer(
            node,
            Explain,
            "emotion/explain",
            execute_callback=lambda handle: Explain.Result(),
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )

    def destroy(self) -> None:
        self._server.destroy()

    def check(self, deadline_seconds: float) -> None:
        """End what is overdue."""
        for goal in list(self._goals):
            request = goal.request
            if request is not None and request.age_seconds > deadline_seconds + GRACE_SECONDS:
                request.cancelled.set()
                self._finish(goal, request.unsaid("deadline"))

    def _on_goal(self, request: Any) -> GoalResponse:
        if self.ask is None:
            self._node.get_logger().warning(
                "a question was refused: the node is not active, its reasoner is off, or perception is disabled"
            )
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, handle: Any) -> None:
        goal = _Goal(handle)
        self._goals.append(goal)
        ask = self.ask
        goal.request = ask(handle.request.question, lambda said: self._on_said(goal, said)) if ask is not None else None
        if goal.request is None:
            self._node.get_logger().warning("a question was ended: nothing has been perceived yet that it could be about")
            self._finish(goal, None)

    def _on_cancel(self, handle: Any) -> CancelResponse:
        for goal in self._goals:
            if goal.handle == handle and goal.request is not None:
                goal.request.cancelled.set()
        return CancelResponse.ACCEPT

    def _on_said(self, goal: _Goal, said: Explanation) -> None:
        """On the reasoner's thread, or on the executor's for what was never begun."""
        if said.final:
            self._finish(goal, said)
        elif not goal.ended:
            feedback = Explain.Feedback()
            conversions.explanation_to_message(feedback.reasoning, said, self._frame_id())
            goal.handle.publish_feedback(feedback)

    def _finish(self, goal: _Goal, said: Explanation | None) -> None:
        with goal.lock:
            if goal.ended:
                return
            goal.ended = True
        result = Explain.Result()
        if said is None:
            result.reasoning = EmotionReasoning(final=True, finish_reason="failed")
        else:
            conversions.explanation_to_message(result.reasoning, said, self._frame_id())
        self._goals.remove(goal)

        def hand_over(handle: Any) -> Any:
            if handle.is_cancel_requested:
                handle.canceled()
            elif said is not None and said.finish_reason in ("stop", "length", "deadline") and said.text:
                handle.succeed()
            else:
                handle.abort()
            return result

        goal.handle.execute(hand_over)
