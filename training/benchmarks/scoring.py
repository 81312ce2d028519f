"""Predictions → figures with their intervals, one benchmark at a time, and the averages over them.

Intervals are percentiles of a bootstrap over clips, or over speakers where every line names one: clips of one person are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..problems import Problems
from .answers import prepare
from .metrics import Figures, Float64, bootstrap_weights
from .predictions import read_predictions
from .registry import BENCHMARKS, Benchmark, find_benchmark
from .wheels import Wheels

DRAWS, SEED = 1000, 0
SLICE = 100  # resamples at once: (1000, N) of a large N is a lot of memory
INTERVAL = (2.5, 97.5)
AVERAGES: Mapping[str, tuple[str, ...]] = {
    "Avg-9": tuple(name for name, benchmark in BENCHMARKS.items() if benchmark.in_uni_bench),
    "Avg-18": tuple(BENCHMARKS),
}


@dataclass(frozen=True)
class Score:
    """One benchmark, scored.

    clips       that were scored; lines: of how many usable ones, neutral truths among them
    figures     by name, as fractions; NaN where there was nothing to measure
    intervals   95 % of each figure
    draws       (B,) of the headline over the resamples, for the averages
    fabricated  how many of the clips say that they were made up
    """

    benchmark: Benchmark
    clips: int
    lines: int
    figures: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    draws: Float64
    interval_over: str
    fabricated: int
    notes: Mapping[str, int]
    problems: Problems

    @property
    def headline(self) -> float:
        return self.figures[self.benchmark.headline]

    def record(self) -> dict[str, Any]:
        """As JSON holds it; a figure that is not there is null."""
        return {
            "benchmark": self.benchmark.name,
            "clips": self.clips,
            "lines": self.lines,
            "published_clips": self.benchmark.size or None,
            "headline": self.benchmark.headline,
            "figures": {
                name: {"value": _finite(value), "interval_95": [_finite(end) for end in self.intervals[name]]}
                for name, value in self.figures.items()
            },
            "interval_over": self.interval_over,
            "fabricated_clips": self.fabricated,
            "notes": dict(self.notes),
            "problems": {"counts": dict(self.problems.counts), "first": self.problems.told},
        }


@dataclass(frozen=True)
class Average:
    """Mean headline of some benchmarks; `missing` names those without one, and then there is no value."""

    name: str
    value: float
    interval: tuple[float, float]
    missing: tuple[str, ...]
    fabricated: bool

    def record(self) -> dict[str, Any]:
        ends = [_finite(end) for end in self.interval]
        return {"value": _finite(self.value), "interval_95": ends, "missing": list(self.missing), "fabricated": self.fabricated}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def score_file(
    path: Path,
    name: str,
    wheels: Wheels | None = None,
    strict: bool = False,
    reference: bool = False,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Score:
    """Score one file.

    wheels     for hit rate and open-set F-score; see `read_wheels`
    strict     StrictError at the first line that cannot be used, instead of counting it
    reference  as the published programs score; see `answers`
    draws      of the bootstrap; 0 leaves intervals out
    FileNotFoundError, ValueError.
    """
    benchmark, problems = find_benchmark(name), Problems(strict)
    doubles = reference and benchmark.kind not in ("hit", "overlap")
    predictions, others = read_predictions(path, benchmark, problems, doubles)
    prepared = prepare(benchmark, predictions, problems, str(path), wheels, reference)
    kept = prepared.kept
    whole = prepared.figures(np.ones((1, len(kept))))
    groups, over = _groups([item.speaker for item in kept])
    rng = np.random.default_rng(seed)
    sizes = [SLICE] * (draws // SLICE) + ([draws % SLICE] if draws % SLICE else [])
    slices = [prepared.figures(bootstrap_weights(groups, size, rng)) for size in sizes]
    resampled = {figure: np.concatenate([part[figure] for part in slices]) if slices else np.zeros(0) for figure in whole}
    notes = {what: count for what, count in prepared.notes.items() if count}
    if others:
        notes["lines of other modes"] = sum(others.values())
    return Score(
        benchmark=benchmark,
        clips=len(kept),
        lines=len(predictions),
        figures={figure: float(value[0]) for figure, value in whole.items()},
        intervals=_intervals(resampled),
        draws=resampled[benchmark.headline],
        interval_over=over,
        fabricated=sum(item.fabricated for item in kept),
        notes=notes,
        problems=problems,
    )


def _groups(speakers: Sequence[str]) -> tuple[np.ndarray[Any, np.dtype[np.int64]], str]:
    names, group = np.unique(np.asarray(speakers), return_inverse=True)
    if len(names) < 2 or "" in names:
        return np.arange(len(speakers)), "clips"
    return group.astype(np.int64), f"{len(names)} speakers"


def _intervals(resampled: Figures) -> dict[str, tuple[float, float]]:
    return {figure: _interval(values) for figure, values in resampled.items()}


def _interval(values: Float64) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not known.size:
        return (float("nan"), float("nan"))
    low, high = np.percentile(known, INTERVAL)
    return float(low), float(high)


def averages(scores: Mapping[str, Score]) -> list[Average]:
    """Avg-9 and Avg-18 of the headlines, each benchmark counting once whatever its size."""
    found = []
    for name, members in AVERAGES.items():
        missing = tuple(member for member in members if member not in scores or not np.isfinite(scores[member].headline))
        held = [scores[member] for member in members if member not in missing]
        fabricated = any(score.fabricated for score in held)
        if missing:
            found.append(Average(name, float("nan"), (float("nan"), float("nan")), missing, fabricated))
            continue
        draws = np.mean([score.draws for score in held], axis=0)
        found.append(Average(name, float(np.mean([score.headline for score in held])), _interval(draws), (), fabricated))
    return found
