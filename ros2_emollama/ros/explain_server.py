"""The action `emotion/explain`: a question in, the answer token by token as feedback, the whole of it as result.

One question is answered and one may wait; a newer one takes the waiting one's place. Every question ends: the worker gives up on what its
deadline has passed, also while the language model hangs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emollama.action import Explain
from emollama.msg import EmotionReasoning
from rclpy.node import Node

from ..request_queue import Request
from ..types import Explanation
from . import conversions
from .goal_server import GoalServer, Sink


class ExplainServer:
    """`ask` is the worker's: question and sink → request, None when there is nothing to ask about. It may be None while inactive."""

    def __init__(self, node: Node, frame_id: Callable[[], str]) -> None:
        self._frame_id = frame_id
        self.ask: Callable[[str, Sink], Request | None] | None = None
        self._server = GoalServer(node, Explain, "emotion/explain", self._refuses, self._asked, self._feedback, self._result)

    def destroy(self) -> None:
        self._server.destroy()

    def _refuses(self, request: Any) -> str:
        return "" if self.ask is not None else "the node is not active, its reasoner is off, or perception is disabled"

    def _asked(self, request: Any, sink: Sink) -> Request | str:
        ask = self.ask
        return (ask(request.question, sink) if ask is not None else None) or "nothing has been perceived yet that it could be about"

    def _feedback(self, said: Explanation) -> Any:
        feedback = Explain.Feedback()
        conversions.explanation_to_message(feedback.reasoning, said, self._frame_id())
        return feedback

    def _result(self, said: Explanation | str) -> tuple[Any, bool]:
        result = Explain.Result()
        if isinstance(said, str):
            result.reasoning = EmotionReasoning(final=True, finish_reason="failed")
            return result, False
        conversions.explanation_to_message(result.reasoning, said, self._frame_id())
        return result, said.finish_reason in ("stop", "length", "deadline") and bool(said.text)
