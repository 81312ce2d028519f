"""Prefix and prompt → label probabilities and text, over any `LlamaSession`.

The KV cache is laid out as [constant prompt | window's prefix | transcript and question | answer]. The constant part is computed once for
good; the window's prefix is computed once and shared by all questions about that window, label scoring among them, and so is what their
texts begin with alike; the rest is cut back after each answer. A prompt is computed in pieces, so that a cancel need not wait for it all.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ..model.presets import Preset
from ..runtime.base import LlamaSession, branching
from ..types import Explanation, Float32, Percept
from .lookahead import EARLIER_ANSWERS, Lookahead
from .prompt import Prompt, label_to_explain, names_label, prompts_of
from .sampling import REPEAT_PENALTY, Decoding, choose, ends_a_sentence, goes_round, log_softmax, penalise_repeats

PIECE = 128  # positions computed between two looks at the clock; a processor is no faster with more
SOFT_SHARE = 0.8  # of max_tokens; from there on the end of a sentence is the end


class _Ended(Exception):
    """A prompt was not computed to its end; the argument says why."""


def _never() -> str:
    return ""


@dataclass(frozen=True)
class Said:
    """An answer; `finish_reason` is stop, length, or what ended it from outside."""

    text: str
    finish_reason: str
    token_count: int
    first_token_seconds: float


class Reasoner:
    """Talks about percepts. One caller at a time.

    speculate  guess ahead where the session can check several tokens at once (see lookahead.py); the answer is the same
    """

    def __init__(self, session: LlamaSession, tokenizer_path: Path, preset: Preset, seed: int = 0, speculate: bool = True) -> None:
        self._session, self._speculate = session, speculate
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
        self._answers: deque[tuple[int, ...]] = deque(maxlen=EARLIER_ANSWERS)  # newest first

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

    def score_labels(self, prefix: Float32, labels: Sequence[str], transcript: str = "") -> Float32:
        """(labels,) probabilities of each label's words as the whole answer to the `emotion` question; sums to 1.

        Constrained: only labels are scored, each with its end, all in one pass where the session branches. What was said is left out unless
        `transcript` is given, for a model whose labels were trained with it: whoever speaks could name a label.
        ValueError unless there are labels, all different.
        """
        if not labels or len(set(labels)) != len(labels):
            raise ValueError(f"labels must be given and all different, got {', '.join(labels) or 'none'}")
        logits = self._question(prefix, self._prompts.build("emotion", transcript=transcript))
        answers = [(*self._tokenizer.encode(label, add_special_tokens=False).ids, self._end) for label in labels]
        chances = self._chances(answers, logits)
        found = np.array([sum(chances[answer[:place]][token] for place, token in enumerate(answer)) for answer in answers])
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

        What is explained: see `label_to_explain`. Ends with reason stop, length, deadline or cancelled; near `max_tokens` no new sentence
        is begun. An answer of nano's that what was said has led away from its label is given again without it.
        """
        started = time.monotonic()

        def ended() -> str:
            if cancelled():
                return "cancelled"
            return "deadline" if time.monotonic() - started >= deadline_seconds else ""

        transcript = percept.transcript if self._preset.llama.reads_transcripts else ""
        label = label_to_explain(percept.state, self._preset)
        prompt = self._prompts.build("reason", label, transcript, question)
        decoding = Decoding(max_tokens, temperature, repeat_penalty=REPEAT_PENALTY if temperature > 0 else 1.0)
        said = self.answer(percept.prefix, prompt, decoding, on_text, ended)
        checkable = transcript and not question and self._prompts.names_label and said.finish_reason == "stop"
        if checkable and not names_label(said.text, label, self._preset.labels):
            said = self.answer(percept.prefix, self._prompts.build("reason", label), decoding, on_text, ended)
        spent = time.monotonic() - started
        return Explanation(percept.state, said.text, True, said.finish_reason, said.token_count, said.first_token_seconds, spent)

    def answer(
        self,
        prefix: Float32,
        prompt: Prompt,
        decoding: Decoding,
        on_text: Callable[[str], None] | None = None,
        ended: Callable[[], str] = _never,
        seed: int | None = None,
    ) -> Said:
        """What the model says to a prompt of any wording around a window's prefix (P, hidden).

        ended  "" to go on, or why to stop
        seed   of what is drawn at a temperature above 0, so that the answer hangs on nothing said before; None: it may
        ValueError when the prompt has no room in the model's context.
        """
        rng = self._rng if seed is None else np.random.default_rng(seed)
        answer = _Answer(self._tokenizer, time.monotonic(), on_text)
        reason = ended() or self._speak(prefix, prompt, answer, ended, decoding, rng)
        self._answers.appendleft(tuple(answer.ids))
        return Said(answer.text, reason, len(answer.ids), answer.first_seconds)

    def _speak(
        self,
        prefix: Float32,
        prompt: Prompt,
        answer: _Answer,
        ended: Callable[[], str],
        decoding: Decoding,
        rng: np.random.Generator,
    ) -> str:
        """Grow the answer until something ends it, and say what did."""
        try:
            logits = self._question(prefix, prompt, ended)
        except _Ended as end:
            return str(end)
        for token in prompt.opening:
            answer.add(token)
        ahead = Lookahead(self._session, self._preset.llama.context, (*self._answers, prompt.after_prefix), self._speculate)
        begun = len(prompt.opening)
        room = min(decoding.max_tokens, begun + self._preset.llama.context - self._session.position)
        for count in range(begun + 1, room + 1):
            if reason := ended():
                return reason
            token = self._next(logits, answer.ids, decoding, rng)
            if token == self._end or (decoding.tidy and goes_round([*answer.ids, token])):
                return "stop"
            answer.add(token)
            late = decoding.tidy and count >= SOFT_SHARE * decoding.max_tokens
            if count == room or (late and ends_a_sentence(answer.text)):
                return "length"
            logits = ahead.after(token)
        return "length"

    def _question(self, prefix: Float32, prompt: Prompt, ended: Callable[[], str] = _never) -> Float32:
        """Logits after the prompt; computes only what the cache does not hold. _Ended when `ended` says so on the way."""
        if prompt.before_prefix != self._constant:
            self._constant, self._prefix = (), None  # nothing is held until it has been computed
            self._session.rewind(0)
            self._extend(prompt.before_prefix)
            self._constant, self._constant_end = prompt.before_prefix, self._session.position
        if self._prefix is None or self._prefix is not prefix:
            self._prefix, self._asked = None, ()
            self._session.rewind(self._constant_end)
            self._compute(prefix, ended)
            self._prefix = prefix
        asked = prompt.after_prefix + prompt.opening
        alike = _alike(self._asked, asked[:-1])  # the last one is always computed: its logits are the result
        self._asked = self._asked[:alike]
        self._session.rewind(self._constant_end + prefix.shape[0] + alike)
        logits = self._compute(self._embed(asked[alike:]), ended)
        self._asked = asked
        return logits

    def _compute(self, rows: Float32, ended: Callable[[], str]) -> Float32:
        """Logits after the last row."""
        for start in range(0, len(rows), PIECE):
            if start and (reason := ended()):
                raise _Ended(reason)
            logits = self._session.extend(rows[start : start + PIECE])
        return logits

    def _embed(self, ids: Sequence[int]) -> Float32:
        return self._session.embed(np.array(ids, np.int64))

    def _extend(self, ids: Sequence[int]) -> Float32:
        return self._session.extend(self._embed(ids))

    def _chances(self, answers: Sequence[tuple[int, ...]], logits: Float32) -> dict[tuple[int, ...], Float32]:
        """(vocab,) log probabilities of what follows each beginning of the answers, the empty one first.

        Beginnings that answers share are one node of a tree, and all nodes are computed together; nothing of it stays in the cache.
        """
        here, chances = self._session.position, {(): log_softmax(logits)}
        beginnings = list(dict.fromkeys(answer[:length] for answer in answers for length in range(1, len(answer))))
        beginnings.sort(key=len)
        tree = branching(self._session)
        if tree is None:
            return chances | self._chances_by_turns(beginnings)
        places = {beginning: place for place, beginning in enumerate(beginnings)}
        parents = [places.get(beginning[:-1], -1) for beginning in beginnings]
        rows = tree.extend_tree(self._embed([beginning[-1] for beginning in beginnings]), parents)
        self._session.rewind(here)
        return chances | {beginning: log_softmax(row) for beginning, row in zip(beginnings, rows, strict=True)}

    def _chances_by_turns(self, beginnings: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], Float32]:
        """The same for a session that does not branch: depth first, each node computed once."""
        here, chances = self._session.position, {}
        for beginning in sorted(beginnings):
            self._session.rewind(here + len(beginning) - 1)
            chances[beginning] = log_softmax(self._extend(beginning[-1:]))
        self._session.rewind(here)
        return chances

    def _next(self, logits: Float32, said: Sequence[int], decoding: Decoding, rng: np.random.Generator) -> int:
        """The next token; of the special ones only the end can be said."""
        allowed = penalise_repeats(logits, said, decoding.repeat_penalty).copy()
        allowed[self._unsayable] = -np.inf
        return choose(allowed, decoding.temperature, rng, decoding.top_p)


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
