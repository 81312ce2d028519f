"""`python -m training start | rehearse | device-check`, and `fit` and `ablate` of the published presets."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import PRESETS, find_start, plan_of, precision_of, recipe_of

if TYPE_CHECKING:
    from .plan import Plan

Commands = Any  # argparse's own type of sub-parsers has no public name
PUBLISHED_STAGES = ("1", "2", "joint", "own")
TEXTS = 1000  # of each stage, that a start reads
LEARNT = 0.1  # a loss below it: the batch was learnt by heart


def add_start(commands: Commands) -> None:
    start = commands.add_parser("start", help="a model folder with random weights to train from: tiny ones for two cores, or at full size")
    start.add_argument("--preset", default="emotion_llama_v2_tiny", choices=PRESETS, help="(%(default)s)")
    start.add_argument("--output", required=True, metavar="DIR")
    start.add_argument("--seed", type=int, default=0, help="of the weights (%(default)s)")
    start.add_argument("--index", default="", metavar="DIR", help="a clip index whose training texts the language model reads first")
    start.add_argument("--read-steps", type=int, default=400, metavar="N", help="how long, with --index (%(default)s)")
    start.set_defaults(work=run_start)


def run_start(arguments: argparse.Namespace) -> int:
    from ..data_commands import training_clips
    from ..datasets.index import load
    from .reading import texts_of
    from .start import find_start_preset, write_start

    preset, output = find_start_preset(arguments.preset), Path(arguments.output)
    if arguments.index and arguments.read_steps > 0:
        samples = texts_of(training_clips(load(Path(arguments.index))), TEXTS)
        folder = write_start(preset, output, arguments.seed, samples, arguments.read_steps)
    else:
        folder = write_start(preset, output, arguments.seed)
    print(f"{folder.root}: {folder.model_id}; {'; '.join(folder.manifest.info['notes'])}")
    return 0


def add_rehearse(commands: Commands, data: str) -> None:
    rehearse = commands.add_parser(
        "rehearse", help="the whole curriculum in miniature on made-up data: fabricate, annotate, two stages, all benchmarks, a table"
    )
    rehearse.add_argument("--run", default="runs/tiny", metavar="DIR", help="where everything goes (%(default)s)")
    rehearse.add_argument("--steps", type=int, default=600, help="of each stage; joint training takes twice as many (%(default)s)")
    rehearse.add_argument("--per-label", type=int, default=2, help="made-up clips of each label in each split (%(default)s)")
    rehearse.add_argument("--wheels", default=f"{data}/emotion_wheel", metavar="DIR", help="MERTools' emotion_wheel folder (%(default)s)")
    rehearse.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    rehearse.set_defaults(work=run_rehearse)


def run_rehearse(arguments: argparse.Namespace) -> int:
    import torch

    from ..__main__ import main
    from .rehearsal import rehearse

    if arguments.steps < 1 or arguments.per_label < 1:
        raise ValueError(f"--steps and --per-label must be at least 1, got {arguments.steps} and {arguments.per_label}")
    torch.set_num_threads(arguments.threads)
    return rehearse(Path(arguments.run), main, arguments.steps, arguments.per_label, Path(arguments.wheels), arguments.threads)


def add_device_check(commands: Commands) -> None:
    check = commands.add_parser(
        "device-check", help="train a preset at full width with random weights for a few hundred steps: memory, step time, loss curve"
    )
    check.add_argument("--preset", default="emotion_llama_v2", choices=PRESETS, help="(%(default)s)")
    check.add_argument("--steps", type=int, default=300, help="(%(default)s)")
    check.add_argument("--batch", type=int, default=4, help="samples a step over all processes (%(default)s)")
    check.add_argument("--micro-batch", type=int, default=0, metavar="N", help="samples a process takes at once (its whole share)")
    check.add_argument("--precision", choices=("no", "bf16", "fp16"), default="", help="(bf16 on a GPU, else no)")
    check.add_argument("--checkpointing", action="store_true", help="recompute activations in the backward pass")
    check.add_argument("--output", default="device_check.json", metavar="FILE.json", help="(%(default)s)")
    check.set_defaults(work=run_device_check)


def run_device_check(arguments: argparse.Namespace) -> int:
    from ..loop import open_accelerator
    from .device_check import check, short_recipe
    from .recipes import RECIPES
    from .start import find_start_preset

    preset, precision = find_start_preset(arguments.preset), precision_of(arguments)
    accelerator = open_accelerator(precision)
    recipe = short_recipe(RECIPES[preset.name]["1"], arguments.steps, arguments.batch)
    output = Path(arguments.output)
    report = check(preset, recipe, output, accelerator, precision, arguments.checkpointing, arguments.micro_batch)
    if accelerator.is_main_process:
        memory = f"{report['memory_gb']:.1f} GB, " if report["memory_gb"] else ""
        speed = f"{report['seconds_per_step']:.3f} s a step, {report['positions_per_second']:.0f} positions a second"
        print(f"{report['device']}: {memory}{speed}; loss {report['loss_first']:.3f} → {report['loss_last']:.3f}; {output}")
    return 0 if report["fell"] else 1


def run_fit(arguments: argparse.Namespace) -> int:
    """The stages that were asked for, one after the other."""
    from ..loop import open_accelerator
    from .teach import overfit, run_stage

    stages = ["1", "2"] if "all" in arguments.stage else arguments.stage
    if arguments.csv:
        stages = ["own"]
    if ("own" in stages) != bool(arguments.csv):
        raise ValueError("--stage own and --csv FILE belong together")
    if wrong := [stage for stage in stages if stage not in PUBLISHED_STAGES]:
        raise ValueError(f"{arguments.preset} has the stages {', '.join(PUBLISHED_STAGES)} and all, got {', '.join(wrong)}")
    run = Path(arguments.run or f"runs/{arguments.preset}")
    accelerator = open_accelerator(precision_of(arguments))
    for stage in stages:
        start = find_start(arguments, run, stage, accelerator)
        plan = plan_of(arguments, run, stage, start)
        if arguments.overfit_one_batch:
            first, last = overfit(plan, arguments.overfit_one_batch, accelerator)
            return _tell_overfit(first, last, arguments.overfit_one_batch) if accelerator.is_main_process else 0
        figures = run_stage(plan, accelerator)
        if accelerator.is_main_process:
            told = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())
            print(f"{plan.model}: {told}")
    if accelerator.is_main_process:
        print(f"make it run on a robot: python -m export.to_onnx --model {plan.model}")
    return 0


def add_ablate_options(ablate: argparse.ArgumentParser, data: str) -> None:
    """Beside those of `fit`."""
    scored = ablate.add_argument_group("published presets: scores")
    scored.add_argument("--wheels", default=f"{data}/emotion_wheel", metavar="DIR", help="MERTools' emotion_wheel folder (%(default)s)")
    scored.add_argument("--max-tokens", type=int, default=200, metavar="N", help="of an answer (%(default)s)")


def run_ablate(arguments: argparse.Namespace, main: Callable[[list[str]], int]) -> int:
    """Both of the paper's tables, or one. `main` runs the program's own commands."""
    from ..loop import open_accelerator
    from .ablation import GROUPS, ablate
    from .benching import Benching, run_command

    if arguments.csv or arguments.fusion or arguments.overfit_one_batch:
        raise ValueError("--csv, --fusion and --overfit-one-batch have no place in ablate; leave them out")
    run = Path(arguments.run or f"runs/{arguments.preset}")
    accelerator = open_accelerator(precision_of(arguments))
    first = find_start(arguments, run, "1", accelerator)

    def plan_for(folder: Path, stage: Any, start: Path | None) -> Plan:
        return plan_of(arguments, folder, stage, start or first)

    command = functools.partial(run_command, main)
    index, features = Path(arguments.index), arguments.features
    threads, tokens = arguments.threads, arguments.max_tokens
    benching = Benching(command, index, run / "questions", features, Path(arguments.wheels), threads, tokens)
    steps = recipe_of(arguments, "1").steps
    for table in ablate(arguments.group or tuple(GROUPS), plan_for, run, benching, steps):
        print(f"\n{table.read_text(encoding='utf-8')}\n{table}")
    return 0


def _tell_overfit(first: float, last: float, steps: int) -> int:
    print(f"one batch, {steps} steps: loss {first:.4f} → {last:.4f}")
    if last < LEARNT:
        return 0
    print(
        f"training: one batch was not learnt by heart (loss {last:.3f}, below {LEARNT} is); try more steps or another --learning-rate, and "
        "if it never falls, look at the start's weights and at `python -m training show`",
        file=sys.stderr,
    )
    return 1
