"""Options of `fit` for the published presets, and the plan they come to. Modules are imported when a command runs."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .plan import Plan
    from .recipes import Recipe

PRESETS = ("emotion_llama_v2", "emotion_llama", "emotion_llama_v2_tiny", "emotion_llama_tiny")


def add_fit_options(fit: argparse.ArgumentParser) -> None:
    """Those of the published presets; numbers left out are the published ones."""
    own = fit.add_argument_group(
        "a data set of your own",
        "For every preset. nano is taught on it in minutes on two cores, and takes of the options below only --steps, --batch, "
        "--learning-rate, --clip, --seed and --strict.",
    )
    own.add_argument(
        "--csv",
        default="",
        metavar="FILE",
        help="one table beside its files: path,label,split[,transcript,reason,…]; then there is one stage",
    )
    own.add_argument(
        "--start",
        default="",
        metavar="DIR",
        help="model folder to start from (nano: the shipped one; stage 2: what stage 1 of this run made)",
    )
    data = fit.add_argument_group(
        "published presets: data",
        "Presets of the published kind (" + ", ".join(PRESETS) + "). Several GPUs: accelerate launch -m training fit …",
    )
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
    model.add_argument("--affect", action="store_true", help="train valence and arousal beside the head, of the sets that have them")
    model.add_argument("--head-weight", type=float, default=0.5, metavar="W", help="of its loss beside the answer's (%(default)s)")
    model.add_argument("--fusion", default="", metavar="NAME", help="conv_attention, conv, attention, q_former or none (as the start)")

    how = fit.add_argument_group("published presets: steps")
    how.add_argument("--steps", type=int, metavar="N", help="(as published; a data set of your own 2000, nano 300)")
    how.add_argument("--batch", type=int, metavar="N", help="samples a step over all processes (4; nano 16 windows)")
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
        const=300,
        default=0,
        metavar="STEPS",
        help="only see whether one batch can be learnt by heart, in STEPS steps (%(const)s); nothing is kept",
    )


def refuse_published(arguments: argparse.Namespace, served: Sequence[str] = ()) -> None:
    """ValueError naming an option of `add_fit_options` that was given, where none but `served` does anything."""
    parser = argparse.ArgumentParser()
    add_fit_options(parser)
    for name, usual in vars(parser.parse_args([])).items():
        if name not in served and getattr(arguments, name) != usual:
            whose = "presets of the published kind" if served else "presets of the published kind and for a CSV of your own"
            raise ValueError(f"--{name.replace('_', '-')} is for {whose}; leave it out")


def precision_of(arguments: argparse.Namespace) -> str:
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

    data = ("behaviour", "features", "online", "sampling", "strict")
    model = ("language", "affect", "head", "head_weight", "fusion")
    how = ("checkpointing", "micro_batch", "workers", "save_every", "log_every")
    values = {name: getattr(arguments, name) for name in (*data, *model, *how)}
    return Plan(
        stage=stage,
        run=run,
        start=start,
        recipe=recipe_of(arguments, stage),
        index=Path(arguments.index),
        csv=Path(arguments.csv) if arguments.csv else None,
        datasets=tuple(arguments.datasets),
        ratios=_ratios(arguments.ratio),
        utterances=tuple(arguments.utterances),
        precision=precision_of(arguments),
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
