"""Sessions that say what a test wants: by a script, or by what comes after two ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

VOCABULARY = 320  # larger than any test's tokenizer: the rest are ids without a text
HIDDEN = 64


class ToySession:
    """`following` gives the likeliest id after two others, of which -1 stands for what is no token. Counts passes and positions."""

    name = "toy"

    def __init__(self, following: Callable[[int, int], int], branches: bool = True) -> None:
        self.branches, self.passes, self.widest, self.computed = branches, 0, 0, 0
        self._following = following
        self._held: list[int] = []

    @property
    def position(self) -> int:
        return len(self._held)

    def embed(self, token_ids: np.ndarray) -> np.ndarray:
        rows = np.zeros((len(token_ids), HIDDEN), np.float32)
        rows[:, 0] = token_ids + 1
        return rows

    def extend(self, embeddings: np.ndarray) -> np.ndarray:
        return self.extend_tree(embeddings, range(-1, len(embeddings) - 1))[-1]

    def extend_tree(self, embeddings: np.ndarray, parents: Sequence[int]) -> np.ndarray:
        self.passes += 1
        self.computed += len(embeddings)
        self.widest = max(self.widest, len(embeddings))
        start, rows = len(self._held), []
        self._held += [int(row[0]) - 1 for row in embeddings]
        for place, parent in enumerate(parents):
            before = self._held[start + parent] if parent >= 0 else (self._held[start - 1] if start else -1)
            logits = np.zeros(VOCABULARY, np.float32)
            logits[self._following(before, self._held[start + place])] = 9.0
            rows.append(logits)
        return np.stack(rows)

    def rewind(self, position: int) -> None:
        assert position <= len(self._held)
        del self._held[position:]


class ScriptedSession:
    """Whatever it is asked, the likeliest tokens are those of the script, one after the other; `second` is always the second likeliest."""

    name = "scripted"

    def __init__(self, script: list[int], second: int = 100) -> None:
        self.position, self._next = 0, 0
        self.lengths: list[int] = []
        self._script, self._second = script, second

    def embed(self, token_ids: np.ndarray) -> np.ndarray:
        return np.zeros((len(token_ids), HIDDEN), np.float32)

    def extend(self, embeddings: np.ndarray) -> np.ndarray:
        self.position += len(embeddings)
        self.lengths.append(len(embeddings))
        logits = np.zeros(VOCABULARY, np.float32)
        logits[self._second], logits[self._script[self._next % len(self._script)]] = 5.0, 9.0
        self._next += 1
        return logits

    def rewind(self, position: int) -> None:
        assert position <= self.position
        self.position, self._next = position, 0
