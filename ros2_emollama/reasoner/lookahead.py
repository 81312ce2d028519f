"""Guessing what comes next from what stands already somewhere, and checking several guesses in one pass.

Explanations of neighbouring windows say much the same, and quote the question. So the answer's last two tokens are looked up in the answer
itself, in earlier answers and in the prompt, and what followed there is a draft (prompt lookup, as in
github.com/apoorvumang/prompt-lookup-decoding). The model's own logits at every drafted position decide: an answer is the one that would
have come token by token, only sooner.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from ..runtime.base import LlamaSession, branching
from ..types import Float32

LONGEST_DRAFT = 8
FIRST_DRAFT = 3
PATIENCE = 3  # drafts in a row of which nothing was said; then as many tokens are waited
EARLIER_ANSWERS = 3


class Lookahead:
    """Logits after each token of one answer; some of them computed ahead of it. Where the session does not branch, none are."""

    def __init__(self, session: LlamaSession, context: int, sources: Sequence[Sequence[int]], speculate: bool = True) -> None:
        self._session, self._branching = session, branching(session) if speculate else None
        self._context = context
        self._seen = SeenBefore(sources if self._branching else ())
        self._drafted: deque[int] = deque()
        self._rows: deque[Float32] = deque()
        self._length, self._failures, self._wait, self._taken = FIRST_DRAFT, 0, 0, 0

    def after(self, token: int) -> Float32:
        """(vocab,) logits after one more token of the answer."""
        if self._branching is None:
            return self._session.extend(self._embed([token]))
        self._seen.add(token)
        if self._drafted and self._drafted[0] == token:
            self._drafted.popleft()
            self._taken += 1
            return self._rows.popleft()
        self._settle()
        draft = self._draft()
        if not draft:
            return self._session.extend(self._embed([token]))
        rows = self._branching.extend_tree(self._embed([token, *draft]), range(-1, len(draft)))
        self._drafted.extend(draft)
        self._rows.extend(rows[1:])
        first: Float32 = rows[0]
        return first

    def _settle(self) -> None:
        """Forget what was drafted and not said. A draft that came true makes the next one longer, one that did not shorter."""
        if self._drafted:
            self._session.rewind(self._session.position - len(self._drafted))
            self._failures = 0 if self._taken else self._failures + 1
            self._length = max(1, self._taken)
            self._wait = PATIENCE if self._failures >= PATIENCE else 0
        elif self._taken:
            self._failures, self._length = 0, min(LONGEST_DRAFT, 2 * self._length)
        self._drafted.clear()
        self._rows.clear()
        self._taken = 0

    def _draft(self) -> list[int]:
        if self._wait:
            self._wait -= 1
            return []
        room = self._context - self._session.position - 1
        return self._seen.what_followed(min(self._length, room))

    def _embed(self, ids: Sequence[int]) -> Float32:
        return self._session.embed(np.array(ids, np.int64))


class SeenBefore:
    """Where each pair of neighbouring ids stands: in the answer as it grows, and in what was given, dearest first."""

    def __init__(self, sources: Sequence[Sequence[int]]) -> None:
        self._said: list[int] = []
        self._sources = [self._said, *(list(source) for source in sources)]
        self._ends: dict[tuple[int, int], list[tuple[int, int]]] = {}  # pair → (source, place of what follows it)
        for number, source in enumerate(self._sources):
            for end in range(2, len(source)):
                self._ends.setdefault((source[end - 2], source[end - 1]), []).append((number, end))

    def add(self, token: int) -> None:
        if len(self._said) >= 2:  # a pair counts once something follows it
            self._ends.setdefault((self._said[-2], self._said[-1]), []).append((0, len(self._said)))
        self._said.append(token)

    def what_followed(self, length: int) -> list[int]:
        """At most `length` ids that came after the answer's last ones where most of these stood before, at least two."""
        if length < 1 or len(self._said) < 2:
            return []
        places = self._ends.get((self._said[-2], self._said[-1]), ())
        number, end = max(places, key=lambda place: (self._alike(*place), -place[0], place[1]), default=(0, 0))
        return self._sources[number][end : end + length] if end else []

    def _alike(self, number: int, end: int) -> int:
        """How many ids before a place are the answer's last ones, counted up to LONGEST_DRAFT."""
        source, most = self._sources[number], min(end, len(self._said), LONGEST_DRAFT)
        return next((count for count in range(2, most) if source[end - 1 - count] != self._said[-1 - count]), most)
