"""From logits to the next token. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..types import Float32

REPEAT_WINDOW = 24
REPEAT_PENALTY = 1.05  # the published demo's
LOOP_TIMES, LOOP_TOKENS = 3, 12  # a phrase said three times over, twelve tokens in all, is a circle and not a sentence
SENTENCE_TOKENS = 64  # a longer phrase, up to here, is one the second time
SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？")


@dataclass(frozen=True)
class Decoding:
    """How an answer's tokens are chosen, and what ends it beside its own end.

    temperature     0: always the likeliest token
    top_p           a token is drawn from the smallest set that holds so much of the probability
    repeat_penalty  on tokens among the last REPEAT_WINDOW said; 1: none
    tidy            near `max_tokens` no new sentence is begun, and a phrase over and over is the end
    """

    max_tokens: int = 80
    temperature: float = 0.0
    top_p: float = 0.9
    repeat_penalty: float = 1.0
    tidy: bool = True

    def __post_init__(self) -> None:
        if self.max_tokens < 1 or self.temperature < 0 or not 0 < self.top_p <= 1 or self.repeat_penalty <= 0:
            raise ValueError(
                "max_tokens must be at least 1, temperature at least 0, top_p in (0, 1] and repeat_penalty above 0, got "
                f"{self.max_tokens}, {self.temperature:g}, {self.top_p:g} and {self.repeat_penalty:g}"
            )


def log_softmax(logits: Float32) -> Float32:
    """(V,) logits → (V,) log probabilities."""
    shifted = logits - logits.max()
    normalised: Float32 = shifted - np.log(np.exp(shifted).sum())
    return normalised


def penalise_repeats(logits: Float32, recent: Sequence[int], penalty: float = REPEAT_PENALTY) -> Float32:
    """Logits with those of recently said tokens lowered (CTRL, arXiv 1909.05858); a penalty of 1 lowers nothing."""
    if not recent or penalty == 1:
        return logits
    lowered: Float32 = logits.copy()
    places = np.unique(np.asarray(recent[-REPEAT_WINDOW:]))
    lowered[places] = np.where(lowered[places] > 0, lowered[places] / penalty, lowered[places] * penalty)
    return lowered


def choose(logits: Float32, temperature: float, rng: np.random.Generator, top_p: float = 0.9) -> int:
    """The likeliest token at temperature 0, else one drawn from the smallest set that holds `top_p` of the probability."""
    if temperature <= 0:
        return int(logits.argmax())
    probabilities = np.exp(log_softmax(logits / temperature))
    order = np.argsort(-probabilities)
    kept = order[: int(np.searchsorted(np.cumsum(probabilities[order]), top_p)) + 1]
    return int(rng.choice(kept, p=probabilities[kept] / probabilities[kept].sum()))


def goes_round(ids: Sequence[int]) -> bool:
    """Whether the last tokens are one phrase over and over: at least LOOP_TIMES times and LOOP_TOKENS tokens; a longer phrase, twice."""
    for period in range(1, SENTENCE_TOKENS + 1):
        length = period * (max(LOOP_TIMES, -(-LOOP_TOKENS // period)) if period <= LOOP_TOKENS else 2)
        tail = list(ids[-length:])
        if len(tail) == length and tail[period:] == tail[:-period]:
            return True
    return False


def ends_a_sentence(text: str) -> bool:
    """Whether nothing is missing behind it."""
    return text.rstrip("\"'”’)").endswith(SENTENCE_ENDS)
