"""Figures from arrays, for many resamples at once.

Every function takes `weights` (B, N): how often each of N clips counts in each of B resamples. A row of ones gives the figure itself, the
rows of a bootstrap its spread: there is one formula for both. Each figure comes back as (B,).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Figures = dict[str, Float64]

OUTSIDE = -1  # an answer that is none of the labels: always wrong
JACCARD_EPSILON = 1e-6  # under the fraction, as Emotion-LLaMAv2's scorer has it


def _ratio(above: Float64, below: Float64, empty: float = 0.0) -> Float64:
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, empty), where=below > 0)


def _mean(values: Float64, weights: Float64) -> Float64:
    """(N,) values over each row of weights; NaN are left out, and a row with nothing else is NaN."""
    kept = np.isfinite(values)
    return _ratio(weights[:, kept] @ values[kept], weights[:, kept].sum(axis=1), np.nan)


def _over(rows: Sequence[Float64] | Float64) -> Float64:
    """Mean over (R, B) rows; NaN are left out, and where there is nothing else it is NaN."""
    table = np.asarray(rows, np.float64)
    known = np.isfinite(table)
    return _ratio(np.where(known, table, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64), np.nan)


def single_label(truth: Int64, said: Int64, labels: int, weights: Float64) -> Figures:
    """accuracy, war (the same figure under its other name), weighted_f1, uar: mean recall over the labels that occur.

    truth, said  (N,) indices of labels; said may be OUTSIDE
    """
    of = np.eye(labels + 1)
    true, answered = of[truth][:, :labels], of[said][:, :labels]  # OUTSIDE is the last row, whose column is cut off
    occurring, answers, right = weights @ true, weights @ answered, weights @ (true * answered)
    total = weights.sum(axis=1)
    recall = _ratio(right, occurring, np.nan)
    f1 = _ratio(2 * right, occurring + answers)
    accuracy = _ratio(right.sum(axis=1), total, np.nan)
    return {
        "accuracy": accuracy,
        "weighted_f1": _ratio((occurring * f1).sum(axis=1), total, np.nan),
        "uar": _over(recall.T),
        "war": accuracy,
    }


def multi_label(truth: Bool, said: Bool, scores: Float64 | None, weights: Float64) -> Figures:
    """micro_f1, samples_f1, jaccard, mean_average_precision (over the labels that occur).

    truth, said  (N, L)
    scores       (N, L) that the average precision ranks by; None: the answers themselves, 0 or 1, as Emotion-LLaMAv2's scorer does
    """
    both, either = (truth & said).sum(axis=1), (truth | said).sum(axis=1)
    sizes = truth.sum(axis=1) + said.sum(axis=1)
    ranked = said.astype(np.float64) if scores is None else scores
    precisions = np.stack([average_precision(truth[:, i], ranked[:, i], weights) for i in range(truth.shape[1])])
    return {
        "micro_f1": _ratio(2 * (weights @ both), weights @ sizes.astype(np.float64)),
        "samples_f1": _mean(_ratio(2.0 * both, sizes.astype(np.float64)), weights),
        "jaccard": _mean(both / (either + JACCARD_EPSILON), weights),
        "mean_average_precision": _over(precisions),
    }


def average_precision(truth: Bool, scores: Float64, weights: Float64) -> Float64:
    """Area under the steps of precision over recall; equal scores are one step. NaN in a resample where the label does not occur."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), scores.size - 1)
    hits = np.cumsum(weights[:, order] * truth[order], axis=1)[:, ends]
    seen = np.cumsum(weights[:, order], axis=1)[:, ends]
    gained = np.diff(hits, axis=1, prepend=0.0)
    return _ratio((_ratio(hits, seen) * gained).sum(axis=1), hits[:, -1], np.nan)


def hit_rate(hits: Float64, shares: Float64, weights: Float64) -> Figures:
    """hit_rate and m_score, means over wheels of the means over clips.

    hits    (5, N) whether the truth is among what was said; NaN where the wheel does not know the truth (neutral)
    shares  (5, N) hits over how many of all truths' emotions were said: who names everything hits little
    """
    return {
        "hit_rate": _over([_mean(row, weights) for row in hits]),
        "m_score": _over([_mean(row, weights) for row in shares]),
    }


def overlap(precision: Float64, recall: Float64, weights: Float64) -> Figures:
    """f_score: on each wheel F of mean precision and mean recall, then the mean over wheels.

    precision, recall  (5, N), NaN where the wheel knows no word of the truth
    """
    means = [(_mean(p, weights), _mean(r, weights)) for p, r in zip(precision, recall, strict=True)]
    return {
        "f_score": _over([np.where(np.isfinite(p), _ratio(2 * p * r, p + r), np.nan) for p, r in means]),
        "precision": _over([p for p, _ in means]),
        "recall": _over([r for _, r in means]),
    }


def bootstrap_weights(groups: Int64, draws: int, rng: np.random.Generator) -> Float64:
    """(draws, N) how often each clip counts when whole groups are drawn with replacement.

    groups  (N,) which group each clip belongs to, 0 to G - 1
    """
    count = int(groups.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count), draws).astype(np.float64)[:, groups]
