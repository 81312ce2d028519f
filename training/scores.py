"""Answers and truth → figures. Arrays only: no model, no files.

In:  probabilities (N, L) of N windows over L labels, what is true of each, and who is in it.
Out: a table of figures. Every window counts: none is passed over because the model was not sure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

BOOTSTRAPS = 1000
CALIBRATION_BINS = 15
TEMPERATURES = tuple(float(t) for t in np.exp(np.linspace(np.log(0.4), np.log(4.0), 70)))
LEAST_PROBABILITY = 1e-12  # a truth given no probability at all costs -log of this


def report_of(
    probabilities: Float64,
    truth: Sequence[str] | Int64,
    speakers: Sequence[str] | None,
    labels: Sequence[str],
    among: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Every figure of one set of windows.

    probabilities  (N, L), rows sum to 1
    truth          (N,) labels, or their indices
    speakers       (N,) names, or None where they are not known
    among          score only windows whose true label is one of these: what two corpora have in common. The answer still is one of all L
                   labels, and any outside `among` is wrong; `restrict` first where the model must choose among these alone.

    returns  n; accuracy; uar: mean recall over the labels that occur; uar_interval_95 with interval_over (see `bootstrap_uar`); recall by
             label; labels; confusion (rows: truth); nll; brier; ece; ece_crossfit; ece_chance (see `chance_calibration_error`)
    ValueError when there is nothing to score.
    """
    true = truth_indices(truth, labels)
    names = np.array(speakers if speakers is not None else [""] * true.size)
    if among is not None:
        kept = np.isin(true, [list(labels).index(label) for label in among])
        probabilities, true, names = probabilities[kept], true[kept], names[kept]
    if not true.size:
        raise ValueError("there is no window to score; give windows whose true label is one of " + ", ".join(among or labels))
    said = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (true, said), 1)
    recall = {label: float(confusion[i, i] / confusion[i].sum()) for i, label in enumerate(labels) if confusion[i].sum()}
    return {
        "n": int(true.size),
        "accuracy": float((true == said).mean()),
        "uar": float(np.mean(list(recall.values()))),
        "uar_interval_95": bootstrap_uar(true, said, names),
        "interval_over": _groups_of(names)[1],
        "recall": recall,
        "labels": list(labels),
        "confusion": confusion.tolist(),
        "nll": negative_log_likelihood(probabilities, true),
        "brier": brier_score(probabilities, true),
        "ece": expected_calibration_error(probabilities, true),
        "ece_crossfit": expected_calibration_error(crossfit(probabilities, true, names), true),
        "ece_chance": chance_calibration_error(probabilities),
    }


def truth_indices(truth: Sequence[str] | Int64, labels: Sequence[str]) -> Int64:
    """(N,) indices of what is given as labels or as indices already. ValueError naming a label that is not among `labels`."""
    given = np.asarray(truth)
    if np.issubdtype(given.dtype, np.integer):
        return given.astype(np.int64)
    places = {label: i for i, label in enumerate(labels)}
    unknown = sorted(set(given.tolist()) - set(places))
    if unknown:
        raise ValueError(f"truth holds {unknown[0]!r}; it must be one of {', '.join(labels)}")
    return np.array([places[label] for label in given.tolist()], np.int64)


def restrict(probabilities: Float64, labels: Sequence[str], among: Sequence[str]) -> Float64:
    """The same answers when only `among` may be said: the others' probability is 0, the rest sums to 1 again. (N, L)."""
    allowed = np.array([label in among for label in labels])
    kept = np.where(allowed, np.maximum(probabilities, LEAST_PROBABILITY), 0.0)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True), np.float64)


def negative_log_likelihood(probabilities: Float64, true: Int64) -> float:
    """Mean -log of the truth's probability, in nats."""
    chosen = probabilities[np.arange(true.size), true]
    return float(-np.log(np.maximum(chosen, LEAST_PROBABILITY)).mean())


def brier_score(probabilities: Float64, true: Int64) -> float:
    """Mean over windows of the squared distance to the truth, summed over labels: 0 is perfect, 2 is certain and wrong."""
    wanted = np.eye(probabilities.shape[1])[true]
    return float(np.square(probabilities - wanted).sum(axis=1).mean())


def expected_calibration_error(probabilities: Float64, true: Int64, bins: int = CALIBRATION_BINS) -> float:
    """How far confidence is from being right, on average.

    A window's confidence is the probability of its likeliest label. Confidences are sorted into `bins` bins of equal width over (0, 1],
    each closed above; a bin's error is |share of its windows whose likeliest label is true - their mean confidence|; the ECE is the mean
    of the bins' errors, each weighed by its windows. 0 is calibrated.
    """
    right = (probabilities.argmax(axis=1) == true).astype(np.float64)
    return _mean_gap(probabilities.max(axis=1), right, bins)


def chance_calibration_error(probabilities: Float64, bins: int = CALIBRATION_BINS, draws: int = 200, seed: int = 0) -> float:
    """The ECE that perfectly calibrated answers of these confidences show on average: a bin of few windows is never quite even.

    An ECE that is no larger says nothing against the calibration.
    """
    confidence, rng = probabilities.max(axis=1), np.random.default_rng(seed)
    return float(
        np.mean([_mean_gap(confidence, (rng.random(confidence.size) < confidence).astype(np.float64), bins) for _ in range(draws)])
    )


def _mean_gap(confidence: Float64, right: Float64, bins: int) -> float:
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=right - confidence, minlength=bins)  # a bin's windows times (accuracy - confidence)
    return float(np.abs(gaps).sum() / confidence.size)


def crossfit(probabilities: Float64, true: Int64, speakers: Sequence[str] | npt.NDArray[Any]) -> Float64:
    """(N, L) the same answers, each at the temperature that is best for the other speakers (for the other half of windows where there are
    not two speakers): what calibration is worth on somebody it was not fitted to."""
    group, over = _groups_of(speakers)
    parts = group if over != "windows" else np.arange(true.size) % 2
    logs, result = np.log(np.maximum(probabilities, LEAST_PROBABILITY)), probabilities.copy()
    for part in np.unique(parts):
        inside = parts == part
        if inside.all():
            continue
        best, _ = best_temperature(logs[~inside], true[~inside], TEMPERATURES)
        result[inside] = _tempered(logs[inside], best)
    return result


def best_temperature(logits: Float64, true: Int64, candidates: Sequence[float]) -> tuple[float, float]:
    """The candidate at which the truth's mean negative log likelihood is least, and that. logits (N, L), or log probabilities."""
    losses = [negative_log_likelihood(_tempered(logits, t), true) for t in candidates]
    least = int(np.argmin(losses))
    return candidates[least], losses[least]


def _tempered(logs: Float64, temperature: float) -> Float64:
    scaled = logs / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def _groups_of(speakers: Sequence[str] | npt.NDArray[Any]) -> tuple[Int64, str]:
    """(N,) which group each window is drawn with, and what the groups are: speakers where there are at least two, single windows else."""
    names, group = np.unique(np.asarray(speakers), return_inverse=True)
    if names.size < 2:
        return np.arange(len(speakers)), "windows"
    return group.astype(np.int64), f"{names.size} speakers"


def bootstrap_uar(true: Int64, said: Int64, speakers: Sequence[str] | npt.NDArray[Any], seed: int = 0) -> list[float]:
    """95 % percentile interval of the UAR; whole speakers are drawn where there are at least two, single windows else.

    Between two or three speakers it is no more than a hint: its ends are single speakers' recalls.
    """
    group, _ = _groups_of(speakers)
    groups, width = int(group.max()) + 1, int(max(true.max(), said.max())) + 1
    counts, right = np.zeros((groups, width)), np.zeros((groups, width))
    np.add.at(counts, (group, true), 1.0)
    np.add.at(right, (group, true), (true == said).astype(np.float64))
    # Drawing G groups of G with replacement is drawing how often each comes; in slices, for (1000, N) of a large N is a lot of memory.
    rng, values = np.random.default_rng(seed), []
    for _ in range(10):
        times = rng.multinomial(groups, np.full(groups, 1 / groups), BOOTSTRAPS // 10).astype(np.float64)
        occurring = times @ counts
        recall = np.divide(times @ right, occurring, out=np.full_like(occurring, np.nan), where=occurring > 0)
        values.append(np.nanmean(recall, axis=1))
    low, high = np.percentile(np.concatenate(values), (2.5, 97.5))
    return [float(low), float(high)]


def share_interval(count: int, total: int) -> list[float]:
    """95 % interval of a share (Wilson's): holds at 0 and at 1, where a bootstrap has nothing to draw."""
    z, share = 1.959964, count / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return [float(max(0.0, middle - half)), float(min(1.0, middle + half))]
