"""An action whose goals are `Request`s of a reasoner: accepted, answered on the reasoner's thread, ended exactly once.

The executor has one thread, so nothing may block in it: a goal stays "accepted" while it is answered on the reasoner's thread, and is
executed, which only hands over the result, when the answer is whole. Awaiting instead would spin that thread (Jazzy's executor polls).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node

from ..request_queue import Request
from ..types import Explanation

RESULT_SECONDS = 10  # how long a result waits to be fetched; its goal, of which a prefix can be megabytes, is held as long

Sink = Callable[[Explanation], None]


class GoalServer:
    """One action of one node.

    refuses   a goal's request → why it is not even accepted, or empty
    ask       a goal's request and where its answers go → the request as it is being answered, or why it cannot be
    feedback  a partial answer → the action's feedback
    result    the final answer, or why there is none → the action's result, and whether it is one to be called a success
    """

    def __init__(
        self,
        node: Node,
        action: Any,
        name: str,
        refuses: Callable[[Any], str],
        ask: Callable[[Any, Sink], Request | str],
        feedback: Callable[[Explanation], Any],
        result: Callable[[Explanation | str], tuple[Any, bool]],
    ) -> None:
        self._node, self._refuses, self._ask, self._feedback, self._result = node, refuses, ask, feedback, result
        self._requests: dict[bytes, tuple[Any, Request]] = {}  # by goal, while it is being answered
        self._server = ActionServer(
            node,
            action,
            name,
            execute_callback=lambda handle: action.Result(),
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
            result_timeout=RESULT_SECONDS,
        )

    def destroy(self) -> None:
        self._server.destroy()

    @property
    def answering(self) -> list[tuple[Any, Request]]:
        """Goals without a final answer: handle and request."""
        return list(self._requests.values())

    def _on_goal(self, request: Any) -> GoalResponse:
        reason = self._refuses(request)
        if reason:
            self._node.get_logger().warning(f"a question was refused: {reason}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, handle: Any) -> None:
        request = self._ask(handle.request, lambda said: self._on_said(handle, said))
        if isinstance(request, str):
            self._node.get_logger().warning(f"a question was ended: {request}")
            self._finish(handle, request)
            return
        self._requests[_key(handle)] = (handle, request)
        if request.ended:  # before it could be kept
            self._requests.pop(_key(handle), None)

    def _on_cancel(self, handle: Any) -> CancelResponse:
        held = self._requests.get(_key(handle))
        if held is not None:
            held[1].cancelled.set()
        return CancelResponse.ACCEPT

    def _on_said(self, handle: Any, said: Explanation) -> None:
        """On the reasoner's thread, or on the executor's for what was never begun."""
        if said.final:
            self._finish(handle, said)
        else:
            handle.publish_feedback(self._feedback(said))

    def _finish(self, handle: Any, said: Explanation | str) -> None:
        self._requests.pop(_key(handle), None)
        result, good = self._result(said)

        def hand_over(handle: Any) -> Any:
            if handle.is_cancel_requested:
                handle.canceled()
            elif good:
                handle.succeed()
            else:
                handle.abort()
            return result

        handle.execute(hand_over)


def _key(handle: Any) -> bytes:
    return bytes(handle.goal_id.uuid)
