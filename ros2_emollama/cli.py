"""The command line: emollama analyze | info | doctor | models. The same windows and pipeline as the node, without ROS.

Records go to standard output or a file; progress, drops and errors to standard error.
Exit status: 0 done, 1 could not be done (the last line says why and what to do), 2 wrong usage, 130 interrupted.
Heavy modules are imported by the command that needs them, so that --help is quick.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from . import __version__
from .config import Config
from .options import ConfigError, add_arguments, from_arguments, from_flat, load_yaml

if TYPE_CHECKING:
    from .analysis import Tally

FORMATS = ("table", "jsonl", "csv")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    from .media import MediaError
    from .model.folder import ModelFolderError
    from .runtime.base import RuntimeUnavailable

    arguments = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, a `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ConfigError, MediaError, ModelFolderError, RuntimeUnavailable, OSError) as error:
        print(f"emollama: error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="emollama", description="Emotion labels and explanations from pictures and sound, on this machine."
    )
    parser.add_argument("--version", action="version", version=f"emollama {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("analyze", help="label a clip hop by hop", description="Label a clip hop by hop, and explain if asked.")
    command.set_defaults(command=_analyze)
    command.add_argument("clip", type=Path, metavar="CLIP", help="a video, a sound file or a picture")
    command.add_argument("--model", metavar="NAME", help="short for --model.path")
    command.add_argument("--format", choices=FORMATS, default="table", help="what a record looks like, default table")
    command.add_argument("--explain", action="store_true", help="also say why, when the label changes and now and then")
    command.add_argument("--output", type=Path, metavar="FILE", help="write the records there instead of to standard output")
    command.add_argument("--params-file", type=Path, metavar="FILE", help="a ROS params file, as the node takes it")
    command.add_argument(
        "--utterances",
        type=Path,
        nargs=2,
        metavar=("FACE.npy", "VIDEO.npy"),
        help="FaceMAE and VideoMAE vectors of the clip, for emotion_llama; without them zeros, as in its published demo",
    )
    add_arguments(command.add_argument_group("parameters, as the node's"), Config, ("model", "window", "labels", "reasoner"))

    for name, action, text in (
        ("info", _info, "what a model is: labels, window, licence, figures, memory; the node's parameters and topics; versions"),
        ("doctor", _doctor, "check this machine and the model's files, with cures"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=action)
        command.add_argument(
            "--model", metavar="NAME", help="a shipped model's name or a model folder, default: the parameters' model.path"
        )
        command.add_argument("--params-file", type=Path, metavar="FILE", help="a ROS params file, as the node takes it")
        command.add_argument("--json", action="store_true", help="for a program to read")
        if action is _doctor:
            command.add_argument("--quick", action="store_true", help="leave out the self-test of two seconds")
            what = "only the memory plan: what each runtime takes, whether it fits, what to change; NAME may be a preset's too"
            command.add_argument("--plan", action="store_true", help=what)
            command.add_argument("--runtime", metavar="NAME", help="short for model.runtime")
    text = "list the models that are there, and the published ones that can be imported, with the commands"
    command = commands.add_parser("models", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.set_defaults(command=_models)
    command.add_argument("--download", metavar="PART", help="fetch one part of a published model from Hugging Face")
    command.add_argument("--revision", default="", metavar="COMMIT", help="with --download: the commit to fetch")
    command.add_argument("--to", type=Path, metavar="DIR", help="where parts are fetched to, default downloads/PART")
    return parser


def _analyze(arguments: argparse.Namespace) -> int:
    from .analysis import Tally, analyze, writer_of
    from .media import read_clip
    from .pipeline import Pipeline

    config = from_arguments(arguments, load_yaml(arguments.params_file, Config()) if arguments.params_file else Config())
    explain = arguments.explain or vars(arguments).get("reasoner.enabled", False)
    config = from_flat({"reasoner.enabled": explain, "model.path": arguments.model or config.model.path}, config)
    read_clip(arguments.clip)  # a wrong name is told before the model is loaded
    pipeline = Pipeline.load(config, arguments.utterances) if arguments.utterances else Pipeline.load(config)
    clip = read_clip(arguments.clip, pipeline.window_spec.sample_rate_hz)
    print(f"{clip.title}: {_streams(clip.has_video, clip.has_audio)}; {pipeline.describe()}", file=sys.stderr)
    tally = Tally()
    with _destination(arguments.output) as stream, _progress(clip.duration_seconds) as on_time:
        writer = writer_of(arguments.format, stream)
        for record in analyze(clip, pipeline, config, tally, on_time):
            writer.write(record)
            stream.flush()
    _report(tally)
    return 0


def _streams(has_video: bool, has_audio: bool) -> str:
    if has_video and has_audio:
        return "pictures and sound"
    return "pictures, no sound" if has_video else "sound, no pictures"


def _report(tally: Tally) -> None:
    best = sorted(tally.mean.items(), key=lambda pair: -pair[1])[:3]
    lines = [f"{tally.records} records, {tally.explanations} explanations; mean: " + ", ".join(f"{label} {p:.2f}" for label, p in best)]
    if tally.dropped:
        lines.append("dropped: " + ", ".join(f"{cause} {count}" for cause, count in sorted(tally.dropped.items())))
    print("\n".join(lines), file=sys.stderr)


@contextmanager
def _destination(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears under its name only when it is whole."""
    if path is None:
        yield sys.stdout
        return
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as stream:
            yield stream
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _progress(total_seconds: float) -> Iterator[Callable[[float], None]]:
    """A bar on standard error, on a terminal only."""
    from tqdm import tqdm

    layout = "{l_bar}{bar}| {n:.1f}/{total:.1f} s [{elapsed}<{remaining}]"
    with tqdm(total=total_seconds, file=sys.stderr, disable=not sys.stderr.isatty(), leave=False, bar_format=layout) as bar:

        def move(seconds: float) -> None:
            bar.update(max(0.0, min(seconds, total_seconds) - bar.n))

        yield move


def _config(arguments: argparse.Namespace) -> Config:
    config = load_yaml(arguments.params_file, Config()) if arguments.params_file else Config()
    runtime = getattr(arguments, "runtime", None) or config.model.runtime
    return from_flat({"model.path": arguments.model or config.model.path, "model.runtime": runtime}, config)


def _info(arguments: argparse.Namespace) -> int:
    from .doctor import about, versions
    from .model.folder import find_model, open_folder

    config = _config(arguments)
    folder = open_folder(find_model(config.model.path))
    sections = {
        "": [*about.model_rows(folder), about.memory_row(config), *versions()],
        "parameters": about.parameter_rows(config),
        "topics": [(name, f"{direction:<8} {kind}") for direction, name, kind in about.TOPICS],
    }
    if arguments.json:
        print(json.dumps({title or "model": dict(rows) for title, rows in sections.items()}, indent=1))
        return 0
    for title, rows in sections.items():
        print(f"\n{title}" if title else "", end="\n" if title else "")
        width = max(len(name) for name, _ in rows)
        print("\n".join(f"{name:<{width}}  {value}" for name, value in rows))
    return 0


def _models(arguments: argparse.Namespace) -> int:
    from . import catalogue
    from .doctor.about import megabytes
    from .model.folder import MANIFEST, ModelFolderError, model_roots, open_folder

    if arguments.download:
        found = catalogue.download(arguments.download, arguments.revision, arguments.to or Path("downloads") / arguments.download)
        print(f"{arguments.download} is in {found}")
        return 0
    roots = sorted({path.parent for base in model_roots() for path in base.glob(f"*/{MANIFEST}")})
    if not roots:
        print(f"no models in {', '.join(map(str, model_roots()))}; train one (make train-nano) or import one of these", file=sys.stderr)
    for root in roots:
        try:
            folder = open_folder(root)
            print(f"{folder.manifest.name:<20} {megabytes(folder):>6.1f} MB  {' '.join(folder.preset.labels)}  {root}")
        except ModelFolderError as error:
            print(f"{root.name:<20} unusable: {error}")
    print(catalogue.table(arguments.to or Path("downloads")))
    return 0 if roots else 1


def _doctor(arguments: argparse.Namespace) -> int:
    from .doctor import PROBLEM, examine

    if arguments.plan:
        return _plan(arguments)
    problems, found = 0, []
    for finding in examine(_config(arguments), quick=arguments.quick):
        problems += finding.grade == PROBLEM
        found.append(finding.to_dict())
        if not arguments.json:
            print(f"{finding.grade:<8} {finding.subject:<16} {finding.line}", flush=True)
    if arguments.json:
        print(json.dumps(found, indent=1))
    return int(problems > 0)


def _plan(arguments: argparse.Namespace) -> int:
    """0 where the runtime that would serve fits."""
    from .doctor import Machine, memory

    config = _config(arguments)
    setup, (room, told) = memory.setup_of(config), memory.room_of(Machine())
    runtime = memory.chosen(config, room)
    print(memory.as_json(setup, room, runtime) if arguments.json else memory.table(setup, room, told, runtime))
    return int(not next(one.fits for one in memory.judge(setup, room) if one.setup.runtime == runtime))


if __name__ == "__main__":
    sys.exit(main())
