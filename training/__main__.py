"""python -m training prepare | start | rehearse | fit | ablate | manifest | evaluate | check | report | card | device-check
sets | index | stats | show | instruct | features | annotate | sheet | agreement | score | judge"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from . import data_commands
from .annotation import commands as annotation
from .benchmarks import commands as benchmarks
from .curriculum import commands as curriculum
from .curriculum.options import PRESETS, add_fit_options, refuse_published
from .own import commands as own


def _paths(arguments: argparse.Namespace) -> object:
    from .paths import Paths

    return Paths(Path(arguments.data), Path(arguments.cache), Path(arguments.run or f"runs/{arguments.preset}"))


def _prepare(arguments: argparse.Namespace) -> int:
    from ros2_emollama.model.presets import NANO

    from .data import prepare_faces, prepare_voices
    from .face_measures import LANDMARK_MODEL
    from .hearing import prepare_mels
    from .measures import prepare_measures

    data, cache = Path(arguments.data), Path(arguments.cache)
    cache.mkdir(parents=True, exist_ok=True)
    steps = (
        ("faces.json", "faces", lambda: prepare_faces(data, cache)),
        ("voices.json", "voices", lambda: prepare_voices(data, cache)),
        ("voice_mel_ends.npy", "voices as mel power", lambda: prepare_mels(cache, NANO.audio)),
    )
    for done, what, work in steps:
        if (cache / done).is_file():
            print(f"{what}: {cache / done} stands; delete it to read the data again")
        else:
            print(f"{what}: {work()} kept")
    norms = prepare_measures(cache, model=Path(arguments.landmarks) if arguments.landmarks else LANDMARK_MODEL)
    for name, norm in norms.items():
        print(f"  {name:22s} median {norm.median:8.3f}  spread {norm.spread:7.3f}")
    return 0


def _fit(arguments: argparse.Namespace) -> int:
    import torch

    if arguments.preset in PRESETS:
        torch.set_num_threads(arguments.threads)
        return curriculum.run_fit(arguments)
    if arguments.csv:
        return own.run_own(arguments)
    refuse_published(arguments)

    from ros2_emollama.model.presets import find_preset

    from .fit import STAGES, fit_side_by_side, fit_stage

    torch.set_num_threads(arguments.threads)
    paths, preset = _paths(arguments), find_preset(arguments.preset)
    left_out = frozenset(arguments.leave_out)
    if left_out and arguments.stage != ["voice"]:
        raise ValueError("--leave-out is for the voice stage alone; add --stage voice, and a --run of its own")
    stages = STAGES if "all" in arguments.stage else arguments.stage
    if wrong := [stage for stage in stages if stage not in STAGES]:
        raise ValueError(f"nano has the stages {', '.join(STAGES)} and all, got {', '.join(wrong)}")
    if "all" in arguments.stage and arguments.threads > 1:
        fit_side_by_side(preset.name, paths, arguments.threads)  # type: ignore[arg-type]
    for stage in stages:
        print(stage, json.dumps(fit_stage(stage, preset, paths, left_out)))  # type: ignore[arg-type]
    return 0


def _manifest(arguments: argparse.Namespace) -> int:
    from .manifest import write_manifest

    path, count = write_manifest(
        Path(arguments.data), arguments.set, arguments.split, Path(arguments.output), arguments.limit, arguments.margin
    )
    print(f"{path}: {count} rows")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    if arguments.benchmark:
        return benchmarks.run_benchmarks(arguments)
    from .evaluate import evaluate, summary

    report = evaluate(arguments.model, Path(arguments.manifest), strict=arguments.strict)
    text = json.dumps(report, indent=1)
    if arguments.output:
        Path(arguments.output).write_text(text + "\n", encoding="utf-8")
        print(summary(report))
    else:
        print(text)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from .check import check, summary

    if arguments.windows < 1:
        raise ValueError(f"--windows must be at least 1, got {arguments.windows}")
    output = Path(arguments.output) if arguments.output else None
    print(summary(check(arguments.model, Path(arguments.cache), arguments.windows, arguments.seed, output)))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from ros2_emollama.model.folder import find_model, open_folder

    from .report import make_report, read_report, summary

    output = Path(arguments.output)
    missing = make_report(
        arguments.model, Path(arguments.data), output, arguments.only, arguments.limit, arguments.again, Path(arguments.cache)
    )
    if output.is_file():
        print(summary(read_report(output, open_folder(find_model(arguments.model)))))
    for name, reason in missing.items():
        print(f"training: {name} could not be measured: {reason}", file=sys.stderr)
    return 2 if missing else 0


def _ablate(arguments: argparse.Namespace) -> int:
    import torch

    from ros2_emollama.model.presets import find_preset

    if arguments.preset in PRESETS:
        torch.set_num_threads(arguments.threads)
        return curriculum.run_ablate(arguments, main)
    from .ablate import GROUPS, ablate, table

    arguments.steps = 600 if arguments.steps is None else arguments.steps
    if arguments.steps < 10:
        raise ValueError(f"--steps must be at least 10, got {arguments.steps}")
    torch.set_num_threads(arguments.threads)
    print(table(ablate(arguments.group or GROUPS, find_preset(arguments.preset), _paths(arguments), arguments.steps)))  # type: ignore[arg-type]
    return 0


def _card(arguments: argparse.Namespace) -> int:
    from ros2_emollama.model.folder import find_model

    from .card import write_card

    root = find_model(arguments.model)
    for path in write_card(root, Path(arguments.report) if arguments.report else root / "report.json"):
        print(f"wrote {path}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Fit and evaluate emollama's models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data = os.environ.get("DATA", "../shared/data")

    prepare = commands.add_parser("prepare", help="read the data tars into one cache of arrays")
    fit = commands.add_parser("fit", help="train; resumes by itself after a stop")
    check = commands.add_parser("check", help="explanations of val windows, every claim measured again")
    ablate = commands.add_parser("ablate", help="compare fusions, streams and curricula on a finished run's tokens; goes on after a stop")
    for command in (prepare, fit, check, ablate):
        command.add_argument("--data", default=data, metavar="DIR", help="folder of the data tars (%(default)s; or environment DATA)")
        command.add_argument("--cache", default="cache", metavar="DIR", help="folder of the decoded arrays (%(default)s)")
    prepare.add_argument("--landmarks", default="", metavar="FILE", help="face_landmark.tflite; left out: where `make landmarks` put it")
    for command in (fit, ablate):
        command.add_argument("--preset", "--recipe", default="nano", help="what to train: nano, or a published preset (%(default)s)")
        command.add_argument("--run", default="", metavar="DIR", help="where weights, logs and states go (runs/PRESET)")
        command.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads (%(default)s)")
    groups = ("fusion", "streams", "curriculum")
    ablate.add_argument("--group", nargs="+", default=(), choices=groups, help="what to compare (all; streams are nano's)")
    add_fit_options(ablate)
    curriculum.add_ablate_options(ablate, data)
    ablate.set_defaults(work=_ablate)
    stages = ("face", "voice", "locate", "perception", "language")
    fit.add_argument(
        "--stage",
        nargs="+",
        default=["all"],
        choices=(*stages, *curriculum.PUBLISHED_STAGES, "all"),
        help=f"what to train, in this order: nano's are {', '.join(stages)}; a published one's 1 (perception), 2 (cognition), joint (all)",
    )
    add_fit_options(fit)
    fit.add_argument(
        "--leave-out",
        nargs="+",
        default=[],
        metavar="NAME",
        help="corpora or speakers that `--stage voice` is measured on, not trained on",
    )
    prepare.set_defaults(work=_prepare)
    fit.set_defaults(work=_fit)

    manifest = commands.add_parser("manifest", help="unpack one split of one data set into a folder with a CSV for evaluate")
    manifest.add_argument("--data", default=data, metavar="DIR", help="folder of the data tars (%(default)s)")
    manifest.add_argument("--set", required=True, help="a tar's name, such as face_fer2013 or speech_ravdess")
    manifest.add_argument("--split", default="val")
    manifest.add_argument("--limit", type=int, default=0, help="at most so many rows, drawn evenly (0: all)")
    manifest.add_argument("--margin", type=float, default=0.0, help="grey border around pictures, as a share of their side (%(default)s)")
    manifest.add_argument("--output", required=True, metavar="DIR")
    manifest.set_defaults(work=_manifest)

    evaluate = commands.add_parser("evaluate", help="score a model on a CSV of single clips, or have it answer the eighteen benchmarks")
    evaluate.add_argument("--model", default="nano", help="a model's name or folder (%(default)s)")
    benchmarks.add_evaluate_options(evaluate)
    evaluate.add_argument("--output", metavar="FILE.json", help="write the report there instead of printing it")
    evaluate.add_argument("--strict", action="store_true", help="stop at the first row that cannot be used")
    evaluate.set_defaults(work=_evaluate)

    check.add_argument("--model", default="nano", help="a model's name or folder (%(default)s)")
    check.add_argument("--windows", type=int, default=500, help="how many windows are put together (%(default)s)")
    check.add_argument("--seed", type=int, default=1)
    check.add_argument("--output", metavar="FILE.json", help="also write the report there, with some of the texts")
    check.set_defaults(work=_check)

    report = commands.add_parser("report", help="every figure of a model folder into one JSON; goes on by itself after a stop")
    report.add_argument("--model", default="nano", help="a model's name or folder (%(default)s)")
    report.add_argument("--data", default=data, metavar="DIR", help="folder of the data tars and clips/ (%(default)s)")
    report.add_argument("--cache", default="cache", metavar="DIR", help="folder that `prepare` filled, for explanations (%(default)s)")
    report.add_argument("--output", required=True, metavar="FILE.json", help="what stands there is kept, if it is of this model")
    report.add_argument("--only", nargs="+", default=(), metavar="NAME", help="these evaluations only, of those in training/suite.py")
    report.add_argument("--limit", type=int, default=0, help="at most so many windows each, evenly spread (0: all)")
    report.add_argument("--again", action="store_true", help="measure again what stands there already")
    report.set_defaults(work=_report)

    card = commands.add_parser("card", help="write a report's tables and pictures into the model's MODEL_CARD.md, between its markers")
    card.add_argument("--model", default="nano", help="a model's name or folder (%(default)s)")
    card.add_argument("--report", metavar="FILE.json", help="the report (MODEL/report.json, where it is copied to)")
    card.set_defaults(work=_card)
    curriculum.add_start(commands)
    curriculum.add_rehearse(commands, data)
    curriculum.add_device_check(commands)
    data_commands.add_commands(commands)
    benchmarks.add_score(commands, data)
    benchmarks.add_judge(commands)
    annotation.add_annotation(commands)
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.work(arguments))
    except (FileNotFoundError, ImportError, KeyError, ValueError, RuntimeError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("training: stopped; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
