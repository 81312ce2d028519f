"""`python -m training fit` for presets of the published kind, and `start`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .plan import Plan
    from .recipes import Recipe

Commands = Any  # argparse's own type of sub-parsers has no public name
PUBLISHED_STAGES = ("1", "2", "joint")
LEARNT = 0.1  # a loss below it: the batch was learnt by heart
PRESETS = ("emotion_llama_v2", "emotion_llama", "emotion_llama_v2_tiny", "emotion_llama_tiny")


def add_start(commands: Commands) -> None:
    start = commands.add_parser("start", help="a model folder with random weights to train from: tiny ones for two cores, or at full size")
    start.add_argument("--preset", default="emotion_llama_v2_tiny", choices=PRESETS, help="(%(default)s)")
    start.add_argument("--output", required=True, metavar="DIR")
    start.add_argument("--seed", type=int, default=0, help="of the weights (%(default)s)")
    start.set_defaults(work=run_start)


def run_start(arguments: argparse.Namespace) -> int:
    from .start import find_start_preset, write_start

    folder = write_start(find_start_preset(arguments.preset), Path(arguments.output), arguments.seed)
    print(f"{folder.root}: {folder.model_id}, random weights")
    return 0


def add_rehearse(commands: Commands, data: str) -> None:
    rehearse = commands.add_parser(
        "rehearse", help="the whole curriculum in miniature on made-up data: fabricate, annotate, two stages, all benchmarks, a table"
    )
    rehearse.add_argument("--run", default="runs/tiny", metavar="DIR", help="where everything goes (%(default)s)")
    rehearse.add_argument("--steps", type=int, default=300, help="of each stage; joint training takes twice as many (%(default)s)")
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


def add_fit_options(fit: argparse.ArgumentParser) -> None:
    """Those of the published presets; numbers left out are the published ones."""
    data = fit.add_argument_group(
        "published presets: data",
        "Presets of the published kind (" + ", ".join(PRESETS) + "). Several GPUs: accelerate launch -m training fit …",
    )
    data.add_argument("--start", default="", metavar="DIR", help="model folder to start from (stage 2: what stage 1 of this run made)")
    data.add_argument("--index", default="index", metavar="DIR", help="the clip index (%(default)s)")
    data.add_argument("--datasets", nargs="+", default=[], metavar="NAME", help="these sets only (all of the index)")
    data.add_argument("--ratio", nargs="+", default=[], metavar="NAME=R", help="shares of sets, where not the published ones")
    data.add_argument("--behaviour", default="default", help="of instructions: default, reference or labels-only (%(default)s)")
    data.add_argument("--features", default="", metavar="DIR", help="shards of `features`, or `released`; left out: encoded while training")
    data.add_argument("--online", action="store_true", help="encode what the shards lack while training")
    data.add_argument("--sampling", choices=("uniform", "window", "middle"), default="uniform", help="frames encoded here (%(default)s)")
    data.add_argument("--utterances", nargs="+", default=(), metavar="DIR", help="emotion_llama: folders of FaceMAE and VideoMAE vectors")
    data.add_argument("--strict", action="store_true", help="stop at the first clip that cannot be used")

    model = fit.add_argument_group("published presets: model")
    model.add_argument(
        "--language",
        choices=("lora", "qlora", "whole", "frozen"),
        default="lora",
        help="how the language model learns: LoRA, LoRA on 4-bit weights, all of it, or not at all (%(default)s)",
    )
    model.add_argument("--lora-rank", type=int, metavar="R", help="(64)")
    model.add_argument("--lora-alpha", type=float, metavar="A", help="(16)")
    model.add_argument("--head", type=int, metavar="N", help="train a label head of N hidden units beside (as the start has it; 0: none)")
    model.add_argument("--head-weight", type=float, default=0.5, metavar="W", help="of its loss beside the answer's (%(default)s)")
    model.add_argument("--fusion", default="", metavar="NAME", help="conv_attention, conv, attention, q_former or none (as the start)")

    how = fit.add_argument_group("published presets: steps")
    how.add_argument("--steps", type=int, metavar="N")
    how.add_argument("--batch", type=int, metavar="N", help="samples a step over all processes (4)")
    how.add_argument("--micro-batch", type=int, default=0, metavar="N", help="samples a process takes at once (its whole share)")
    how.add_argument("--learning-rate", type=float, metavar="R")
    how.add_argument("--warmup-steps", type=int, metavar="N")
    how.add_argument("--clip", type=float, metavar="NORM", help="largest norm of gradients; 0: none")
    how.add_argument("--seed", type=int, metavar="N", help="(42)")
    how.add_argument("--precision", choices=("no", "bf16", "fp16"), default="", help="(bf16 on a GPU, else no)")
    how.add_argument("--checkpointing", action="store_true", help="recompute activations: far less memory, a third more time")
    how.add_argument("--workers", type=int, default=2, help="clips looked at side by side (%(default)s)")
    how.add_argument("--save-every", type=int, default=500, metavar="N", help="steps between states to go on from (%(default)s)")
    how.add_argument("--log-every", type=int, default=10, metavar="N", help="steps a line of the log is a mean of (%(default)s)")
    how.add_argument(
        "--overfit-one-batch",
        nargs="?",
        type=int,
        const=200,
        default=0,
        metavar="STEPS",
        help="only see whether one batch can be learnt by heart, in STEPS steps (%(const)s); nothing is kept",
    )


def run_fit(arguments: argparse.Namespace) -> int:
    """The stages that were asked for, one after the other."""
    from .teach import open_accelerator, overfit, run_stage

    stages = ["1", "2"] if "all" in arguments.stage else arguments.stage
    if wrong := [stage for stage in stages if stage not in PUBLISHED_STAGES]:
        raise ValueError(f"{arguments.preset} has the stages {', '.join(PUBLISHED_STAGES)} and all, got {', '.join(wrong)}")
    run = Path(arguments.run or f"runs/{arguments.preset}")
    accelerator = open_accelerator(_precision(arguments))
    for stage in stages:
        start = find_start(arguments, run, stage, accelerator)
        plan = plan_of(arguments, run, stage, start)
        if arguments.overfit_one_batch:
            first, last = overfit(plan, arguments.overfit_one_batch, accelerator)
            return _tell_overfit(first, last, arguments.overfit_one_batch)
        figures = run_stage(plan, accelerator)
        if accelerator.is_main_process:
            told = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in figures.items())
            print(f"{plan.model}: {told}")
    if accelerator.is_main_process:
        print(f"make it run on a robot: python -m export.to_onnx --model {plan.model}")
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


def _precision(arguments: argparse.Namespace) -> str:
    import torch

    return str(arguments.precision or ("bf16" if torch.cuda.is_available() else "no"))


def find_start(arguments: argparse.Namespace, run: Path, stage: str, accelerator: Any) -> Path:
    """Where a stage starts. FileNotFoundError with the cure; a tiny preset's start is made."""
    from .start import TINY, write_start

    first = run / "stage1" / "model"
    if stage == "2" and (not arguments.start or "all" in arguments.stage or "1" in arguments.stage):
        if not (first / "manifest.json").is_file():
            raise FileNotFoundError(f"stage 2 goes on from {first}, which is not there; run --stage 1 first, or give --start")
        return first
    if arguments.start:
        return Path(arguments.start)
    if arguments.preset not in TINY:
        raise FileNotFoundError(
            f"{arguments.preset} needs --start: import published weights (python -m export.import_checkpoint --preset {arguments.preset} "
            "--initialise-missing --lora kept --without-graphs …), or make random ones: python -m training start"
        )
    made = run / "start"
    if accelerator.is_main_process and not (made / "manifest.json").is_file():
        write_start(TINY[arguments.preset], made)
    accelerator.wait_for_everyone()
    return made


def plan_of(arguments: argparse.Namespace, run: Path, stage: Any, start: Path) -> Plan:
    """The plan of a stage. ValueError naming the option that is out of its range."""
    from .plan import Plan

    names = ("behaviour", "features", "online", "sampling", "language", "head_weight", "fusion", "checkpointing", "micro_batch", "workers")
    values = {name: getattr(arguments, name) for name in (*names, "save_every", "log_every", "strict")}
    return Plan(
        stage=stage,
        run=run,
        start=start,
        recipe=recipe_of(arguments, stage),
        index=Path(arguments.index),
        datasets=tuple(arguments.datasets),
        ratios=_ratios(arguments.ratio),
        utterances=tuple(arguments.utterances),
        head=arguments.head,
        precision=_precision(arguments),
        **values,
    )


def recipe_of(arguments: argparse.Namespace, stage: Any) -> Recipe:
    """The preset's own, with what was given."""
    from .recipes import RECIPES

    recipe = RECIPES[arguments.preset][stage]
    names = ("steps", "batch", "learning_rate", "warmup_steps", "clip", "seed")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if "learning_rate" in given:
        given["least_rate"] = min(recipe.least_rate, given["learning_rate"])
        given["warmup_rate"] = min(recipe.warmup_rate, given["learning_rate"])
    lora = {name: getattr(arguments, f"lora_{name}") for name in ("rank", "alpha") if getattr(arguments, f"lora_{name}") is not None}
    return dataclasses.replace(recipe, **given, lora=dataclasses.replace(recipe.lora, **lora))


def _ratios(texts: Sequence[str]) -> dict[str, float]:
    ratios = {}
    for text in texts:
        name, found, share = text.partition("=")
        try:
            ratios[name] = float(share)
        except ValueError:
            found = ""
        if not found or not ratios[name] >= 0:
            raise ValueError(f"--ratio must be NAME=NUMBER with a number of 0 or more, got {text!r}")
    return ratios
