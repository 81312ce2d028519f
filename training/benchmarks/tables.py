"""Scores → one table in Markdown and in LaTeX, beside the published figures.

Whatever rests on fabricated data is marked in its cell, in the table's title and above it: nobody can carry such a number away by mistake.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .registry import AFFECT_GPT, BENCHMARKS, EMOTION_LLAMA, EMOTION_LLAMA_V2, PUBLISHED_AVERAGES, SOURCES
from .scoring import Average, Score, averages

METHODS = (EMOTION_LLAMA, AFFECT_GPT, EMOTION_LLAMA_V2)
FABRICATED = "FABRICATED DATA"
WATERMARK = f"{FABRICATED}: these figures say that the programs run, and nothing of how good a model is."
NAMES: Mapping[str, str] = {
    "hit_rate": "hit rate",
    "f_score": "F-score, open set",
    "weighted_f1": "weighted F1",
    "mean_average_precision": "mAP",
    "accuracy": "accuracy",
    "micro_f1": "micro-F1",
    "samples_f1": "samples-F1",
    "jaccard": "Jaccard",
    "uar": "UAR",
    "war": "WAR",
    "m_score": "M-score",
    "precision": "precision",
    "recall": "recall",
}


@dataclass(frozen=True)
class Row:
    """One line of the table, in percent as texts."""

    title: str
    clips: str
    metric: str
    value: str
    interval: str
    published: tuple[str, ...]
    others: str
    fabricated: bool = False


def rows_of(scores: Mapping[str, Score]) -> list[Row]:
    """All eighteen, also those that were not scored, and then the averages."""
    rows = [_row(name, scores.get(name)) for name in BENCHMARKS]
    return rows + [_average_row(average) for average in averages(scores)]


def _percent(value: float) -> str:
    return f"{100 * value:.2f}" if math.isfinite(value) else "–"


def _interval(ends: tuple[float, float]) -> str:
    return f"{_percent(ends[0])} to {_percent(ends[1])}" if all(map(math.isfinite, ends)) else "–"


def _published(figures: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(f"{figures[method]:.2f}" if method in figures else "–" for method in METHODS)


def _row(name: str, score: Score | None) -> Row:
    benchmark = BENCHMARKS[name]
    metric, published = NAMES[benchmark.headline], _published(benchmark.published)
    if score is None:
        return Row(benchmark.title, "–", metric, "–", "–", published, "")
    short = benchmark.size and score.lines != benchmark.size
    clips = f"{score.lines} of {benchmark.size}" if short else f"{score.lines}"
    told = [figure for figure in score.figures if figure not in (benchmark.headline, "war" if benchmark.headline == "accuracy" else "")]
    others = ", ".join(f"{NAMES[figure]} {_percent(score.figures[figure])}" for figure in told)
    interval = _interval(score.intervals[benchmark.headline])
    return Row(benchmark.title, clips, metric, _percent(score.headline), interval, published, others, bool(score.fabricated))


def _average_row(average: Average) -> Row:
    missing = f"without {', '.join(average.missing)}" if average.missing else ""
    published = _published(PUBLISHED_AVERAGES[average.name])
    value = _percent(average.value)
    return Row(average.name, "", "mean", value, _interval(average.interval), published, missing, average.fabricated and value != "–")


def notes_of(scores: Mapping[str, Score]) -> list[str]:
    """What a reader must know of the numbers: where published ones are from, and what was left out of ours."""
    notes = [f"{method}: {source}." for method, source in SOURCES.items()]
    notes.append("Intervals: 95 %, bootstrap over clips, or over speakers where the lines name them.")
    for score in scores.values():
        told = [f"{count} {what}" for what, count in (*score.notes.items(), *score.problems.counts.items())]
        if told:
            notes.append(f"{score.benchmark.title}: {', '.join(told)}.")
    return notes


def markdown(scores: Mapping[str, Score], title: str = "") -> str:
    """A table with its notes. `title` names the model."""
    rows = rows_of(scores)
    fabricated = any(row.fabricated for row in rows)
    ours = f"this model, {FABRICATED}" if fabricated else "this model"
    header = ("benchmark", "clips", "metric", ours, "95 %", *METHODS, "other figures")
    lines = [f"# {title}", ""] if title else []
    lines += [f"> **{WATERMARK}**", ""] if fabricated else []
    lines += ["| " + " | ".join(header) + " |", "|---|---:|---|---:|---:|" + "---:|" * len(METHODS) + "---|"]
    for row in rows:
        value = f"~~{row.value}~~ (fabricated)" if row.fabricated else row.value
        cells = (row.title, row.clips, row.metric, value, row.interval, *row.published, row.others)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", *(f"* {note}" for note in notes_of(scores))]) + "\n"


_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def _tex(text: str) -> str:
    plain = "".join(_LATEX.get(letter, letter) for letter in text.replace("\\", "/"))
    return plain.replace("–", "--")


def latex(scores: Mapping[str, Score], title: str = "") -> str:
    """A table environment; needs the package booktabs."""
    rows = rows_of(scores)
    fabricated = any(row.fabricated for row in rows)
    columns = ("Benchmark", "Clips", "Metric", "This model", "95 %", *METHODS)
    caption = f"{title or 'Eighteen benchmarks'}. Figures in percent."
    body = [_tex_row(row) for row in rows]
    if fabricated:
        caption = f"{WATERMARK} {caption}"
        body.insert(0, rf"\multicolumn{{{len(columns)}}}{{c}}{{\textbf{{{FABRICATED}}}}} \\ \midrule")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(caption)}}}",
        r"\begin{tabular}{lrlrr" + "r" * len(METHODS) + "}",
        r"\toprule",
        " & ".join(map(_tex, columns)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *(f"% {note}" for note in notes_of(scores)),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex_row(row: Row) -> str:
    cells: Sequence[str] = (row.title, row.clips, row.metric, row.value, row.interval, *row.published)
    plain = [_tex(cell) for cell in cells]
    if row.fabricated:
        plain[3] = rf"\textit{{{plain[3]}, fabricated}}"
    return " & ".join(plain) + r" \\"


def summary(scores: Mapping[str, Score]) -> str:
    """A few lines for a terminal."""
    rows = [row for row in rows_of(scores) if row.value != "–" or row.title.startswith("Avg")]
    lines = [WATERMARK] if any(row.fabricated for row in rows) else []
    for row in rows:
        interval = f" [{row.interval}]" if row.interval != "–" else ""
        lines.append(f"{row.title:16s} {row.metric:18s} {row.value:>6s}{interval}  {row.others}".rstrip())
    return "\n".join(lines)
