"""Held-out clips, asked as a robot asks: a window a second through the exported pipeline, of the start and of the taught model alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ros2_emollama.pipeline import Pipeline

from ..records import Clip
from ..scores import report_of, restrict
from ..whole import write_whole
from .played import windows_in

Chances = npt.NDArray[np.float64]


def measure(pipelines: Mapping[str, Pipeline], clips: Sequence[Clip], output: Path, asked: Mapping[str, str]) -> dict[str, Any]:
    """Figures by model, into OUTPUT/held_out.json; a line a clip beside. ValueError where not one clip can be read.

    pipelines  by name; one that has not all labels of the clips is left out, and said so
    returns    model → figures of `report_of` over the clips' mean probabilities, and beside them `windows`: some over single windows, which
               are what a robot publishes; `among_own`: accuracy and UAR where only labels that occur here may be said. And failed: clips
               that could not be read; asked: what was asked, so that it need not be asked again
    """
    occurring = sorted({clip.label("emotion") for clip in clips})
    able = {name: pipeline for name, pipeline in pipelines.items() if set(occurring) <= set(pipeline.preset.labels)}
    kept, failed = [], []
    chances: dict[str, list[Chances]] = {name: [] for name in able}
    for clip in tqdm(clips, desc="held out", unit="clip"):
        try:
            found = _chances(able, clip)
        except (RuntimeError, ValueError, OSError) as error:
            failed.append({"id": clip.id, "row": clip.provenance.row, "reason": f"{error}"})
            continue
        kept.append(clip)
        for name, windows in found.items():
            chances[name].append(windows)
    if not kept:
        raise ValueError(f"not one of {len(clips)} held-out clips could be read; first: {failed[0]}")
    report: dict[str, Any] = {name: _figures(pipelines[name], rows, kept, occurring) for name, rows in chances.items()}
    for name in pipelines.keys() - able.keys():
        report[name] = {"model": pipelines[name].folder.model_id, "not_measured": f"it has other labels than {', '.join(occurring)}"}
    report = {**report, "failed": failed, "asked": dict(asked)}
    write_whole(output / "held_out.jsonl", "".join(_lines(able, kept, chances)))
    write_whole(output / "held_out.json", json.dumps(report, indent=1) + "\n")
    return report


def _chances(pipelines: Mapping[str, Pipeline], clip: Clip) -> dict[str, Chances]:
    """(windows, labels) by model."""
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in pipelines}
    for pipeline in pipelines.values():
        pipeline.forget()
    for window in windows_in(clip.media, next(iter(pipelines.values())).window_spec):
        for name, pipeline in pipelines.items():
            rows[name].append(pipeline.perceive(window).state.probabilities)
    if not all(rows.values()):
        raise ValueError(f"{', '.join(clip.media.files)} is too short for a single window")
    return {name: np.array(found, np.float64) for name, found in rows.items()}


def _figures(pipeline: Pipeline, chances: Sequence[Chances], clips: Sequence[Clip], occurring: Sequence[str]) -> dict[str, Any]:
    labels, means = pipeline.preset.labels, np.stack([windows.mean(axis=0) for windows in chances])
    truth = [clip.label("emotion") for clip in clips]
    speakers = [clip.speaker for clip in clips] if all(clip.speaker for clip in clips) else None
    among = report_of(restrict(means, labels, occurring), truth, speakers, labels)
    single = report_of(np.concatenate(chances), np.repeat(truth, [len(windows) for windows in chances]).tolist(), None, labels)
    return {
        "model": pipeline.folder.model_id,
        **report_of(means, truth, speakers, labels),
        "windows": {name: single[name] for name in ("n", "accuracy", "uar", "nll", "ece", "ece_chance")},
        "among_own": {name: among[name] for name in ("accuracy", "uar")},
    }


def _lines(pipelines: Mapping[str, Pipeline], clips: Sequence[Clip], chances: Mapping[str, list[Chances]]) -> list[str]:
    lines = []
    for place, clip in enumerate(clips):
        line: dict[str, Any] = {"id": clip.id, "split": clip.split, "label": clip.label("emotion")}
        for name, pipeline in pipelines.items():
            scores = zip(pipeline.preset.labels, chances[name][place].mean(axis=0), strict=True)
            line[name] = {label: round(float(value), 6) for label, value in scores}
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return lines


def told(report: Mapping[str, Any]) -> list[str]:
    """Side by side, for people."""
    lines = []
    for name in ("start", "taught"):
        figures = report[name]
        if "not_measured" in figures:
            lines.append(f"held out, {name:<6} not measured: {figures['not_measured']}")
            continue
        low, high = figures["uar_interval_95"]
        lines.append(
            f"held out, {name:<6} accuracy {figures['accuracy']:.3f}  UAR {figures['uar']:.3f} [{low:.3f}, {high:.3f}] over "
            f"{figures['interval_over']}  ECE {figures['ece']:.3f} (by chance {figures['ece_chance']:.3f}; of single windows "
            f"{figures['windows']['ece']:.3f})  n {figures['n']}"
        )
    if report["failed"]:
        lines.append(f"held out, {len(report['failed'])} clips could not be read; the first: {report['failed'][0]}")
    return lines
