"""One stage, trained: plain steps on one process or many (accelerate), logged, kept, gone on with after a stop.

A step's samples hang on its number alone, and its random draws on seed, step and process; the state on disk holds everything else. So a run
that was killed goes on as if it had not been, and how many processes share a step changes nothing but dropout's draws.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from ..state import load_state, newest, save_state
from ..whole import whole_lines, write_whole
from .lessons import Lesson
from .recipes import Recipe
from .student import Losses, Student

NO_DECAY = ("bias", "ln", "bn")
EMPTY_STEPS = 3  # in a row that end a run
STAGE_PROBLEMS = "problems-0.jsonl"
SMOOTH = 0.95  # of the loss beside the progress bar


class NothingUsed(RuntimeError):
    """Not one clip of several steps in a row could be used."""


class Diverged(RuntimeError):
    """The loss is no number any more; the message says when and what to do."""


@dataclass
class Pace:
    """How a loop is run, apart from what it learns; see `Plan`."""

    folder: Path
    micro_batch: int = 0
    save_every: int = 500
    log_every: int = 10
    head_weight: float = 0.5
    keep: bool = True


def parameter_groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """As the published code groups them: vectors, biases and norms do not decay."""
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    plain = [value for name, value in named if value.ndim < 2 or any(part in name.split(".")[-1] for part in NO_DECAY)]
    plain_ids = {id(value) for value in plain}
    return [
        {"params": [value for _, value in named if id(value) not in plain_ids], "weight_decay": decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    groups = [group for group in parameter_groups(model, recipe.weight_decay) if group["params"]]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas)


def share_of(recipe: Recipe, processes: int, micro_batch: int) -> tuple[int, int]:
    """(samples a process takes at once, how often a step). ValueError where the batch cannot be shared out evenly."""
    if recipe.batch % processes:
        raise ValueError(f"a batch of {recipe.batch} cannot be shared by {processes} processes; give --batch a multiple of {processes}")
    share = recipe.batch // processes
    micro = micro_batch or share
    if share % micro:
        raise ValueError(f"--micro-batch {micro} must divide a process's share of {share} samples a step")
    return micro, share // micro


def train(
    student: Student, recipe: Recipe, lessons: Any, accelerator: Accelerator, pace: Pace, optimizer: torch.optim.Optimizer | None = None
) -> Log:
    """Train in place up to `recipe.steps`; returns its log.

    lessons  (step) → endless batches of this process from that step on, each of the size that `share_of` gives
    Diverged when the loss is no number, NothingUsed when no clip can be read.
    """
    model, optimizer = accelerator.prepare(student, optimizer or make_optimizer(student, recipe))
    state = newest(pace.folder) if pace.keep else None
    saved = load_state(state, model, optimizer) if state else {"step": 0}
    if accelerator.scaler is not None and saved.get("scaler"):
        accelerator.scaler.load_state_dict(saved["scaler"])
    empty = 0
    log = Log(pace, saved["step"], recipe.steps, accelerator.is_main_process)
    given: Iterator[Lesson] = lessons(saved["step"])
    shown = {"initial": saved["step"], "total": recipe.steps, "desc": pace.folder.name, "mininterval": 2.0}
    bar = tqdm(range(saved["step"], recipe.steps), disable=not accelerator.is_main_process, **shown)
    try:
        for step in bar:
            figures = _step(model, optimizer, recipe, given, accelerator, pace, step)
            empty = empty + 1 if figures.get("not_used") == recipe.batch else 0
            if empty == EMPTY_STEPS:
                raise NothingUsed(f"not one clip of {empty} steps could be used; {STAGE_PROBLEMS} in {pace.folder} says why")
            log.add(step + 1, figures)
            bar.set_postfix(loss=f"{log.smooth:.3f}", refresh=False)
            done = step + 1
            if pace.keep and (done % pace.save_every == 0 or done == recipe.steps):
                extra = {"scaler": accelerator.scaler.state_dict()} if accelerator.scaler is not None else {}
                save_state(pace.folder, done, model, optimizer, accelerator.is_main_process, extra)
                accelerator.wait_for_everyone()
    finally:
        log.close()
        if hasattr(given, "close"):
            given.close()
    return log


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    given: Iterator[Lesson],
    accelerator: Accelerator,
    pace: Pace,
    step: int,
) -> dict[str, float]:
    began = time.monotonic()
    torch.manual_seed(recipe.seed * 1_000_003 + step * accelerator.num_processes + accelerator.process_index)
    rate = recipe.rate(step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    model.train()
    _, times = share_of(recipe, accelerator.num_processes, pace.micro_batch)
    total = torch.zeros(8, device=accelerator.device)
    tokens = 0
    for part in range(times):
        lesson = next(given).to(accelerator.device)
        tokens += int(lesson.mask.sum())
        if part + 1 < times:
            with accelerator.no_sync(model):
                total += _backward(model, lesson, accelerator, pace, times)
        else:
            total += _backward(model, lesson, accelerator, pace, times)
    sums = accelerator.reduce(total, reduction="sum")
    answer, head, right, seen, labelled, hit, affect, felt = (float(value) for value in sums)
    whole = recipe.batch
    loss = (answer + pace.head_weight * (head + affect)) / whole
    if not math.isfinite(loss):
        raise Diverged(f"the loss is {loss} at step {step + 1}; {recipe.CURE}, and the same command goes on from the last state")
    if recipe.clip > 0:
        accelerator.clip_grad_norm_(model.parameters(), recipe.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    figures = {"loss": loss, "answer_loss": answer / whole, "token_accuracy": right / max(seen, 1.0)}
    if labelled and head:
        figures |= {"head_loss": head / labelled, "head_accuracy": hit / labelled}
    if felt and affect:
        figures["affect_error"] = math.sqrt(affect / felt)
    if seen < whole:
        figures["not_used"] = whole - seen
    seconds = time.monotonic() - began
    return {**figures, "learning_rate": rate, "seconds_per_step": seconds, "tokens": float(tokens * accelerator.num_processes)}


def _backward(model: nn.Module, lesson: Lesson, accelerator: Accelerator, pace: Pace, times: int) -> Tensor:
    """Gradients of one pass; (8,) sums of answer, head, right, samples, labelled, hit, affect, and how many clips that is known of."""
    losses: Losses = model(lesson)
    weight = lesson.weight
    each = (losses.answer + pace.head_weight * (losses.head + losses.affect)) * weight
    # The mean over samples of each one's mean over its answer: on 4 GPUs of one sample each that is what the published code minimises, and
    # it is the same however a batch is shared out.
    accelerator.backward(each.sum() / (len(weight) * times))
    felt = lesson.affect.isfinite().any(dim=1).float()
    told = (losses.answer, losses.head, losses.right, torch.ones_like(weight), losses.labelled, losses.hit, losses.affect, felt)
    return torch.stack([(value.detach() * weight).sum() for value in told])


class Log:
    """STAGE/log.jsonl, a line every `log_every` steps the means since the last; likewise for TensorBoard where that is installed."""

    def __init__(self, pace: Pace, step: int, total: int, first: bool) -> None:
        self.smooth, self.first_loss = 0.0, math.nan
        self.last: dict[str, float] = {}
        self._total, self._every, self._held, self._first = total, pace.log_every, [], first and pace.keep  # type: ignore[var-annotated]
        self._path = pace.folder / "log.jsonl"
        self._board: Any = None
        if self._first:
            pace.folder.mkdir(parents=True, exist_ok=True)
            self.last = _cut(self._path, step)
            self._board = _board(pace.folder, step)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        if math.isnan(self.first_loss):
            self.first_loss = figures["loss"]
        self.smooth = figures["loss"] if not self.smooth else SMOOTH * self.smooth + (1 - SMOOTH) * figures["loss"]
        self._held.append(figures)
        if step % self._every and step != self._total:
            return
        names = dict.fromkeys(name for line in self._held for name in line)
        self.last = {name: _mean([line[name] for line in self._held if name in line]) for name in names}
        self._held = []
        if not self._first:
            return
        if torch.cuda.is_available():
            self.last["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **{name: float(f"{value:.6g}") for name, value in self.last.items()}}) + "\n")
        if self._board is not None:
            for name, value in self.last.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _cut(path: Path, step: int) -> dict[str, float]:
    """Lines of steps that are made again go; the last that stays."""
    kept = [(line, item) for line, item in whole_lines(path) if item.get("step", 0) <= step]
    if path.is_file():
        write_whole(path, "".join(line.decode() for line, _ in kept))
    return {name: value for name, value in kept[-1][1].items() if name != "step"} if kept else {}


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard", purge_step=step + 1 if step else None)  # type: ignore[no-untyped-call]
