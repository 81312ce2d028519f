"""The figures of one model folder in one JSON file: written after each evaluation, gone on with after a stop.

{"format": 1, "model": id, "evaluations": {name: {about, command, seed, limit, inputs, seconds, and its figures}}}
inputs is a checksum of all windows shown: two models' figures may be compared where it is the same. No path of this machine stands in it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from tqdm import tqdm

from ros2_emollama.config import Config, ModelConfig, ReasonerConfig
from ros2_emollama.model.folder import ModelFolder, find_model, open_folder
from ros2_emollama.pipeline import Pipeline

from .probes import Held
from .suite import EVALUATIONS, Bench
from .whole import write_whole

FORMAT = 1
DECIMALS = 6


def command_of(folder: ModelFolder, name: str = "", limit: int = 0) -> str:
    """What makes one evaluation, or all, again."""
    parts = f"python -m training report --model models/{folder.manifest.name} --data DIR --output FILE.json"
    return parts + (f" --only {name}" if name else "") + (f" --limit {limit}" if limit else "")


def read_report(path: Path, folder: ModelFolder) -> dict[str, Any]:
    """The report that stands in a file. ValueError with the cure where it is none, or another model's."""
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        model, evaluations = report["model"], report["evaluations"]
        if report["format"] != FORMAT or not isinstance(evaluations, dict):
            raise ValueError(f"format {report['format']!r} is not {FORMAT}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no report ({error}); delete it, or give another file with --output") from error
    if model != folder.model_id:
        raise ValueError(
            f"{path} holds the figures of {model}, this model is {folder.model_id}; delete it and measure anew, or give another file: "
            f"{command_of(folder)}"
        )
    return report


def make_report(
    model: str, data: Path, output: Path, only: Sequence[str] = (), limit: int = 0, again: bool = False, cache: Path = Path("cache")
) -> dict[str, str]:
    """Run what `only` names, or everything, into `output`; what stands there already is kept unless `again`.

    cache    the folder that `prepare` filled; explanations are judged by what was measured there
    limit    at most so many windows an evaluation (0: all). An evaluation made with fewer than that is made anew.
    returns  name -> why it could not be made, where data were missing
    """
    folder = open_folder(find_model(model))
    report: dict[str, Any] = {"format": FORMAT, "model": folder.model_id, "evaluations": {}}
    if output.is_file():
        report = read_report(output, folder)
    unknown = sorted(set(only) - set(EVALUATIONS))
    if unknown:
        raise ValueError(f"there is no evaluation {unknown[0]!r}; there are: {', '.join(EVALUATIONS)}")
    names = [name for name in EVALUATIONS if not only or name in only]
    due = [name for name in names if again or not _covers(report["evaluations"].get(name), limit)]
    for name in names:
        if name not in due:
            tqdm.write(f"{name}: stands in {output.name}; make it again with --again")
    if not due:
        return {}
    cv2.setNumThreads(1)
    pipeline = Pipeline.load(Config(model=ModelConfig(path=model), reasoner=ReasonerConfig(enabled=False)))
    pipeline.warm_up()
    held, missing = Held(data, pipeline.preset.audio.sample_rate_hz), {}
    for name in due:
        try:
            report["evaluations"][name] = _measure(name, Bench(pipeline, held, limit, cache))
        except FileNotFoundError as error:
            missing[name] = str(error)
            continue
        report["evaluations"] = {key: report["evaluations"][key] for key in EVALUATIONS if key in report["evaluations"]}
        write_json(output, report)
    return missing


def _covers(done: dict[str, Any] | None, limit: int) -> bool:
    """True where what stands shows at least as many windows as are asked for."""
    return done is not None and (done["limit"] == 0 or 0 < limit <= done["limit"])


def _measure(name: str, bench: Bench) -> dict[str, Any]:
    evaluation, start = EVALUATIONS[name], time.perf_counter()
    figures: dict[str, Any] = rounded(evaluation.measure(bench, name, evaluation.seed))
    said: dict[str, Any] = {"about": evaluation.about, "command": command_of(bench.pipeline.folder, name, bench.limit)}
    said |= {"seed": evaluation.seed, "limit": bench.limit, "seconds": round(time.perf_counter() - start, 1)}
    if bench.inputs:
        said["inputs"] = f"{bench.inputs:08x}"
    return said | figures


def rounded(value: Any) -> Any:
    """The same with every number to DECIMALS places: more is noise, and fills the file."""
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all: a stop in the middle leaves what stood there."""
    write_whole(path, json.dumps(content, indent=1) + "\n")


def summary(report: dict[str, Any]) -> str:
    """A line an evaluation."""
    lines = [f"{report['model']}"]
    for name, figures in report["evaluations"].items():
        line = f"  {name:17s} n {figures['n']:<5d}"
        if "uar" in figures:
            low, high = figures["uar_interval_95"]
            line += f" UAR {figures['uar']:.3f} [{low:.3f}, {high:.3f}]  NLL {figures['nll']:.2f}  ECE {figures['ece']:.3f}"
        if name == "nobody":
            line += f" claims {figures['claims']:.3f}"
        if name == "explanations":
            line += "".join(f" {key} {figures[key]['share']:.3f}" for key in ("true", "shuffled", "strong_named"))
        if "hop_ms" in figures:
            line += f" hop {figures['hop_ms']:.1f} ms, folder {figures['folder_mb']:.1f} MB"
        for key, what in (("face_present", "face"), ("box_found", "box"), ("speech_present", "speech")):
            line += f"  {what} {figures[key]:.2f}" if key in figures else ""
        lines.append(line)
    return "\n".join(lines)
