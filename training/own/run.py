"""`fit --preset nano --csv FILE`: from a CSV to a model folder that a robot runs, and what it is worth on what was held out.

    RUN/tokens-MODEL/          what the frozen encoders make of the clips (tokens.py)
    RUN/own/                   run.json, log and state of the training (loop.py), problems.jsonl
    RUN/model/                 the taught model
    RUN/held_out.json, .jsonl  the start and the taught model side by side
The same command goes on from where it was stopped; what is done is only told again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ros2_emollama.model.folder import ModelFolder, find_model, open_folder
from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.presets import Preset

from ..annotation.commands import tell_problems
from ..curriculum.own import TRAIN, read_own
from ..datasets.problems import KINDS, SetProblems
from ..records import Clip
from ..schedule import Schedule
from ..stage import fit, recall_figures
from ..state import claim
from .folder import told_of, write_taught
from .labels import taught_preset
from .lesson import Lesson, logits_of, shown_of
from .measure import measure, told
from .network import load_start, network_of
from .temperatures import fit_temperatures, held_apart
from .tokens import NOT_ENCODED, Tokens, encode_clips, encode_nobody, open_pipeline, stamped_clip

STAGE = "own"
NOBODY = "nobody is found"
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OwnSchedule(Schedule):
    """Short, and slow enough that what the start knows is not lost."""

    steps: int = 300
    batch: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 0.0  # weights are drawn to the start's instead (lesson.py)
    validate_every: int = 100

    CURE: ClassVar[str] = "lower --learning-rate"


@dataclass(frozen=True)
class Plan:
    """What the command was told.

    save_every  steps between two states to go on from
    strict      the first clip that cannot be used ends it
    """

    csv: Path
    start: str
    run: Path
    course: OwnSchedule = OwnSchedule()
    save_every: int = 50
    strict: bool = False
    threads: int = 1

    @property
    def model(self) -> Path:
        return self.run / "model"


def teach(plan: Plan) -> list[str]:
    """Teach, write, measure; what a person is told in the end. Errors say which row, option or file, and the cure."""
    start = open_folder(find_model(plan.start))
    problems = SetProblems(plan.strict, kinds=(*KINDS, NOT_ENCODED, NOBODY))
    try:
        clips = read_own(plan.csv, problems)
        preset = taught_preset(start.preset, clips)
        trained = [clip for clip in clips if clip.split == TRAIN]
        digest = digest_of(start, trained, plan.course)
        if not _stands(plan.model, digest):
            network, facts = taught_network(plan, start, preset, trained, problems)
            write_taught(start, network, plan.model, {"digest": digest, **facts})
        return [*_told(open_folder(plan.model), start), *_measured(plan, start, [clip for clip in clips if clip.split != TRAIN])]
    finally:
        if problems.total:
            problems.write(plan.run / STAGE / "problems.jsonl")
            tell_problems(problems)


def digest_of(start: ModelFolder, clips: Sequence[Clip], course: OwnSchedule | None = None) -> str:
    """Changes with whatever the taught weights hang on."""
    rows = [(stamped_clip(clip).key, clip.label("emotion"), clip.speaker) for clip in clips]
    told = json.dumps([start.model_id, rows, asdict(course) if course else None])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _stands(model: Path, digest: str) -> bool:
    """Is the model there already, of these clips and this course?"""
    return (model / "manifest.json").is_file() and told_of(open_folder(model)).get("digest") == digest


def taught_network(
    plan: Plan, start: ModelFolder, preset: Preset, clips: list[Clip], problems: SetProblems
) -> tuple[EmotionNetwork, dict[str, Any]]:
    """The network, and what its manifest says of it. ValueError where RUN belongs to other clips or another course."""
    torch.set_num_threads(plan.threads)
    begun = load_start(start)
    claim(plan.run / STAGE, {"start": start.model_id, "clips": digest_of(start, clips), **asdict(plan.course)})
    clips, tokens, nobody = _encoded(plan, start, clips, problems)
    labels = np.array([preset.labels.index(clip.label("emotion")) for clip in clips])
    shown, (apart, why) = shown_of(tokens, len(clips)), held_apart(clips, plan.course.seed)
    for clip in (clips[index] for index in shown.lost):
        problems.note(NOBODY, clip.provenance.file, clip.provenance.row, clip.id, "neither a face nor speech; it is used all the same")
    network = network_of(start, preset, plan.course.seed)
    lesson = Lesson(network, begun, tokens, nobody, shown, labels, np.flatnonzero(~apart))

    def validate(_: nn.Module) -> dict[str, float]:
        return _figures(lesson, tokens, labels, apart)

    course = replace(plan.course, checkpoint_every=plan.save_every)
    figures = fit(STAGE, lesson.part, course, lambda rng, _: lesson.loss(rng, course.batch), validate, plan.run)
    fitted = fit_temperatures(network, tokens, shown, labels, apart) if apart.any() else {}
    return network, {
        "clips": len(clips),
        "clips_by_label": dict(Counter(clip.label("emotion") for clip in clips)),
        "clips_held_apart": int(apart.sum()),
        "windows": len(tokens.clip),
        "course": {name: asdict(plan.course)[name] for name in ("steps", "batch", "learning_rate", "seed")},
        "figures": figures,
        "temperatures": fitted or f"the start's; {why or 'too few clips could be held apart'}",
        "problems": dict(problems.counts),
    }


def _encoded(plan: Plan, start: ModelFolder, clips: list[Clip], problems: SetProblems) -> tuple[list[Clip], Tokens, Tokens]:
    """Usable clips, their windows, and windows with nobody. ValueError where every clip of a label is lost."""
    pipeline = open_pipeline(start.root, plan.threads)
    kept, tokens = encode_clips(clips, pipeline, plan.run, problems)
    if lost := {clip.label("emotion") for clip in clips} - {clip.label("emotion") for clip in kept}:
        raise ValueError(f"not one training clip of {', '.join(sorted(lost))} could be encoded; the first problem: {problems.told[0]}")
    return kept, tokens, encode_nobody(pipeline, plan.run)


def _figures(lesson: Lesson, tokens: Tokens, labels: npt.NDArray[np.int64], apart: Bools) -> dict[str, float]:
    """Of windows of the clips held apart; of those that are trained on where none are, which says only that something is learnt."""
    chosen = apart if apart.any() else ~apart
    places = np.flatnonzero(chosen[tokens.clip])
    logits = logits_of(lesson.network, tokens.rows(places))
    truth = torch.from_numpy(labels[tokens.clip[places]])
    found = recall_figures(logits.argmax(1), truth, logits.shape[1])
    where = "apart" if apart.any() else "train"
    return {f"{name}_{where}": value for name, value in found.items()}


def _measured(plan: Plan, start: ModelFolder, held: list[Clip]) -> list[str]:
    """What is told of the held-out clips; measured where that was not done yet."""
    if not held:
        return ["nothing is held out: give some rows a split such as test, or nobody can say what this model is worth"]
    model = open_folder(plan.model)
    path = plan.run / "held_out.json"
    asked = {"start": start.model_id, "taught": model.model_id, "clips": digest_of(start, held)}
    if path.is_file():
        report = json.loads(path.read_text(encoding="utf-8"))
        if report.get("asked") == asked:
            return told(report)
    pipelines = {"start": open_pipeline(start.root, plan.threads), "taught": open_pipeline(model.root, plan.threads)}
    return told(measure(pipelines, held, plan.run, asked))


def _told(model: ModelFolder, start: ModelFolder) -> list[str]:
    facts = told_of(model)
    kept = model.preset.labels == start.preset.labels
    whose = "the start's labels" if kept else f"labels of its own ({', '.join(model.preset.labels)}), the layer that names them drawn anew"
    lines = [f"{model.root}: {model.model_id}, taught from {start.model_id} on {facts['clips']} clips, {whose}"]
    if lost := facts["problems"].get(NOBODY):
        lines.append(f"in {lost} clips nobody was found, and of such a robot says unknown; film faces larger, record voices louder")
    if isinstance(facts["temperatures"], str):
        lines.append(f"temperatures are {facts['temperatures']}")
    else:
        fitted = ", ".join(f"{name} {value:.2f}" for name, value in facts["temperatures"].items()) or "none, too few windows of any kind"
        lines.append(f"temperatures fitted on {facts['clips_held_apart']} clips of speakers held apart: {fitted}")
    return [*lines, f"run it: emollama analyze --model {model.root} CLIP, or the node with model.path {model.root}"]
