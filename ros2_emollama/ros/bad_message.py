"""A message that cannot be used, and why: `cause` is counted, the text is logged once per cause."""

from __future__ import annotations


class BadMessage(ValueError):
    """`cause` is a short snake_case name, the text ends with the cure."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause
