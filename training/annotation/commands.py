"""`python -m training annotate | sheet | agreement`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..whole import write_whole

if TYPE_CHECKING:
    from ..problems import Problems
    from .agents import Agent, Slot
    from .chat_api import Endpoint
    from .clips import AnnotationClip
    from .measuring import Measured, Measurer
    from .usage import Ledger

Commands = Any  # argparse's own type of sub-parsers has no public name
LOCAL = "local"
PUBLISHED_MODELS = {"visual": "Qwen2.5-VL", "audio": "Qwen2-Audio or Audio-Reasoner", "reasoning": "GPT-4o"}
KEY_VARIABLE = "OPENAI_API_KEY"


def add_endpoint_options(command: argparse.ArgumentParser) -> None:
    """How models are asked; see `endpoint_of`."""
    command.add_argument("--base-url", default="http://localhost:8000/v1", metavar="URL", help="of the OpenAI-compatible API (%(default)s)")
    command.add_argument(
        "--key-variable", default=KEY_VARIABLE, metavar="NAME", help="environment variable that holds the key (%(default)s)"
    )
    command.add_argument("--concurrency", type=int, default=8, metavar="N", help="questions under way at once, a model (%(default)s)")
    command.add_argument("--requests-per-minute", type=float, default=0.0, metavar="N", help="to a model; 0: no limit")
    command.add_argument("--tokens-per-minute", type=float, default=0.0, metavar="N", help="to a model; 0: no limit")
    command.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help="of one question (%(default)s)")
    command.add_argument("--retries", type=int, default=6, metavar="N", help="after a question that got no answer (%(default)s)")
    command.add_argument(
        "--price", nargs=2, type=float, default=(0.0, 0.0), metavar=("IN", "OUT"), help="of a million tokens, for the account"
    )
    command.add_argument("--budget", type=float, default=0.0, metavar="MONEY", help="stop when so much is spent, over all runs; 0: never")
    command.add_argument("--ask-again", action="store_true", help="ask anew where a kept answer was a refusal or of no use")


def endpoint_of(arguments: argparse.Namespace, model: str, base_url: str = "") -> Endpoint:
    """Where a model is asked. `model` may name its own place: NAME@URL."""
    from .chat_api import Endpoint

    name, _, own = model.partition("@http")
    return Endpoint(
        f"http{own}" if own else base_url or arguments.base_url,
        name,
        arguments.key_variable,
        arguments.requests_per_minute,
        arguments.tokens_per_minute,
        arguments.concurrency,
        arguments.timeout,
        arguments.retries,
        (arguments.price[0], arguments.price[1]),
    )


def add_annotation(commands: Commands) -> None:
    annotate = commands.add_parser(
        "annotate",
        help="describe clips: action units, what is seen, what is heard, and both put together",
        description="Describe clips by agents. Each slot is `local` (measures put into words), `none`, or a model behind the "
        "OpenAI-compatible API: its name, or NAME@URL where it has a server of its own. The key is read from the environment. Goes on "
        "where it was stopped.",
    )
    annotate.add_argument(
        "--clips", required=True, metavar="FILE", help="clip index (.jsonl), or a CSV: video_id,video,audio,label,transcript"
    )
    annotate.add_argument("--output", required=True, metavar="DIR", help="where annotations.jsonl and all that belongs to it go")
    for slot, model in PUBLISHED_MODELS.items():
        annotate.add_argument(f"--{slot}", default=LOCAL, metavar="MODEL", help=f"who answers for it; published: {model} (%(default)s)")
    annotate.add_argument("--openface", metavar="DIR", help="folder of OpenFace's <video_id>.csv; left out: local landmarks")
    annotate.add_argument("--landmarks", metavar="FILE", help="face_landmark.tflite; left out: where `make landmarks` put it")
    annotate.add_argument("--senses", default="nano", metavar="MODEL", help="model folder that finds faces and hears speech (%(default)s)")
    annotate.add_argument("--norms", metavar="DIR", help="folder with norms.json of `training prepare`; left out: ranks among these clips")
    annotate.add_argument("--task", default="", help="whose label is told to the agents, of a clip index: emotion, sentiment, …")
    annotate.add_argument("--limit", type=int, default=0, help="the first so many clips (0: all)")
    annotate.add_argument("--export", metavar="NAME", help="also write NAME_AU_gpt.csv and NAME_peak.json, as MMEVerse has them")
    annotate.add_argument("--strict", action="store_true", help="stop at the first clip that cannot be used")
    add_endpoint_options(annotate)
    annotate.set_defaults(work=run_annotate)

    sheet = commands.add_parser("sheet", help="an HTML page on which a person checks a sample of annotations")
    sheet.add_argument("--annotations", required=True, metavar="DIR", help="the output folder of `annotate`")
    sheet.add_argument("--sample", type=int, default=50, metavar="N", help="clips, every label in turn (%(default)s)")
    sheet.add_argument("--seed", type=int, default=0)
    sheet.add_argument("--output", required=True, metavar="FILE.html")
    sheet.set_defaults(work=run_sheet)

    agreement = commands.add_parser("agreement", help="how far people agree with annotations and each other, from filled sheets")
    agreement.add_argument("sheets", nargs="+", metavar="FILE.csv", help="what the page of `sheet` saved")
    agreement.add_argument("--json", metavar="FILE")
    agreement.add_argument("--strict", action="store_true", help="stop at the first answer that cannot be read")
    agreement.set_defaults(work=run_agreement)


def run_annotate(arguments: argparse.Namespace) -> int:
    from ..problems import Problems
    from .clips import read_clips
    from .usage import BudgetSpent, Ledger

    output, problems = Path(arguments.output), Problems(arguments.strict)
    clips = read_clips(Path(arguments.clips), problems, arguments.task, Path(arguments.openface) if arguments.openface else None)
    clips = clips[: arguments.limit] if arguments.limit else clips
    output.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.read(output / "usage.json", arguments.budget)
    try:
        counts = asyncio.run(_annotate(arguments, clips, output, ledger, problems))
    except BudgetSpent as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    finally:
        tell_problems(problems)
    made = max((sum(counts[what] for what in counts if what.startswith(slot)) for slot in PUBLISHED_MODELS), default=0)
    told = ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))
    print(f"{output / 'annotations.jsonl'}: {made} of {len(clips)} clips; {told}")
    if ledger.models:
        print(ledger.summary())
    if arguments.export:
        from .exports import export_mmeverse
        from .job import read_lines

        for path in export_mmeverse(list(read_lines(output / "annotations.jsonl")), output, arguments.export):
            print(f"wrote {path}")
    return 2 if any(what.endswith("failed") for what in counts) else 0


async def _annotate(
    arguments: argparse.Namespace, clips: Sequence[AnnotationClip], output: Path, ledger: Ledger, problems: Problems
) -> Mapping[str, int]:
    from .action_units import Expression
    from .agents import AudioAgent, FusingAgent, VisualAgent
    from .chat_api import ChatClient
    from .job import Job, annotate, landmarks_of, measure_clips
    from .local_agents import LocalAgent
    from .reply_cache import ReplyCache

    chosen: dict[Slot, str] = {slot: getattr(arguments, slot) for slot in ("visual", "audio", "reasoning")}
    chosen = {slot: model for slot, model in chosen.items() if model != "none"}
    without_units = [clip for clip in clips if clip.openface is None]
    measured: Mapping[str, Measured] = {}
    needs_face = LOCAL in chosen.values() or bool(without_units)
    if needs_face:
        measured = measure_clips(clips if LOCAL in chosen.values() else without_units, output, _measurer(arguments), problems)
        clips = [clip for clip in clips if clip.openface is not None or clip.video_id in measured]  # the others were told of
    norms = _norms(arguments, measured)
    kinds = {"visual": VisualAgent, "audio": AudioAgent, "reasoning": FusingAgent}
    async with AsyncExitStack() as stack:
        agents: dict[Slot, Agent] = {}
        for slot, model in chosen.items():
            if model == LOCAL:
                agents[slot] = LocalAgent(slot, measured, norms)
            else:
                client = ChatClient(endpoint_of(arguments, model), ReplyCache(output / "cache"), ledger, ask_again=arguments.ask_again)
                agents[slot] = kinds[slot](await stack.enter_async_context(client))
        landmarks = landmarks_of(measured, norms) if needs_face else lambda clip: Expression()
        return await annotate(clips, Job(output, agents, ledger, landmarks, arguments.concurrency), problems)


def _measurer(arguments: argparse.Namespace) -> Measurer:
    from ..face_measures import LANDMARK_MODEL
    from .measuring import FolderSenses, Measurer

    return Measurer(FolderSenses(arguments.senses), Path(arguments.landmarks) if arguments.landmarks else LANDMARK_MODEL)


def _norms(arguments: argparse.Namespace, measured: Mapping[str, Measured]) -> Any:
    from ..measures import Norms
    from .local_agents import LEAST_CLIPS, norms_among

    if arguments.norms:
        return Norms.read(Path(arguments.norms))
    if 0 < len(measured) < LEAST_CLIPS:
        print(f"training: ranks among {len(measured)} clips say little; give those of training: --norms CACHE", file=sys.stderr)
    return norms_among(measured.values())


def tell_problems(problems: Problems) -> None:
    """What went wrong, on stderr."""
    for text in problems.told[:10]:
        print(f"training: {text}".encode(errors="backslashreplace").decode(), file=sys.stderr)
    if problems.total > 10:
        print(f"training: {problems.total} problems in all: {dict(problems.counts)}", file=sys.stderr)


def run_sheet(arguments: argparse.Namespace) -> int:
    from .job import read_lines
    from .sheet import sample_of, sheet_html

    source, output = Path(arguments.annotations) / "annotations.jsonl", Path(arguments.output)
    if not source.is_file():
        raise FileNotFoundError(f"no {source}; make it first: python -m training annotate --output {arguments.annotations}")
    if arguments.sample < 1:
        raise ValueError(f"--sample must be at least 1, got {arguments.sample}")
    chosen = sample_of([item for item in read_lines(source) if "findings" in item], arguments.sample, arguments.seed)
    write_whole(output, sheet_html(chosen, output.parent), errors="backslashreplace")
    print(f"wrote {output}: {len(chosen)} clips")
    return 0


def run_agreement(arguments: argparse.Namespace) -> int:
    from ..problems import Problems
    from .agreement import agreement_of, markdown, read_sheets

    problems = Problems(arguments.strict)
    report = agreement_of(read_sheets([Path(path) for path in arguments.sheets], problems))
    tell_problems(problems)
    if arguments.json:
        write_whole(Path(arguments.json), json.dumps(report, indent=1) + "\n")
    print(markdown(report))
    return 0
