"""Prefix and prompt → label probabilities and text, over any `LlamaSession`.

The KV cache is laid out as [constant prompt | window's prefix | transcript and question | answer]. The constant part is computed once for
good; the window's prefix is computed once and shared by all questions about that window; the rest is cut back after each answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ..model.presets import Preset
from ..runtime.base import LlamaSession
from ..types import Explanation, Float32, Percept
from .prompt import EOS, SPECIAL_TOKENS, Prompt, build_prompt
from .sampling import choose, log_softmax, penalise_repeats

LOOP_TOKENS = 6  # an answer that repeats its last six tokens three times is going round in circles


class Reasoner:
    """Talks about percepts. One caller at a time."""

    def __init__(self, session: LlamaSession, tokenizer_path: Path, preset: Preset, seed: int = 0) -> None:
        self._session = session
        self._tokenizer = Tokenizer.from_file(str(tokenizer_path))
        self._preset = preset
        self._rng = np.random.default_rng(seed)
        self._special = frozenset(self._tokenizer.token_to_id(token) for token in SPECIAL_TOKENS)
        self._end = int(self._tokenizer.token_to_id(EOS))
        self._constant: tuple[int, ...] = ()
        self._constant_length = 0
        self._prefix: Float32 | None = None  # the window whose prefix lies in the cache

    @property
    def name(self) -> str:
        return self._session.name

    def warm_up(self) -> None:
        """Compute the constant prompt and run one decode step."""
        prefix = np.zeros((self._preset.prefix.tokens, self._preset.llama.hidden), np.float32)
        self._question(prefix, build_prompt(self._tokenizer, "reason", label=self._preset.labels[0]))
        self._session.extend(self._session.embed(np.array([self._end])))
        self._prefix = None

    def score_labels(self, prefix: Float32, labels: Sequence[str], transcript: str = "") -> Float32:
        """(labels,) probabilities of each label's words as the answer to the `emotion` question; sums to 1.

        Constrained: only labels are scored, each with its end, so a transcript cannot make it anything else.
        """
        logits = self._question(prefix, build_prompt(self._tokenizer, "emotion", transcript=transcript))
        asked = self._session.position
        scores = []
        for label in labels:
            ids = [*self._tokenizer.encode(label, add_special_tokens=False).ids, self._end]
            self._session.rewind(asked)
            score, current = 0.0, logits
            for place, token in enumerate(ids):
                score += float(log_softmax(current)[token])
                if place + 1 < len(ids):
                    current = self._session.extend(self._session.embed(np.array([token])))
            scores.append(score)
        found = np.exp(np.array(scores) - max(scores))
        return (found / found.sum()).astype(np.float32)

    def explain(
        self,
        percept: Percept,
        question: str = "",
        label: str = "",
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        max_tokens: int = 80,
        deadline_seconds: float = 5.0,
        temperature: float = 0.0,
    ) -> Explanation:
        """Why this state? `on_text` gets the whole text so far after every token that completes a character.

        label  the label to explain, by default the state's. Ends with reason stop, length, deadline or cancelled.
        """
        start = time.monotonic()
        prompt = build_prompt(self._tokenizer, "reason", label or percept.state.label, percept.transcript, question)
        logits = self._question(percept.prefix, prompt)
        room = self._preset.llama.context - self._session.position
        ids: list[int] = []
        first, reason, text = 0.0, "length", ""
        for _ in range(min(max_tokens, room)):
            if cancelled():
                reason = "cancelled"
                break
            if time.monotonic() - start > deadline_seconds:
                reason = "deadline"
                break
            token = self._next(logits, ids, temperature)
            first = first or time.monotonic() - start
            if token == self._end or _goes_round(ids):
                reason = "stop"
                break
            ids.append(token)
            text = self._said(ids, text, on_text)
            logits = self._session.extend(self._session.embed(np.array([token])))
        return Explanation(percept.state, text, True, reason, len(ids), first, time.monotonic() - start)

    def _question(self, prefix: Float32, prompt: Prompt) -> Float32:
        """Logits after the prompt; computes only what the cache does not hold."""
        if prompt.before_prefix != self._constant:
            self._session.rewind(0)
            self._session.extend(self._session.embed(np.array(prompt.before_prefix)))
            self._constant, self._constant_length, self._prefix = prompt.before_prefix, self._session.position, None
        if self._prefix is None or self._prefix is not prefix:
            self._session.rewind(self._constant_length)
            self._session.extend(prefix)
            self._prefix = prefix
        self._session.rewind(self._constant_length + prefix.shape[0])
        return self._session.extend(self._session.embed(np.array(prompt.after_prefix)))

    def _next(self, logits: Float32, said: Sequence[int], temperature: float) -> int:
        """The next token; of the special ones only the end can be said."""
        allowed = penalise_repeats(logits, said) if temperature > 0 else logits.copy()
        for token in self._special - {self._end}:
            allowed[token] = -np.inf
        return choose(allowed, temperature, self._rng)

    def _said(self, ids: Sequence[int], before: str, on_text: Callable[[str], None] | None) -> str:
        """The text so far; a character whose bytes are not all there yet waits."""
        text: str = self._tokenizer.decode(list(ids)).lstrip()
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return before
        if on_text and text != before:
            on_text(text)
        return text


def _goes_round(ids: Sequence[int]) -> bool:
    tail = list(ids[-LOOP_TOKENS:])
    return len(ids) >= 3 * LOOP_TOKENS and list(ids[-2 * LOOP_TOKENS : -LOOP_TOKENS]) == tail == list(ids[-3 * LOOP_TOKENS : -2 * LOOP_TOKENS])
