"""Filled check sheets → how far people agree with the annotation, and with each other.

Agreement with the annotation is the share of "yes" among the answers, an aspect at a time, as the method reports it for its own data;
agreement among people is Cohen's kappa, the mean over pairs who answered the same clips.
"""

from __future__ import annotations

import csv
import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..problems import Problems
from ..scores import share_interval
from .sheet import ASPECTS

ANSWERS = {"yes": True, "no": False}
PUBLISHED: Mapping[str, tuple[float, ...]] = {  # Emotion-LLaMAv2, figure dataAnnot.png, in the order of ASPECTS
    "MERR-coarse": (0.68, 0.42, 0.18, 0.21, 0.67),
    "MERR-fine": (0.75, 0.72, 0.51, 0.47, 0.75),
    "MER-Caption": (0.56, 0.53, 0.62, 0.57, 0.61),
    "MER-Caption+": (0.47, 0.79, 0.72, 0.73, 0.72),
    "MMEVerse": (0.94, 0.91, 0.89, 0.92, 0.93),
}
Sheets = Mapping[str, Mapping[str, Mapping[str, bool]]]  # checker → clip → aspect → yes


def read_sheets(paths: Sequence[Path], problems: Problems) -> Sheets:
    """FileNotFoundError; ValueError where a file has other columns, or nobody answered anything."""
    sheets: dict[str, dict[str, dict[str, bool]]] = defaultdict(dict)
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"no sheet {path}; fill in the page of `python -m training sheet` and save its answers")
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            reader = csv.DictReader(stream)
            missing = {"checker", "video_id", *ASPECTS} - set(reader.fieldnames or ())
            if missing:
                raise ValueError(
                    f"{path} must have the columns checker,video_id,{','.join(ASPECTS)}; {', '.join(sorted(missing))} is not there"
                )
            for row in reader:
                where, checker, clip = f"{path}:{reader.line_num}", (row["checker"] or "").strip(), (row["video_id"] or "").strip()
                if not clip or not checker:
                    problems.add("no checker or video_id", where, detail="the row is left out")
                elif clip in sheets[checker]:
                    problems.add("double video_id", where, detail=f"{checker} answered {clip!r} twice; the first counts")
                else:
                    sheets[checker][clip] = _answers(where, row, problems)
    if not any(answers for clips in sheets.values() for answers in clips.values()):
        raise ValueError(f"nobody answered anything in {', '.join(map(str, paths))}")
    return sheets


def _answers(where: str, row: Mapping[str, str | None], problems: Problems) -> dict[str, bool]:
    found = {}
    for aspect in ASPECTS:
        said = (row[aspect] or "").strip().lower()
        if said in ANSWERS:
            found[aspect] = ANSWERS[said]
        elif said:
            problems.add("neither yes nor no", where, detail=f"{aspect}: {said[:40]!r} counts as no answer")
    return found


def agreement_of(sheets: Sheets) -> dict[str, Any]:
    """By aspect: share of yes with its 95 % interval, answers, kappa (None without two people who answered the same clips)."""
    report: dict[str, Any] = {"checkers": len(sheets), "clips": len({clip for clips in sheets.values() for clip in clips}), "aspects": {}}
    for aspect in ASPECTS:
        said = Counter(answers[aspect] for clips in sheets.values() for answers in clips.values() if aspect in answers)
        total = said.total()
        kappas = [kappa for pair in itertools.combinations(sheets.values(), 2) if (kappa := _kappa(*pair, aspect)) is not None]
        report["aspects"][aspect] = {
            "agreement": said[True] / total if total else None,
            "interval_95": share_interval(said[True], total) if total else None,
            "answers": total,
            "kappa": float(np.mean(kappas)) if kappas else None,
        }
    return report


def _kappa(first: Mapping[str, Mapping[str, bool]], second: Mapping[str, Mapping[str, bool]], aspect: str) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    both = [clip for clip in first if clip in second and aspect in first[clip] and aspect in second[clip]]
    ones, others = [first[clip][aspect] for clip in both], [second[clip][aspect] for clip in both]
    if not both:
        return None
    if len({*ones, *others}) < 2:  # all the same answer: they agree, and kappa has nothing to compare it with
        return 1.0
    return float(cohen_kappa_score(ones, others))


def markdown(report: Mapping[str, Any]) -> str:
    """A table beside the published ratios."""
    lines = [
        "| aspect | agreement | 95 % | answers | kappa | " + " | ".join(PUBLISHED) + " |",
        "|---|---:|---:|---:|---:|" + "---:|" * len(PUBLISHED),
    ]
    for place, (aspect, found) in enumerate(report["aspects"].items()):
        interval = found["interval_95"]
        ends = f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else "–"
        kappa = "–" if found["kappa"] is None else f"{found['kappa']:.2f}"
        share = "–" if found["agreement"] is None else f"{found['agreement']:.2f}"
        others = " | ".join(f"{ratios[place]:.2f}" for ratios in PUBLISHED.values())
        lines.append(f"| {aspect} | {share} | {ends} | {found['answers']} | {kappa} | {others} |")
    return (
        "\n".join(
            [*lines, "", f"{report['checkers']} checkers, {report['clips']} clips. Other columns: Emotion-LLaMAv2, figure dataAnnot.png."]
        )
        + "\n"
    )
