"""What was said → arrays to score: labels found in texts, one rule a kind of benchmark.

A response is lower-cased and stripped; the label of a think answer is what its <answer> holds. A word that is no label is not guessed at:
it is wrong, and counted. `reference` scores as Emotion-LLaMAv2's and MERTools' programs do, where those differ: labels must match letter
for letter ("anger" is not "angry", and nothing meets the truth "Anger"), and nothing is taken out of <answer>.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..problems import Problems
from .metrics import OUTSIDE, Figures, Float64, hit_rate, multi_label, overlap, single_label
from .predictions import Prediction
from .registry import Benchmark
from .wheels import Wheels, parse_words

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_COMMON = re.compile(r"[;,]")
_LABEL_SEPARATORS = re.compile(r"[;,\n]")


@dataclass(frozen=True)
class Prepared:
    """One benchmark's answers, ready to be weighed.

    kept     the predictions behind the N columns, in their order
    figures  weights (B, N) → figures (B,)
    notes    what is worth telling: counts by name
    """

    kept: Sequence[Prediction]
    figures: Callable[[Float64], Figures]
    notes: Counter[str] = field(default_factory=Counter)


def final_answer(response: str, reference: bool = False) -> str:
    """The last <answer> of a response, or all of it; no end marks of a language model."""
    if reference:
        return response.strip()
    found = _ANSWER.findall(response)
    return (found[-1] if found else response).replace("</s>", " ").replace("<s>", " ").strip()


def prepare(
    benchmark: Benchmark, predictions: Sequence[Prediction], problems: Problems, where: str, wheels: Wheels | None, reference: bool
) -> Prepared:
    """Arrays of one benchmark. ValueError where wheels are needed and None is given, or when nothing is left to score."""
    if benchmark.kind in ("hit", "overlap"):
        if wheels is None:
            raise ValueError(f"{benchmark.name} is scored on emotion wheels; give MERTools' folder: --wheels DIR")
        prepared = _on_wheels(benchmark, predictions, wheels, reference)
    elif benchmark.kind == "multi":
        prepared = _several(benchmark, predictions, problems, where, reference)
    else:
        prepared = _one(benchmark, predictions, problems, where, reference)
    if not prepared.kept:
        raise ValueError(f"{where}: nothing to score for {benchmark.name}; first problem: {problems.told[0] if problems.told else 'none'}")
    return prepared


def _plain(text: str) -> str:
    return text.strip().lower()


def _one(benchmark: Benchmark, predictions: Sequence[Prediction], problems: Problems, where: str, reference: bool) -> Prepared:
    kept: list[Prediction] = []
    truths: list[str] = []
    said: list[str] = []
    notes: Counter[str] = Counter()
    for item in predictions:
        plain = _plain(item.answer)
        truth = (item.answer if benchmark.kind == "single" else plain) if reference else benchmark.label(plain)
        if not truth:
            problems.add(
                "truth outside the label set", f"{where}:{item.row}", detail=f"{item.answer!r}; it has {', '.join(benchmark.labels)}"
            )
        elif benchmark.kind == "polarity" and plain == "neutral":
            notes["neutral truths dropped"] += 1
        else:
            answer = _plain(final_answer(item.response, reference))
            kept.append(item)
            truths.append(truth)
            said.append(answer if reference else benchmark.label(answer.rstrip(".!")))
    labels = sorted(set(truths) | (set() if reference else set(benchmark.labels)))
    places = {label: i for i, label in enumerate(labels)}
    true = np.array([places[label] for label in truths], np.int64)
    answers = np.array([places.get(label, OUTSIDE) for label in said], np.int64)
    notes["answers outside the label set"] = int((answers == OUTSIDE).sum())
    return Prepared(kept, lambda weights: single_label(true, answers, len(labels), weights), notes)


def split_labels(text: str, reference: bool = False) -> list[str]:
    """Lower-case labels between commas, semicolons and, unless `reference`, ends of lines."""
    return [word for word in (_plain(part) for part in (_COMMON if reference else _LABEL_SEPARATORS).split(text)) if word]


def _several(benchmark: Benchmark, predictions: Sequence[Prediction], problems: Problems, where: str, reference: bool) -> Prepared:
    """Labels are those that occur among the truths; others that were said do not count, as in the reference, but are told."""
    kept: list[Prediction] = []
    truths: list[set[str]] = []
    said: list[set[str]] = []
    notes: Counter[str] = Counter()
    for item in predictions:
        words = split_labels(item.answer, reference)
        truth = set(words) if reference else {benchmark.label(word) for word in words}
        if "" in truth or not truth:
            problems.add(
                "truth outside the label set", f"{where}:{item.row}", detail=f"{item.answer!r}; it has {', '.join(benchmark.labels)}"
            )
            continue
        answer = final_answer(item.response, reference)
        words = [word if reference else word.strip(" .[]'\"") for word in split_labels(answer, reference)]
        kept.append(item)
        truths.append(truth)
        said.append({word if reference else benchmark.label(word) or word for word in words})
    labels = sorted(set().union(*truths))
    ignored = [word for words in said for word in words if word not in labels]
    notes["labels said that no truth has"] = len(ignored)
    true = np.array([[label in words for label in labels] for words in truths], np.bool_).reshape(len(kept), len(labels))
    answers = np.array([[label in words for label in labels] for words in said], np.bool_).reshape(true.shape)
    scores = None if reference else _scores_of(benchmark, kept, labels, notes)
    return Prepared(kept, lambda weights: multi_label(true, answers, scores, weights), notes)


def _scores_of(benchmark: Benchmark, kept: Sequence[Prediction], labels: Sequence[str], notes: Counter[str]) -> Float64 | None:
    """(N, L) where every line has scores; a label without one counts as never said."""
    with_scores = sum(item.scores is not None for item in kept)
    if not kept or with_scores < len(kept):
        notes["scores left aside, for not every line has them"] = with_scores
        return None
    notes["lines ranked by their scores"] = with_scores
    named = [{benchmark.label(label) or label: score for label, score in (item.scores or {}).items()} for item in kept]
    least = min((score for scores in named for score in scores.values()), default=0.0)
    return np.array([[scores.get(label, least - 1.0) for label in labels] for scores in named], np.float64)


def _on_wheels(benchmark: Benchmark, predictions: Sequence[Prediction], wheels: Wheels, reference: bool) -> Prepared:
    # MERTools puts [ ] around every response and takes one pair off again, so brackets that a model wrote stay in its words.
    texts = [f"[{item.response}]" if reference else final_answer(item.response) for item in predictions]
    said = [wheels.clusters(parse_words(text, reference)) for text in texts]
    words = [parse_words(item.answer, reference) for item in predictions]
    truths = [wheels.clusters(of) for of in words]
    candidates = wheels.clusters({word for of in words for word in of})
    first, second = np.full((2, len(wheels.hubs), len(predictions)), np.nan)
    for i, (pred, true) in enumerate(zip(said, truths, strict=True)):
        for wheel, (of_pred, of_true) in enumerate(zip(pred, true, strict=True)):
            if not of_true:
                continue
            both = len(of_pred & of_true)
            if benchmark.kind == "hit":
                among = len(of_pred & candidates[wheel])
                first[wheel, i], second[wheel, i] = float(both > 0), both / among if among else 0.0
            else:
                first[wheel, i], second[wheel, i] = (both / len(of_pred) if of_pred else 0.0), both / len(of_true)
    notes = Counter({"truths that no wheel knows": int(np.isnan(first).all(axis=0).sum())})
    notes["answers that no wheel knows"] = sum(not any(pred) for pred in said)
    formula = hit_rate if benchmark.kind == "hit" else overlap
    return Prepared(predictions, lambda weights: formula(first, second, weights), notes)
