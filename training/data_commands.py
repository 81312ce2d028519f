"""Commands about data sets: sets, index, stats, show, instruct, features.

They stand beside `prepare`, which is nano's: that one decodes tars of faces and voices into arrays, `index` writes down what a clip is and
where it lies, and the two share no option.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .records import Clip, Sample

WIDTH = 110


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parsers; modules are imported when a command runs."""
    _add_index(commands.add_parser("index", help="read data sets into one clip index; says what is missing or broken"))
    commands.add_parser("sets", help="the data sets there are: licence, labels, what folder to give").set_defaults(work=_sets)
    stats = commands.add_parser("stats", help="clips by set, split and label, beside the published counts")
    show = commands.add_parser("show", help="samples of an index as a person would read them")
    instruct = commands.add_parser("instruct", help="write instruction samples: JSON Lines or WebDataset")
    features = commands.add_parser("features", help="compute encoder features once; goes on by itself after a stop")
    for command in (stats, show, instruct, features):
        command.add_argument("--index", default="index", metavar="DIR", help="the clip index (%(default)s)")
        command.add_argument("--datasets", nargs="+", default=[], metavar="NAME", help="these sets only (all of the index)")
    stats.add_argument("--json", metavar="FILE", help="write the counts there as well")
    stats.set_defaults(work=_stats)
    for command in (show, instruct):
        command.add_argument("--stage", default="stage1", help="stage1, stage2, or a benchmark such as meld_emotion (%(default)s)")
        command.add_argument("--behaviour", default="default", help="default, reference (repeats its defects) or labels-only (%(default)s)")
        command.add_argument(
            "--count", type=int, default=5 if command is show else 0, help="how many samples (%(default)s; 0: all, or a pass)"
        )
        command.add_argument("--seed", type=int, default=42)
    show.set_defaults(work=_show)
    instruct.add_argument("--format", choices=("jsonl", "webdataset"), default="jsonl", help="(%(default)s)")
    instruct.add_argument("--output", required=True, metavar="PATH", help="a file for jsonl, a folder for webdataset")
    instruct.add_argument("--per-shard", type=int, default=1000, help="samples in a tar (%(default)s)")
    instruct.add_argument("--without-media", action="store_true", help="records only; media are read where the index found them")
    instruct.set_defaults(work=_instruct)
    _add_features(features)


def _add_index(command: argparse.ArgumentParser) -> None:
    from .datasets.problems import KINDS
    from .datasets.registry import LAYOUTS, LOOKS

    command.add_argument(
        "--datasets",
        nargs="+",
        required=True,
        metavar="NAME[=DIR]",
        help="sets, each with its folder, or by name under --root; 'all' for all",
    )
    command.add_argument("--root", metavar="DIR", help="folder that holds the sets' folders")
    command.add_argument("--output", default="index", metavar="DIR", help="where the index goes (%(default)s)")
    command.add_argument(
        "--layout", choices=LAYOUTS, default="auto", help="as the publisher packs a set, or as MMEVerse does (%(default)s)"
    )
    command.add_argument("--media", choices=LOOKS, default="probe", help="how closely media files are looked at (%(default)s)")
    command.add_argument("--strict", action="store_true", help="stop at the first problem instead of skipping the row")
    command.add_argument(
        "--allow", nargs="+", default=[], metavar="KIND", help=f"with --strict: problems that are accepted: {', '.join(KINDS)}"
    )
    command.add_argument("--encoding", default="utf-8", help="of tables and lists (%(default)s)")
    command.add_argument("--fold", type=int, choices=range(1, 6), default=1, help="of DFEW and MAFW (%(default)s)")
    command.add_argument("--workers", type=int, default=4, help="files looked at side by side (%(default)s)")
    command.add_argument("--again", action="store_true", help="read again what stands in the index")
    command.set_defaults(work=_index)


def _add_features(command: argparse.ArgumentParser) -> None:
    command.add_argument("--output", default="features", metavar="DIR", help="where shards go (%(default)s)")
    command.add_argument("--model", default="nano", help="the model folder whose encoders are frozen (%(default)s)")
    command.add_argument("--runtime", default="auto", help="auto, onnxruntime or torch (%(default)s)")
    command.add_argument("--streams", nargs="+", default=["frames", "scene", "audio"], help="(%(default)s)")
    command.add_argument("--sampling", choices=("uniform", "window", "middle"), default="middle", help="which frames (%(default)s)")
    command.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="(%(default)s)")
    command.add_argument("--per-shard", type=int, default=256, help="clips in a shard (%(default)s)")
    command.add_argument("--threads", type=int, default=1, help="of the runtime (%(default)s)")
    command.add_argument("--cluster", default="", metavar="ADDRESS", help="Ray's address, or 'local'; left out: here, one after the other")
    command.add_argument("--workers", type=int, default=1, help="Ray actors (%(default)s)")
    command.add_argument("--gpus-each", type=float, default=0.0, help="GPUs of an actor (%(default)s)")
    command.add_argument("--strict", action="store_true", help="fail when a clip could not be encoded")
    command.add_argument("--retry", action="store_true", help="make shards again in which a clip failed")
    command.set_defaults(work=_features)


def _sets(_: argparse.Namespace) -> int:
    from .datasets import all_sets

    for name, dataset in all_sets().items():
        tasks = [f"{task}: {', '.join(space.labels) or 'any words'}" for task, space in dataset.tasks.items()]
        print(f"{name}  {dataset.title}  ({dataset.role}; {dataset.licence})")
        for line in (dataset.layout, *tasks):
            print(textwrap.fill(line, WIDTH, initial_indent="    ", subsequent_indent="      "))
    return 0


def _index(arguments: argparse.Namespace) -> int:
    from .datasets import find_set
    from .datasets.index import Options, build

    output = Path(arguments.output)
    options = Options(arguments.layout, arguments.media, arguments.encoding, arguments.fold, arguments.strict, tuple(arguments.allow))
    for name, root in _roots(arguments.datasets, arguments.root):
        entry, stood = build(name, root, output, options, arguments.workers, arguments.again)
        problems = ", ".join(f"{count} {kind}" for kind, count in entry.problems.items()) or "no problems"
        left = "".join(f", {count} left out {reason}" for reason, count in entry.left_out.items())
        what = "stands" if stood else "read"
        print(f"{find_set(name).title}: {what}, {sum(entry.clips.values())} clips of {sum(entry.rows.values())} rows; {problems}{left}")
        if entry.problems:
            print(f"  {output / f'{name}.problems.jsonl'}")
    return 0


def _roots(wanted: list[str], base: str | None) -> Iterator[tuple[str, Path]]:
    from .datasets import all_sets, find_set
    from .datasets.registry import find_root

    for text in list(all_sets()) if wanted == ["all"] else wanted:
        name, _, folder = text.partition("=")
        dataset = find_set(name)
        if folder:
            yield name, Path(folder)
        elif base:
            yield name, find_root(Path(base), dataset)
        else:
            raise ValueError(f"where is {dataset.title}? Say --datasets {name}=DIR, or --root DIR with all sets' folders in it")


def _stats(arguments: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from .datasets.index import load
    from .datasets.stats import count, text

    lines = [line for name, clips in load(Path(arguments.index), arguments.datasets).items() for line in count(name, clips)]
    print(text(lines))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n", encoding="utf-8")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    for sample in itertools.islice(_samples(arguments), arguments.count):
        print(read_aloud(sample))
    return 0


def _instruct(arguments: argparse.Namespace) -> int:
    from .instructions_shards import write_shards
    from .records import write_records

    output = Path(arguments.output)
    samples = _samples(arguments)
    if arguments.format == "jsonl":
        print(f"{output}: {write_records(output, samples)} samples")
        return 0
    shards = write_shards(samples, output, arguments.per_shard, media=not arguments.without_media)
    missing = sum(shard.missing for shard in shards)
    print(f"{output}: {sum(shard.samples for shard in shards)} samples in {len(shards)} shards, {missing} media files missing")
    return 0


def _samples(arguments: argparse.Namespace) -> Iterator[Sample]:
    """The samples of a stage's mixture (one pass' worth of clips where no count is given), or of a benchmark."""
    from .datasets.index import load
    from .instructions import BEHAVIOURS, evaluation_samples
    from .instructions_mixture import Mixture
    from .instructions_tables import EVALUATIONS, PLANS

    if arguments.behaviour not in BEHAVIOURS:
        raise ValueError(f"no behaviour {arguments.behaviour!r}; there are {', '.join(BEHAVIOURS)}")
    behaviour = BEHAVIOURS[arguments.behaviour]
    index = Path(arguments.index)
    if arguments.stage in EVALUATIONS:
        plan = EVALUATIONS[arguments.stage]
        samples = list(evaluation_samples(arguments.stage, load(index, [plan.set])[plan.set], behaviour=behaviour))
        if arguments.count and arguments.count < len(samples):
            samples = random.Random(arguments.seed).sample(samples, arguments.count)
        yield from samples
        return
    if arguments.stage not in PLANS:
        raise ValueError(f"no stage or benchmark {arguments.stage!r}; there are {', '.join((*PLANS, *EVALUATIONS))}")
    clips = training_clips(load(index, arguments.datasets))
    mixture = Mixture(clips, arguments.stage, arguments.seed, behaviour=behaviour)
    count = arguments.count or sum(len(clips[name]) for name in mixture.shares)
    yield from (sample for _, sample in itertools.islice(mixture.stream(), count))


def training_clips(clips: dict[str, list[Clip]]) -> dict[str, list[Clip]]:
    """The clips of each set's training splits."""
    from .datasets import find_set

    return {name: [clip for clip in found if clip.split in find_set(name).train_splits] for name, found in clips.items()}


def _features(arguments: argparse.Namespace) -> int:
    from .datasets.index import load
    from .features import compute
    from .features_encoders import open_runtime_encoder

    def make() -> object:
        return open_runtime_encoder(arguments.model, arguments.runtime, arguments.threads, arguments.streams, arguments.sampling)[0]

    fingerprint = open_runtime_encoder(arguments.model, arguments.runtime, arguments.threads, arguments.streams, arguments.sampling)[1]
    clips = [clip for found in load(Path(arguments.index), arguments.datasets).values() for clip in found]
    failed = compute(
        clips,
        make,  # type: ignore[arg-type]
        fingerprint,
        Path(arguments.output),
        arguments.per_shard,
        arguments.dtype,
        arguments.cluster,
        arguments.workers,
        arguments.gpus_each,
        arguments.retry,
    )
    print(f"{arguments.output}: features of {len(clips) - len(failed)} of {len(clips)} clips, {fingerprint}")
    for key, reason in list(failed.items())[:20]:
        print(f"  {key}: {reason}")
    return 2 if failed and arguments.strict else 0


def read_aloud(sample: Sample) -> str:
    """A sample as a person would read it."""
    from .instructions import prompt_text

    media = sample.media
    length = f"{media.seconds:.1f} s" if media.seconds else ""
    facts = ", ".join(part for part in (length, f"{media.frames} frames" if media.frames else "", media.side) if part)
    part = f" from {media.start_seconds:.1f} to {media.end_seconds:.1f} s" if media.end_seconds is not None else ""
    lines = {
        "files": "  ".join(media.files) + part + (f"  ({facts})" if facts else ""),
        "said": f"“{sample.transcript}”" if sample.transcript else "(nothing)",
        "shown": ", ".join(sample.streams),
        "prompt": prompt_text(sample).replace("<VideoHere>", "▮"),
        "answer": sample.answer,
        "from": f"{sample.provenance.file}, row {sample.provenance.row} ({sample.provenance.source})",
    }
    width = min(shutil.get_terminal_size().columns, WIDTH)
    wrapped = [textwrap.fill(f"{name:8}{text}", width, initial_indent="  ", subsequent_indent=" " * 10) for name, text in lines.items()]
    return "\n".join((f"{sample.set} {sample.id}  {sample.split}  [{sample.task}]", *wrapped, ""))
