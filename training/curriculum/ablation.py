"""The paper's two ablations on a published preset: what stands between the streams, and in which order it is taught.

    fusion       perception with each of five fusions
    curriculum   both stages' samples at once for twice the steps; perception alone; perception, then cognition
Every row has the same start, seed, samples and steps; what differs is said in its name. RUN/ablations.json holds what is done, so a stop
costs one row; RUN/ablation_<group>.md is the table, beside the published figures.
"Fusion none" is the mean of the streams: as many tokens as the others, nothing weighed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ros2_emollama.model.folder import open_folder

from ..ablation_rows import kept_rows
from ..benchmarks.tables import WATERMARK
from ..whole import write_whole
from .benching import HEADLINES, Benching, Figures
from .plan import Plan
from .teach import run_stage

FUSIONS: Mapping[str, str] = {
    "none": "none",
    "q_former": "Q-Former",
    "attention": "attention",
    "conv": "convolution",
    "conv_attention": "Conv-Attention",
}
PUBLISHED: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "fusion": {
        "none": (77.43, 65.13),
        "q_former": (77.95, 65.85),
        "attention": (77.65, 65.37),
        "conv": (77.93, 65.92),
        "conv_attention": (78.91, 66.05),
    },
    "curriculum": {"joint": (75.54, 64.20), "perception": (78.91, 66.05), "cognition": (78.52, 66.63)},
}
"""Avg-9 and Avg-18 of arXiv 2601.16449, Tables 9 and 10; known to us second-hand."""
CURRICULA: Mapping[str, str] = {"joint": "both at once", "perception": "perception alone", "cognition": "perception, then cognition"}
Row = Callable[[], tuple[Path, dict[str, float]]]
PlanFor = Callable[[Path, Any, "Path | None"], Plan]


def ablate(groups: Sequence[str], plan_for: PlanFor, run: Path, benching: Benching, steps: int) -> list[Path]:
    """Train and score every row that is not done; the tables' paths.

    plan_for  (run, stage, start or None) → that stage's plan with `steps` in its recipe; ValueError for a group that is none
    """
    path = run / "ablations.json"
    tables = []
    for group in groups:
        if group not in GROUPS:
            raise ValueError(f"a published preset has the groups {', '.join(GROUPS)}, got {group}")
        made = GROUPS[group](plan_for, run / group, steps)
        works = {name: partial(_scored, make, benching, run / group / name, f"{group}: {name}") for name, make in made.items()}
        rows = kept_rows(path, steps, group, works)
        table = run / f"ablation_{group}.md"
        write_whole(table, markdown(group, rows))
        tables.append(table)
    return tables


def _scored(make: Row, benching: Benching, folder: Path, title: str) -> dict[str, Any]:
    """A row trained, then asked all benchmarks."""
    model, figures = make()
    scored = benching.score(model, folder / "predictions", title)
    return {**figures, **scored, "fabricated": bool(open_folder(model).manifest.info["training"]["fabricated_data"])}


def _fusions(plan_for: PlanFor, run: Path, steps: int) -> dict[str, Row]:
    def row(method: str) -> Row:
        def work() -> tuple[Path, dict[str, float]]:
            plan = replace(plan_for(run / method, "1", None), fusion=method)
            return plan.model, run_stage(plan)

        return work

    return {method: row(method) for method in FUSIONS}


def _curricula(plan_for: PlanFor, run: Path, steps: int) -> dict[str, Row]:
    """The second stage goes on from the row before it: perception is trained once."""

    def joint() -> tuple[Path, dict[str, float]]:
        plan = plan_for(run / "joint", "joint", None)
        plan = replace(plan, recipe=replace(plan.recipe, steps=2 * steps))
        return plan.model, run_stage(plan)

    def perception() -> tuple[Path, dict[str, float]]:
        plan = plan_for(run / "perception", "1", None)
        return plan.model, run_stage(plan)

    def cognition() -> tuple[Path, dict[str, float]]:
        plan = plan_for(run / "cognition", "2", perception()[0])
        return plan.model, run_stage(plan)

    return {"joint": joint, "perception": perception, "cognition": cognition}


GROUPS: Mapping[str, Callable[[PlanFor, Path, int], dict[str, Row]]] = {
    "fusion": _fusions,
    "curriculum": _curricula,
}


def markdown(group: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One of the paper's tables with our figures beside it, in percent."""
    titles = FUSIONS if group == "fusion" else CURRICULA
    lines = [f"**{WATERMARK}**", ""] if any(row.get("fabricated") for row in rows.values()) else []
    lines += [f"| {group} | Avg-9 | Avg-18 | answer loss | published Avg-9 | published Avg-18 |", "|---" * 6 + "|"]
    for name, row in rows.items():
        told = [_percent(row, average) for average in HEADLINES]
        published = [f"{value:.2f}" for value in PUBLISHED[group][name]]
        lines.append(f"| {titles[name]} | {' | '.join(told)} | {row['answer_loss']:.3f} | {' | '.join(published)} |")
    lines += ["", "Published: arXiv 2601.16449, known to us second-hand. Answer loss: of the last steps, on training samples."]
    return "\n".join(lines) + "\n"


def _percent(row: Figures, name: str) -> str:
    value = row.get(name)
    return "–" if value is None else f"{value:.2f}"
