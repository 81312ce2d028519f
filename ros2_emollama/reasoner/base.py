"""Who talks about percepts: the language model here (decoder.py), or another machine that is asked (ros/remote_reasoner.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..types import Explanation, Float32, Percept


class Talker(Protocol):
    """One caller at a time. What each call promises stands at `Reasoner`."""

    @property
    def name(self) -> str:
        """What really runs, or who is asked."""

    @property
    def after_scene(self) -> Float32:
        """(M, hidden) rows that stand inside the prefix, after the scene's tokens."""

    def warm_up(self) -> None: ...

    def score_labels(self, prefix: Float32, labels: Sequence[str], transcript: str = "") -> Float32: ...

    def explain(
        self,
        percept: Percept,
        question: str = "",
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        max_tokens: int = 80,
        deadline_seconds: float = 5.0,
        temperature: float = 0.0,
    ) -> Explanation: ...
