"""A plan carried out: start and data opened, the student made, the stage trained, its model folder written."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors
from tokenizers import Tokenizer
from torch import nn

from ros2_emollama.encoding import StreamEncoders
from ros2_emollama.model.folder import find_model, open_folder
from ros2_emollama.model.presets import Preset
from ros2_emollama.pipeline import read_utterances

from ..annotation.commands import tell_problems
from ..benchmarks.reasoning import PARTS, answers_in_words, needed_parts
from ..data_commands import training_clips
from ..datasets.index import load
from ..datasets.problems import KINDS, SetProblems
from ..features import Features, Stored
from ..features_encoders import BY_MMEVERSE, RuntimeEncoder, open_features
from ..loop import Log, Loop, Pace, make_optimizer, open_accelerator
from ..problems import Problems
from ..records import Clip, Sample
from ..state import claim, newest
from ..whole import whole
from .folder import write_folder
from .lessons import NOT_USED, Lesson, Nothing, Teacher, affect_of, label_places, lessons, nothing_of, repeated
from .own import NAME as OWN
from .own import TRAIN, OwnNumbers, labels_of, measure_own, read_own
from .plan import Plan, numbers_of
from .recipes import Recipe
from .student import Student, changed_preset, make_student, recompute_activations, started_lora
from .task import LessonTask, share_of

if TYPE_CHECKING:
    from accelerate import Accelerator

NO_FEATURES = "no features"
DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def run_stage(plan: Plan, accelerator: Accelerator | None = None) -> dict[str, float]:
    """Train a stage as far as it is not done; its figures. What stands in RUN/<stage>/model with its figures is not made again."""
    accelerator = accelerator or open_accelerator(plan.precision)
    if (plan.model / "manifest.json").is_file():
        figures = dict(open_folder(plan.model).manifest.info["training"]["figures"])
    else:
        figures = _train_stage(plan, accelerator)
    if plan.csv and accelerator.is_main_process:
        held = measure_own(open_folder(plan.model), read_own(plan.csv), plan.folder, plan.features, plan.sampling)
        figures |= {f"held_out_{name}": value for name, value in held.items()}
    return figures


def _train_stage(plan: Plan, accelerator: Accelerator) -> dict[str, float]:
    school = School(plan, accelerator)
    if accelerator.is_main_process:
        claim(plan.folder, plan.told(school.start.model_id, school.numbers.shares, school.clip_count, accelerator.num_processes))
    accelerator.wait_for_everyone()
    pace = Pace(plan.folder, school.times, plan.save_every, plan.log_every)
    try:
        figures = school.train(school.student(), plan.recipe, school.lessons, pace).last
    finally:
        if school.problems.total:
            school.problems.write(plan.folder / f"problems-{accelerator.process_index}.jsonl")
            tell_problems(school.problems)
    school.finish(figures)
    return figures


def overfit(plan: Plan, steps: int, accelerator: Accelerator | None = None) -> tuple[float, float]:
    """The first batch over and over, without dropout: (first loss, last loss). What cannot be learnt so can never be. Nothing is kept."""
    accelerator = accelerator or open_accelerator(plan.precision)
    school = School(plan, accelerator)
    student = without_dropout(school.student())
    recipe = replace(plan.recipe, steps=steps, warmup_steps=0, least_rate=plan.recipe.learning_rate, weight_decay=0.0)
    log = school.train(student, recipe, school.same, Pace(plan.folder, school.times, log_every=1, keep=False))
    return log.first_loss, log.last["loss"]


def without_dropout(student: Student) -> Student:
    """The same, drawing nothing."""
    for module in student.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return student


class School:
    """Everything a stage needs, opened once."""

    def __init__(self, plan: Plan, accelerator: Accelerator) -> None:
        self.plan, self.accelerator = plan, accelerator
        self.start = open_folder(find_model(str(plan.start)))
        if not answers_in_words(self.start.preset):
            raise ValueError(
                f"{self.start.root} is asked in a way of its own ({self.start.preset.prompt}) and trained by its own recipes: python -m "
                "training fit --preset nano --csv FILE on a data set of your own, make train-nano from nothing; or give --start a model of "
                "a published kind"
            )
        self.problems = SetProblems(plan.strict, kinds=(*KINDS, NO_FEATURES, NOT_USED))
        self.own = read_own(plan.csv, self.problems) if plan.csv else []
        self.preset = changed_preset(self.start.preset, plan.head, plan.fusion, plan.affect)
        if self.own:
            self.preset = replace(self.preset, labels=labels_of(self.own))
        self.lora = started_lora(self.start, plan.recipe.lora)
        self.micro, self.times = share_of(plan.recipe.batch, accelerator.num_processes, plan.micro_batch)
        features = open_features(plan.features)
        found = {OWN: [clip for clip in self.own if clip.split == TRAIN]} if self.own else training_clips(load(plan.index, plan.datasets))
        online = plan.online or plan.features == BY_MMEVERSE  # MMEVerse releases no scene
        if isinstance(features, Stored) and not online:
            _check_streams(features, self.preset)
        clips = _with_features(found, features, self.problems, online)
        self.clip_count = sum(map(len, clips.values()))
        self.fabricated = any(clip.provenance.source == "fabricated" for found in clips.values() for clip in found)
        self.numbers = OwnNumbers(clips[OWN], self.preset, plan.recipe.seed) if self.own else numbers_of(plan, clips)
        encoder = self._encoder() if features is None or online else None
        self.teacher = Teacher(
            self.preset,
            Tokenizer.from_file(str(self.start.language("tokenizer"))),
            self._nothing(encoder),
            features,
            encoder,
            label_places(clips, self.preset.labels),
            affect_of(clips) if self.preset.has_affect else {},
            self.problems,
            self._vectors if plan.utterances else None,
        )

    def student(self) -> Student:
        dtype = DTYPES[self.plan.precision]
        device = str(self.accelerator.device)
        student = make_student(self.start, self.preset, self.lora, self.plan.language, dtype, device)
        if self.plan.checkpointing:
            recompute_activations(student.llama)
        return student

    def train(self, student: Student, recipe: Recipe, parts: Callable[[int], Iterator[Lesson]], pace: Pace) -> Log:
        """See `Loop`."""
        task = LessonTask(parts, recipe.batch, self.accelerator.num_processes, self.accelerator.device, self.plan.head_weight)
        return Loop(student, make_optimizer(student, recipe), recipe, task, self.accelerator, pace).run()

    def lessons(self, step: int) -> Iterator[Lesson]:
        """This process's batches from a step on."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        numbered = self.numbers.stream(step * self.plan.recipe.batch, rank, world)
        return lessons(self.teacher, numbered, self.micro, self.plan.workers)

    def same(self, _: int) -> Iterator[Lesson]:
        """The first step's over and over."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        numbered = self.numbers.stream(0, rank, world)
        made = list(itertools.islice(lessons(self.teacher, repeated(numbered, self.micro * self.times), self.micro, 1), self.times))
        return itertools.cycle(made)

    def finish(self, figures: Mapping[str, float]) -> None:
        """Write the model folder, from the last state."""
        plan = self.plan
        state = newest(plan.folder)
        if self.accelerator.is_main_process and state is not None:
            tensors = load_tensors(state / "trained.safetensors")
            told = {"stage": plan.stage, "steps": plan.recipe.steps, "batch": plan.recipe.batch, "language": plan.language}
            info = {"training": {**told, "fabricated_data": self.fabricated, "figures": dict(figures)}}
            if self.problems.total:
                info["training"]["problems"] = dict(self.problems.counts)
            lora = {"rank": self.lora.rank, "alpha": self.lora.alpha, "form": "kept"} if plan.language in ("lora", "qlora") else {}
            write_folder(self.start, self.preset, tensors, plan.model, self.lora, {**info, "lora": lora})
        self.accelerator.wait_for_everyone()

    def _encoder(self) -> RuntimeEncoder:
        from ros2_emollama.runtime.torch_runtime import TorchEncoders

        device = self.accelerator.device
        encoders = TorchEncoders(self.start, torch.get_num_threads(), str(device), half=device.type == "cuda")
        return RuntimeEncoder(self.start.preset, encoders, sampling=self.plan.sampling)

    def _nothing(self, encoder: RuntimeEncoder | None) -> Nothing:
        """What stands for absent streams; made once, for it takes the whole tower of EVA."""
        path = self.plan.run / f"no_scene-{self.start.model_id.replace('@', '-')}.safetensors"
        if self.accelerator.is_main_process and not path.is_file():
            streams: StreamEncoders = (encoder or self._encoder()).streams
            with whole(path) as partial:
                save_file({name: np.ascontiguousarray(value) for name, value in streams.no_scene.items()}, partial)
        self.accelerator.wait_for_everyone()
        return nothing_of(self.preset, load_file(path))

    def _vectors(self, sample: Sample) -> Any:
        return read_utterances([Path(folder) / f"{sample.id}.npy" for folder in self.plan.utterances], self.start)


def _check_streams(features: Stored, preset: Preset) -> None:
    """ValueError where shards were made without a stream that this model sees: it would be missing from every sample."""
    lacking = sorted({PARTS[part] for part in needed_parts(preset) if part not in features.parts})
    if lacking:
        cure = "encode it while training (--online), or make the features again with all streams"
        raise ValueError(f"the features ({features.encoder}) have no {' and no '.join(lacking)}; {cure}")


def _with_features(clips: Mapping[str, list[Clip]], features: Features | None, problems: Problems, online: bool) -> dict[str, list[Clip]]:
    """Clips that shards know, where nothing else can be shown; the others are named and counted."""
    if not isinstance(features, Stored) or online:
        return dict(clips)
    kept: dict[str, list[Clip]] = {}
    for name, found in clips.items():
        kept[name] = []
        for clip in found:
            if clip.key in features.failed:
                problems.add(NO_FEATURES, clip.provenance.file, clip.provenance.row, clip.key, features.failed[clip.key])
            elif clip.key not in features:
                problems.add(NO_FEATURES, clip.provenance.file, clip.provenance.row, clip.key, "make them: python -m training features")
            else:
                kept[name].append(clip)
    return kept
