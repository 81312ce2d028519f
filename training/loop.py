"""The loop that everything is trained by: plain steps on one process or many (accelerate), logged, kept, gone on with after a stop.

A step's parts hang on its number alone, and its random draws on seed, step and process; the state on disk holds everything else. So a run
that was killed goes on as if it had not been, and how many processes share a step changes nothing but dropout's draws.

In:  a module, an optimizer, a `Course` (how long, how fast), a `Task` (what is learnt from what), a `Pace` (where, how often).
Out: FOLDER/state-N (state.py), FOLDER/log.jsonl, FOLDER/tensorboard where that is installed.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .average import Average
from .schedule import Course
from .state import load_state, newest, save_state
from .whole import whole_lines, write_whole

if TYPE_CHECKING:
    from accelerate import Accelerator

BAR_POSITION = "EMOLLAMA_BAR_POSITION"
"""Environment variable: the line of this process's progress bar, where several trainings share a terminal."""
NO_DECAY = ("bias", "ln", "bn")
EMPTY_STEPS = 3  # in a row that end a run
SMOOTH = 0.98  # of the loss beside the progress bar


class NothingUsed(RuntimeError):
    """Not one clip of several steps in a row could be used."""


class Diverged(RuntimeError):
    """The loss is no number any more; the message says when and what to do."""


class Task(Protocol):
    """What is learnt. A part is what goes through the model at once: a process's whole share of a step, or less to save memory."""

    def parts(self, step: int) -> Iterator[Any]:
        """Endless parts of this process, from a step on."""

    def losses(self, model: nn.Module, part: Any) -> tuple[Tensor, Tensor]:
        """(loss (), whose gradients are added up over a step's parts; sums (K,), added up over parts and processes)."""

    def figures(self, sums: Sequence[float]) -> dict[str, float]:
        """Figures of a step from its K sums: `loss`, and `not_used` where some of the batch could not be used."""


@dataclass(frozen=True)
class Pace:
    """Where a loop keeps what it does, and how often.

    parts      passes a process makes a step
    log_every  steps that a line of the log is the mean of; 0: only validations are logged
    keep       False: nothing is written
    """

    folder: Path
    parts: int = 1
    save_every: int = 500
    log_every: int = 10
    keep: bool = True


def open_accelerator(precision: str, cpu: bool = False) -> Accelerator:
    """One or many processes, as `accelerate launch` or `torchrun` started them. ImportError with the cure."""
    try:
        from accelerate import Accelerator
    except ImportError:
        raise ImportError("training needs accelerate, the published presets peft too: pip install 'ros2-emollama[train]'") from None
    return Accelerator(mixed_precision=precision, cpu=cpu)


def parameter_groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """As the published code groups them: vectors, biases and norms do not decay."""
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    plain = [value for name, value in named if value.ndim < 2 or any(part in name.split(".")[-1] for part in NO_DECAY)]
    plain_ids = {id(value) for value in plain}
    return [
        {"params": [value for _, value in named if id(value) not in plain_ids], "weight_decay": decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def make_optimizer(model: nn.Module, course: Course, *, all_decay: bool = False, fused: bool = False) -> torch.optim.Optimizer:
    """AdamW over what is trained. all_decay: vectors too (see `parameter_groups`)."""
    groups = [group for group in parameter_groups(model, course.weight_decay) if group["params"]]
    if all_decay:
        groups = [{"params": [value for value in model.parameters() if value.requires_grad], "weight_decay": course.weight_decay}]
    return torch.optim.AdamW(groups, lr=course.learning_rate, betas=course.betas, fused=fused)


@dataclass
class Loop:
    """Everything that takes part. With an `average` the module ends with those weights, the log with their figures."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    course: Course
    task: Task
    accelerator: Accelerator
    pace: Pace
    average: Average | None = None

    def run(self) -> Log:
        """Train in place up to `course.steps`. Diverged when the loss is no number, NothingUsed when nothing can be read."""
        self.module, self.optimizer = self.accelerator.prepare(self.module, self.optimizer)
        steps, (start, log) = self.course.steps, self._begin()
        given = self.task.parts(start)
        empty = 0
        try:
            for step in self._bar(start, log):
                figures = self._step(step, given)
                empty = empty + 1 if figures.get("not_used") == self.course.batch else 0
                if empty == EMPTY_STEPS:
                    raise NothingUsed(f"not one clip of {empty} steps could be used; problems-0.jsonl in {self.pace.folder} says why")
                done = step + 1
                log.add(done, figures)
                if self.average is not None:
                    self.average.update(step)
                    if done % self.average.every == 0 or done == steps:
                        log.validated(done, self.average.figures())
                if self.pace.keep and (done % self.pace.save_every == 0 or done == steps):
                    self._keep(done, log)
        finally:
            log.close()
            if hasattr(given, "close"):
                given.close()
        if self.average is not None:
            self.average.settle()
        return log

    def _begin(self) -> tuple[int, Log]:
        """The step to go on from, and the log up to it; all else is put back in place."""
        state = newest(self.pace.folder) if self.pace.keep else None
        saved: dict[str, Any] = load_state(state, self.module, self.optimizer) if state else {"step": 0}
        if self.accelerator.scaler is not None and "scaler" in saved:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        if self.average is not None and "average" in saved:
            self.average.load(saved["average"])
        return saved["step"], Log(self.pace, saved["step"], self.course.steps, self._first, saved.get("log", {}))

    def _bar(self, start: int, log: Log) -> Iterator[int]:
        """Steps to be done, shown with the loss."""
        steps, name, place = self.course.steps, self.pace.folder.name, int(os.environ.get(BAR_POSITION, "0"))
        bar = tqdm(range(start, steps), name, steps, initial=start, mininterval=2.0, position=place, disable=not self._first)
        for step in bar:
            yield step
            bar.set_postfix(loss=f"{log.smooth:.3f}", refresh=False)

    def _step(self, step: int, given: Iterator[Any]) -> dict[str, float]:
        """Its figures."""
        began, accelerator, course, parts = time.monotonic(), self.accelerator, self.course, self.pace.parts
        torch.manual_seed(course.seed * 1_000_003 + step * accelerator.num_processes + accelerator.process_index)
        rate = course.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.module.train()
        told: list[Tensor] = []
        for part in range(parts):
            # Processes put their gradients together once a step, with those of the last part.
            with accelerator.no_sync(self.module) if part + 1 < parts else nullcontext():
                loss, sums = self.task.losses(self.module, next(given))
                accelerator.backward(loss)
            told.append(sums)
        figures = self.task.figures(accelerator.reduce(sum(told[1:], told[0]), reduction="sum").tolist())
        if not math.isfinite(figures["loss"]):
            lost = f"the loss is {figures['loss']} at step {step + 1}"
            raise Diverged(f"{lost}; {course.CURE}, and the same command goes on from the last state")
        if course.clip > 0:
            accelerator.clip_grad_norm_(self.module.parameters(), course.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {**figures, "learning_rate": rate, "seconds_per_step": time.monotonic() - began}

    def _keep(self, step: int, log: Log) -> None:
        extra: dict[str, Any] = {"log": log.kept()}
        if self.accelerator.scaler is not None:
            extra["scaler"] = self.accelerator.scaler.state_dict()
        if self.average is not None:
            extra["average"] = self.average.state
        save_state(self.pace.folder, step, self.module, self.optimizer, self._first, extra)
        self.accelerator.wait_for_everyone()

    @property
    def _first(self) -> bool:
        """Is this the process that writes?"""
        return bool(self.accelerator.is_main_process)


class Log:
    """FOLDER/log.jsonl: means over `log_every` steps, and what is validated; likewise for TensorBoard where that is installed.

    smooth      the loss, smoothed
    first_loss  of the first step here
    last        figures of the last line
    """

    def __init__(self, pace: Pace, step: int, total: int, first: bool, kept: Mapping[str, Any]) -> None:
        self.smooth, self.first_loss = kept.get("smooth", math.nan), math.nan
        self.last: dict[str, float] = dict(kept.get("last", {}))
        self._began, self._total, self._every = time.monotonic(), total, pace.log_every
        self._held: list[Mapping[str, float]] = []
        self._name, self._path, self._board = pace.folder.name, pace.folder / "log.jsonl", None
        self._first, self._writes = first, first and pace.keep
        if self._writes:
            pace.folder.mkdir(parents=True, exist_ok=True)
            _cut(self._path, step)
            self._board = _board(pace.folder, step)

    def kept(self) -> dict[str, Any]:
        """What a state holds of it."""
        return {"smooth": self.smooth, "last": self.last}

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures of a step; a line where one is due."""
        if math.isnan(self.first_loss):
            self.first_loss = figures["loss"]
        self.smooth = figures["loss"] if math.isnan(self.smooth) else SMOOTH * self.smooth + (1 - SMOOTH) * figures["loss"]
        if not self._every:
            return
        self._held.append(figures)
        if step % self._every and step != self._total:
            return
        names = dict.fromkeys(name for line in self._held for name in line)
        self.last = {name: _mean([line[name] for line in self._held if name in line]) for name in names}
        self._held = []
        if self._writes and torch.cuda.is_available():
            self.last["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        self._write({"step": step, **{name: float(f"{value:.6g}") for name, value in self.last.items()}})

    def validated(self, step: int, figures: dict[str, float]) -> None:
        """A line that is shown too."""
        self.last = figures
        line = {"step": step, "loss": round(self.smooth, 4), "seconds": round(time.monotonic() - self._began, 1), **figures}
        self._write(line)
        if self._first:
            tqdm.write(f"{self._name} {line}")

    def close(self) -> None:
        if self._board is not None:
            self._board.close()

    def _write(self, line: Mapping[str, float]) -> None:
        if not self._writes:
            return
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name in line.keys() - {"step"}:
                self._board.add_scalar(name, line[name], line["step"])


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a log."""
    return [item for _, item in whole_lines(folder / "log.jsonl")]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _cut(path: Path, step: int) -> None:
    """Lines of steps that are made again go."""
    if path.is_file():
        write_whole(path, "".join(line.decode() for line, item in whole_lines(path) if item.get("step", 0) <= step))


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard", purge_step=step + 1 if step else None)  # type: ignore[no-untyped-call]
