"""Score a model folder on a CSV, through the same pipeline that a robot runs.

columns  image, audio, video, label, speaker; any of the first three may be empty, paths relative to the file
A still picture stands for all frames of one window; a voice alone lies at the end of its window. A video is cut into the windows a robot
would see, and its probabilities are their mean.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from tqdm import tqdm

from ros2_emollama.analysis import windows_of
from ros2_emollama.config import Config, ModelConfig, ReasonerConfig
from ros2_emollama.media import read_clip
from ros2_emollama.pipeline import Pipeline
from ros2_emollama.types import Float32, Frame, GridFrame, UInt8, Window
from ros2_emollama.windows import WindowAssembler, WindowSpec

from .scores import report_of


@dataclass(frozen=True)
class Item:
    """One row of a manifest; `row` is its line in the file."""

    row: int
    image: Path | None
    audio: Path | None
    video: Path | None
    label: str
    speaker: str


class RowError(ValueError):
    """A row that cannot be used; names file and row."""


def read_manifest(path: Path, labels: tuple[str, ...], strict: bool) -> tuple[list[Item], list[str]]:
    """Usable rows, and what is wrong with the others. FileNotFoundError, or RowError at the first bad row where `strict`."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no manifest {path}; write one with columns image,audio,video,label,speaker, or: python -m training manifest --help"
        )
    items, problems = [], []
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        missing = {"label"} - set(reader.fieldnames or ())
        if missing or not {"image", "audio", "video"} & set(reader.fieldnames or ()):
            raise ValueError(f"{path} must have the columns image,audio,video,label,speaker, got {','.join(reader.fieldnames or ())}")
        for number, row in enumerate(reader, start=2):
            try:
                items.append(_item(path, number, row, labels))
            except RowError as error:
                if strict:
                    raise
                problems.append(str(error))
    if not items:
        raise ValueError(f"{path} has no usable row; first problem: {problems[0] if problems else 'it is empty'}")
    return items, problems


def _item(path: Path, number: int, row: dict[str, str], labels: tuple[str, ...]) -> Item:
    media = {key: path.parent / row[key] if row.get(key) else None for key in ("image", "audio", "video")}
    if not any(media.values()):
        raise RowError(f"{path}:{number}: no image, audio or video given")
    for file in media.values():
        if file is not None and not file.is_file():
            raise RowError(f"{path}:{number}: no file {file}")
    if row["label"] not in labels:
        raise RowError(f"{path}:{number}: label {row['label']!r} is not one of {', '.join(labels)}")
    return Item(number, media["image"], media["audio"], media["video"], row["label"], row.get("speaker") or "")


def read_voice(source: Path | io.BytesIO, rate_hz: int) -> Float32:
    """A sound file as (S,) float32, mono, at `rate_hz`. soundfile.LibsndfileError, a RuntimeError, where it is none."""
    samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    return np.asarray(mono if rate == rate_hz else soxr.resample(mono, rate, rate_hz), np.float32)


def still_window(pipeline: Pipeline, image: UInt8 | None, voice: Float32 | None) -> Window:
    """See `window_holding`; the window that this pipeline's model sees."""
    return window_holding(pipeline.window_spec, image, voice)


def window_holding(spec: WindowSpec, image: UInt8 | None, voice: Float32 | None) -> Window:
    """One window of a still picture (H, W, 3) and the last seconds of a voice (S,), which lies at its end; None: no camera, no microphone.

    The picture is one `Frame` in every tick, so that the pipeline encodes it once.
    """
    frame = Frame(0, image) if image is not None else None
    frames = tuple(GridFrame(i, frame) if frame else None for i in range(spec.frames))
    count = round(spec.seconds * spec.sample_rate_hz)
    samples, seen = np.zeros(count, np.float32), np.zeros(spec.frames, np.bool_)
    if voice is not None:
        kept = voice[-count:]
        samples[count - kept.size :] = kept
        seen = (np.arange(spec.frames) + 0.5) * count / spec.frames >= count - kept.size
    return Window(spec.frames, 0, spec.window_ns, frames, samples, spec.sample_rate_hz, seen)


def probabilities_of(pipeline: Pipeline, item: Item) -> npt.NDArray[np.float64]:
    """(labels,) of one item. ValueError when a file does not decode."""
    pipeline.forget()
    if item.video is None:
        image = None
        if item.image is not None:
            loaded = cv2.imread(str(item.image), cv2.IMREAD_COLOR)
            if loaded is None:
                raise ValueError(f"{item.image} is not a picture")
            image = np.ascontiguousarray(loaded[..., ::-1])
        voice = read_voice(item.audio, pipeline.preset.audio.sample_rate_hz) if item.audio else None
        state = pipeline.perceive(still_window(pipeline, image, voice)).state
        return np.array(state.probabilities)
    windows = clip_windows(pipeline, item.video)
    return np.asarray(np.mean([pipeline.perceive(window).state.probabilities for window in windows], axis=0), np.float64)


def clip_windows(pipeline: Pipeline, path: Path) -> list[Window]:
    """All windows of a clip, one a hop."""
    clip = read_clip(path, pipeline.preset.audio.sample_rate_hz)
    windows = list(windows_of(clip, WindowAssembler(pipeline.window_spec)))
    if not windows:
        raise ValueError(f"{path} is too short for a single window")
    return windows


def evaluate(model: str, manifest: Path, strict: bool = False) -> dict[str, Any]:
    """The report (see `report_of`) with what could not be used. Progress on stderr."""
    config = Config(model=ModelConfig(path=model), reasoner=ReasonerConfig(enabled=False))
    pipeline = Pipeline.load(config)
    items, problems = read_manifest(manifest, pipeline.preset.labels, strict)
    kept, rows = [], []
    for item in tqdm(items, desc=manifest.stem, unit="clip"):
        try:
            rows.append(probabilities_of(pipeline, item))
            kept.append(item)
        except (ValueError, RuntimeError, OSError) as error:
            if strict:
                raise RowError(f"{manifest}:{item.row}: {error}") from error
            problems.append(f"{manifest}:{item.row}: {error}")
    if not rows:
        raise ValueError(f"{manifest}: no row could be evaluated; first problem: {problems[0]}")
    report = report_of(np.array(rows), [item.label for item in kept], [item.speaker for item in kept], pipeline.preset.labels)
    return {"model": pipeline.folder.model_id, "manifest": str(manifest), **report, "skipped": len(problems), "problems": problems[:50]}


def summary(report: dict[str, Any]) -> str:
    """The report in a few lines."""
    low, high = report["uar_interval_95"]
    lines = [f"{report['model']} on {report['manifest']}: n {report['n']}, skipped {report['skipped']}"]
    lines.append(f"accuracy {report['accuracy']:.3f}  UAR {report['uar']:.3f} [{low:.3f}, {high:.3f}] (over {report['interval_over']})")
    lines.append(f"NLL {report['nll']:.3f}  Brier {report['brier']:.3f}  ECE {report['ece']:.3f}")
    lines += [f"  {label:9s} recall {value:.3f}" for label, value in report["recall"].items()]
    return "\n".join(lines)
