"""Prefix and prompt → label probabilities and text, over any `LlamaSession`.

The KV cache is laid out as [constant prompt | window's prefix | transcript and question | answer]. The constant part is computed once for
good; the window's prefix is computed once and shared by all questions about that window, and so is what their texts begin with alike; the
rest is cut back after each answer.
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
from .prompt import Prompt, prompts_of
from .sampling import choose, goes_round, log_softmax, penalise_repeats


class Reasoner:
    """Talks about percepts. One caller at a time."""

    def __init__(self, session: LlamaSession, tokenizer_path: Path, preset: Preset, seed: int = 0) -> None:
        self._session = session
        self._tokenizer = Tokenizer.from_file(str(tokenizer_path))
        self._preset = preset
        self._rng = np.random.default_rng(seed)
        self._prompts = prompts_of(preset, self._tokenizer)
        self._end = self._prompts.end
        unused = range(self._tokenizer.get_vocab_size(), preset.llama.vocab)
        self._unsayable = np.array([*self._prompts.unsayable, *unused])
        self._constant: tuple[int, ...] = ()  # what the cache holds: the constant prompt,
        self._constant_end = 0
        self._prefix: Float32 | None = None  # then this window's prefix,
        self._asked: tuple[int, ...] = ()  # then these ids

    @property
    def name(self) -> str:
        return self._session.name

    @property
    def after_scene(self) -> Float32:
        """(M, hidden) embeddings of what the prompt has inside the prefix, after the scene's tokens; M is 0 where it has nothing there."""
        return self._session.embed(np.array(self._prompts.after_scene, np.int64))

    def warm_up(self) -> None:
        """Compute the constant prompt and run one decode step."""
        prefix = np.zeros((self._preset.prefix.tokens, self._preset.llama.hidden), np.float32)
        self._question(prefix, self._prompts.build("reason", label=self._preset.labels[0]))
        self._extend([self._end])
        self._prefix = None

    def score_labels(self, prefix: Float32, labels: Sequence[str]) -> Float32:
        """(labels,) probabilities of each label's words as the whole answer to the `emotion` question; sums to 1.

        Constrained: only labels are scored, each with its end. What was said is left out: whoever speaks could name a label. Labels that
        begin with the same tokens share their computation. ValueError unless there are labels, all different.
        """
        if not labels or len(set(labels)) != len(labels):
            raise ValueError(f"labels must be given and all different, got {', '.join(labels) or 'none'}")
        logits = self._question(prefix, self._prompts.build("emotion"))
        answers = [(*self._tokenizer.encode(label, add_special_tokens=False).ids, self._end) for label in labels]
        scores = self._score(answers, logits)
        found = np.array([scores[answer] for answer in answers])
        shares = np.exp(found - found.max())
        return np.asarray(shares / shares.sum(), np.float32)

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
        """Why this state? `on_text` gets the whole text so far after every token that completes a character.

        The state's own label is the one explained. Ends with reason stop, length, deadline or cancelled.
        """
        started = time.monotonic()

        def ended() -> str:
            if cancelled():
                return "cancelled"
            return "deadline" if time.monotonic() - started >= deadline_seconds else ""

        answer = _Answer(self._tokenizer, started, on_text)
        label = percept.state.label if percept.state.label in percept.state.labels else percept.state.likeliest  # asked about nobody
        transcript = percept.transcript if self._preset.llama.reads_transcripts else ""
        prompt = self._prompts.build("reason", label, transcript, question)
        reason = ended() or self._speak(percept.prefix, prompt, answer, ended, max_tokens, temperature)
        return Explanation(percept.state, answer.text, True, reason, len(answer.ids), answer.first_seconds, time.monotonic() - started)

    def _speak(
        self, prefix: Float32, prompt: Prompt, answer: _Answer, ended: Callable[[], str], max_tokens: int, temperature: float
    ) -> str:
        """Grow the answer until something ends it, and say what did."""
        logits = self._question(prefix, prompt)
        room = min(max_tokens, self._preset.llama.context - self._session.position)
        for count in range(1, room + 1):
            if reason := ended():
                return reason
            token = self._next(logits, answer.ids, temperature)
            if token == self._end or goes_round([*answer.ids, token]):
                return "stop"
            answer.add(token)
            if count < room:
                logits = self._extend([token])
        return "length"

    def _question(self, prefix: Float32, prompt: Prompt) -> Float32:
        """Logits after the prompt; computes only what the cache does not hold."""
        if prompt.before_prefix != self._constant:
            self._constant, self._prefix = (), None  # nothing is held until it has been computed
            self._session.rewind(0)
            self._extend(prompt.before_prefix)
            self._constant, self._constant_end = prompt.before_prefix, self._session.position
        if self._prefix is None or self._prefix is not prefix:
            self._prefix, self._asked = None, ()
            self._session.rewind(self._constant_end)
            self._session.extend(prefix)
            self._prefix = prefix
        alike = _alike(self._asked, prompt.after_prefix[:-1])  # the last one is always computed: its logits are the result
        self._asked = self._asked[:alike]
        self._session.rewind(self._constant_end + prefix.shape[0] + alike)
        logits = self._extend(prompt.after_prefix[alike:])
        self._asked = prompt.after_prefix
        return logits

    def _extend(self, ids: Sequence[int]) -> Float32:
        return self._session.extend(self._session.embed(np.array(ids, np.int64)))

    def _score(self, answers: Sequence[tuple[int, ...]], logits: Float32, depth: int = 0) -> dict[tuple[int, ...], float]:
        """Log probability of each answer from `depth` on; depth first, so that what answers begin with alike is computed once."""
        here, chances = self._session.position, log_softmax(logits)
        scores: dict[tuple[int, ...], float] = {}
        for token in dict.fromkeys(answer[depth] for answer in answers):
            branch = [answer for answer in answers if answer[depth] == token]
            longer = [answer for answer in branch if len(answer) > depth + 1]
            below = dict.fromkeys(branch, 0.0)
            if longer:
                below.update(self._score(longer, self._extend([token]), depth + 1))
                self._session.rewind(here)
            scores.update({answer: float(chances[token]) + rest for answer, rest in below.items()})
        return scores

    def _next(self, logits: Float32, said: Sequence[int], temperature: float) -> int:
        """The next token; of the special ones only the end can be said."""
        allowed = (penalise_repeats(logits, said) if temperature > 0 else logits).copy()
        allowed[self._unsayable] = -np.inf
        return choose(allowed, temperature, self._rng)


class _Answer:
    """An answer as it grows: its token ids, the text whose characters are whole, and when the first token came."""

    def __init__(self, tokenizer: Tokenizer, started: float, on_text: Callable[[str], None] | None) -> None:
        self.ids: list[int] = []
        self.text = ""
        self.first_seconds = 0.0
        self._tokenizer, self._started, self._on_text = tokenizer, started, on_text

    def add(self, token: int) -> None:
        """A character whose bytes are not all there yet waits for the next token."""
        if not self.ids:
            self.first_seconds = time.monotonic() - self._started
        self.ids.append(token)
        text: str = self._tokenizer.decode(self.ids).lstrip()
        if text.endswith("\N{REPLACEMENT CHARACTER}") or text == self.text:
            return
        self.text = text
        if self._on_text:
            self._on_text(text)


def _alike(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids two sequences begin with in common."""
    return next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
