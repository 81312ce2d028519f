"""Does this machine train a preset at full width, how fast, and in how much memory? Random weights, made-up lessons, the real loop.

A few batches of random tokens come round and round, so the loss must fall: what is measured is a training that works. No file is read.
In:  a preset, steps, batch. Out: OUTPUT (JSON): device, memory, seconds a step, tokens a second, the loss curve, and whether it fell.
"""

from __future__ import annotations

import itertools
import json
import platform
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ros2_emollama.model.graphs import graph_specs
from ros2_emollama.model.presets import Preset

from ..instructions_tokens import NO_LOSS
from ..loop import Loop, Pace, make_optimizer, read_log
from ..state import trained_tensors
from ..whole import write_whole
from .lessons import NO_LABEL, Lesson
from .recipes import Recipe
from .student import changed_preset, random_student, recompute_activations
from .task import LessonTask, share_of
from .teach import DTYPES

if TYPE_CHECKING:
    from accelerate import Accelerator

BATCHES = 4  # that come round
PROMPT, ANSWER = 150, 60  # tokens of text before and of the answer: about those of MMEVerse's reasons
WARM = 5  # steps that are not timed: kernels are chosen, memory grows


def made_up(preset: Preset, batch: int, seed: int) -> Lesson:
    """A batch of full prefixes with random features, text and answers."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {tensor.name: tensor.shape[1:] for tensor in graph_specs(preset)["fusion"].inputs}
    streams = {name: torch.randn((batch, *shape), generator=rng) for name, shape in shapes.items()}  # type: ignore[misc]
    prefix, words = preset.prefix.tokens, preset.llama.vocab
    total = 1 + prefix + PROMPT + ANSWER
    ids = torch.randint(3, words, (batch, total), generator=rng)
    rows = torch.full((batch, total), -1)
    rows[:, 1 : 1 + prefix] = torch.arange(prefix)
    labels = torch.full((batch, total), NO_LOSS)
    labels[:, -ANSWER:] = ids[:, -ANSWER:]
    emotion = torch.randint(0, len(preset.labels), (batch,), generator=rng) if preset.has_head else torch.full((batch,), NO_LABEL)
    affect = torch.full((batch, 2), torch.nan)
    keys = tuple(f"made-up/{seed}-{place}" for place in range(batch))
    return Lesson(streams, ids, rows, labels, torch.ones_like(ids), emotion, affect, torch.ones(batch), keys)


def check(
    preset: Preset, recipe: Recipe, output: Path, accelerator: Accelerator, precision: str, checkpointing: bool, micro: int
) -> dict[str, Any]:
    """Train and measure; the report."""
    preset = changed_preset(preset, head=128)
    device = accelerator.device
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    student = random_student(preset, recipe.lora, DTYPES[precision], device)
    if checkpointing:
        recompute_activations(student.llama)
    size, times = share_of(recipe.batch, accelerator.num_processes, micro)
    made = [made_up(preset, size, 1000 * accelerator.process_index + number) for number in range(BATCHES)]
    weights = torch.cuda.memory_allocated() / 1e9 if cuda else None

    def lessons(_: int) -> Iterator[Lesson]:
        return itertools.cycle(made)

    folder = output.with_suffix("")
    pace = Pace(folder, times, save_every=recipe.steps + 1, log_every=1)
    if accelerator.is_main_process:
        (folder / "log.jsonl").unlink(missing_ok=True)
        for state in folder.glob("state-*"):  # an earlier check's: this one trains anew
            shutil.rmtree(state)
    accelerator.wait_for_everyone()
    task = LessonTask(lessons, recipe.batch, accelerator.num_processes, device)
    Loop(student, make_optimizer(student, recipe), recipe, task, accelerator, pace).run()
    lines = read_log(folder)
    seconds = [line["seconds_per_step"] for line in lines[WARM:] or lines]
    trained, whole = (sum(p.numel() for p in student.parameters() if p.requires_grad or every) for every in (False, True))
    ends = [statistics.fmean(line["loss"] for line in part) for part in (lines[:BATCHES], lines[-BATCHES:])]
    report = {
        "preset": preset.name,
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "processes": accelerator.num_processes,
        "torch": torch.__version__,
        "precision": precision,
        "checkpointing": checkpointing,
        "recipe": asdict(recipe),
        "parameters": whole,
        "trained_parameters": trained,
        "positions": int(made[0].ids.shape[1]),
        "weights_gb": weights,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if cuda else None,
        "seconds_per_step": statistics.median(seconds),
        "positions_per_second": lines[-1]["tokens"] / statistics.median(seconds),
        "loss_first": ends[0],
        "loss_last": ends[1],
        "fell": ends[1] < 0.9 * ends[0],
        "loss": [round(line["loss"], 4) for line in lines],
        "trained_tensors": len(trained_tensors(student)),
    }
    if accelerator.is_main_process:
        write_whole(output, json.dumps(report, indent=1) + "\n")
    return report


def short_recipe(recipe: Recipe, steps: int, batch: int) -> Recipe:
    """The published one for a few hundred steps: warmed up in a tenth of them, ten times the rate, so that the loss has time to fall."""
    rate = min(1e-2, 10 * recipe.learning_rate)
    return replace(recipe, steps=steps, batch=batch, warmup_steps=steps // 10, learning_rate=rate)
