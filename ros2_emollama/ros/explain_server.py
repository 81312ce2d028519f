"""The action `emotion/explain`: a question in, the answer token by token as feedback, the whole of it as result.

One question is answered and one may wait; a newer one takes the waiting one's place. Every question ends: the worker gives up on what its
deadline has passed, also while the language model hangs.

The executor has one thread, so nothing may block in it: a goal stays "accepted" while it is answered on the reasoner's thread, and is
executed, which only hands over the result, when the answer is whole. Awaiting instead would spin that thread (Jazzy's executor polls).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emollama.action import Explain
from emollama.msg import EmotionReasoning
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node

from ..request_queue import Request
from ..types import Explanation
from . import conversions


class ExplainServer:
    """`ask` is the worker's: question and sink → request, None when there is nothing to ask about. It may be None while inactive."""

    def __init__(self, node: Node, frame_id: Callable[[], str]) -> None:
        self._node, self._frame_id = node, frame_id
        self.ask: Callable[[str, Callable[[Explanation], None]], Request | None] | None = None
        self._requests: dict[bytes, Request] = {}  # by goal, while it is being answered
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

    def _on_goal(self, request: Any) -> GoalResponse:
        if self.ask is None:
            self._node.get_logger().warning(
                "a question was refused: the node is not active, its reasoner is off, or perception is disabled"
            )
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, handle: Any) -> None:
        ask = self.ask
        request = ask(handle.request.question, lambda said: self._on_said(handle, said)) if ask is not None else None
        if request is None:
            self._node.get_logger().warning("a question was ended: nothing has been perceived yet that it could be about")
            self._finish(handle, None)
            return
        self._requests[_key(handle)] = request
        if request.ended:  # before it could be kept
            self._requests.pop(_key(handle), None)

    def _on_cancel(self, handle: Any) -> CancelResponse:
        request = self._requests.get(_key(handle))
        if request is not None:
            request.cancelled.set()
        return CancelResponse.ACCEPT

    def _on_said(self, handle: Any, said: Explanation) -> None:
        """On the reasoner's thread, or on the executor's for what was never begun."""
        if said.final:
            self._finish(handle, said)
            return
        feedback = Explain.Feedback()
        conversions.explanation_to_message(feedback.reasoning, said, self._frame_id())
        handle.publish_feedback(feedback)

    def _finish(self, handle: Any, said: Explanation | None) -> None:
        self._requests.pop(_key(handle), None)
        result = Explain.Result()
        if said is None:
            result.reasoning = EmotionReasoning(final=True, finish_reason="failed")
        else:
            conversions.explanation_to_message(result.reasoning, said, self._frame_id())

        def hand_over(handle: Any) -> Any:
            if handle.is_cancel_requested:
                handle.canceled()
            elif said is not None and said.finish_reason in ("stop", "length", "deadline") and said.text:
                handle.succeed()
            else:
                handle.abort()
            return result

        handle.execute(hand_over)


def _key(handle: Any) -> bytes:
    return bytes(handle.goal_id.uuid)
