"""`python -m training score | judge`, and the benchmarks of `evaluate`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..annotation.commands import add_endpoint_options, endpoint_of, tell_problems
from ..whole import write_whole
from .registry import BENCHMARKS

if TYPE_CHECKING:
    from .generation import Answerer
    from .reasoning import Settings
    from .registry import Benchmark
    from .scoring import Score
    from .wheels import Wheels

Commands = Any  # argparse's own type of sub-parsers has no public name


def add_score(commands: Commands, data: str) -> None:
    score = commands.add_parser(
        "score",
        help="score predictions on the eighteen benchmarks; tables in Markdown and LaTeX",
        description="Score a file of {video_id, mode, answer, response} a line, or a folder ROOT/<group>/<dataset>.jsonl.",
    )
    score.add_argument("predictions", nargs="+", metavar="PATH", help="files, or folders of them")
    score.add_argument(
        "--benchmark", metavar="NAME", help="which benchmark a file belongs to, where its name does not say: " + ", ".join(BENCHMARKS)
    )
    score.add_argument("--wheels", default=f"{data}/emotion_wheel", metavar="DIR", help="MERTools' emotion_wheel folder (%(default)s)")
    score.add_argument("--json", metavar="FILE", help="write every figure there")
    score.add_argument("--markdown", metavar="FILE", help="write the table there")
    score.add_argument("--latex", metavar="FILE", help="write the table there")
    score.add_argument("--title", default="", help="of the tables: the model's name")
    score.add_argument("--bootstraps", type=int, default=1000, metavar="N", help="resamples behind the intervals; 0: none (%(default)s)")
    score.add_argument("--seed", type=int, default=0)
    score.add_argument("--strict", action="store_true", help="stop at the first line that cannot be used")
    score.add_argument(
        "--reference", action="store_true", help="score letter for letter as the published programs do, their defects with them"
    )
    score.set_defaults(work=run_score)


def add_evaluate_options(evaluate: argparse.ArgumentParser) -> None:
    """The benchmarks of `evaluate`, beside its own CSV of single clips."""
    what = evaluate.add_mutually_exclusive_group(required=True)
    what.add_argument("--manifest", metavar="FILE.csv", help="score nano's labels on a CSV of image, audio, video, label, speaker")
    what.add_argument("--benchmark", nargs="+", metavar="NAME", help=f"answer benchmarks, then score them: all, {', '.join(BENCHMARKS)}")
    evaluate.add_argument("--questions", metavar="PATH", help="with --benchmark: folder of <benchmark>.jsonl, or a file, of `instruct`")
    evaluate.add_argument("--predictions", metavar="DIR", default="predictions", help="with --benchmark: where answers go (%(default)s)")
    evaluate.add_argument(
        "--api", metavar="NAME", help="with --benchmark: ask this model over the API instead of --model; NAME or NAME@URL"
    )
    evaluate.add_argument("--batch", type=int, default=8, help="with --benchmark: clips at once (%(default)s)")
    evaluate.add_argument("--limit", type=int, default=0, help="with --benchmark: the first so many clips (0: all)")
    evaluate.add_argument("--again", action="store_true", help="with --benchmark: ask anew what is answered")
    add_endpoint_options(evaluate)
    _add_word_options(evaluate)


def _add_word_options(evaluate: argparse.ArgumentParser) -> None:
    """See `reasoning.Settings`, whose fields these are."""
    from ros2_emollama.runtime.factory import RUNTIMES

    words = evaluate.add_argument_group(
        "--benchmark with --model",
        "Models of the published kind (emotion_llama_v2, emotion_llama) answer in words, others by their label head. Clips of a batch are "
        "decoded side by side and a clip's frames are encoded together; the language model answers one question after the other.",
    )
    words.add_argument(
        "--runtime", default="auto", choices=("auto", *RUNTIMES), help="auto is torch for a folder of weights alone (%(default)s)"
    )
    words.add_argument("--threads", type=int, default=1, help="of the runtime (%(default)s)")
    words.add_argument("--workers", type=int, default=2, help="clips decoded side by side (%(default)s)")
    words.add_argument(
        "--sampling",
        choices=("uniform", "window", "middle"),
        default="uniform",
        help="which frames: evenly over the clip (the paper), neighbours at random (its code), or a window of the model's own length "
        "in the middle, with the sound of that time alone (%(default)s)",
    )
    words.add_argument(
        "--features", default="", metavar="DIR", help="shards of `features`, or `released` for MMEVerse's; what they lack is encoded"
    )
    words.add_argument(
        "--utterances",
        nargs="+",
        default=(),
        metavar="DIR",
        help="emotion_llama: folders of FaceMAE and VideoMAE vectors, ID.npy; else zeros",
    )
    words.add_argument("--max-tokens", type=int, default=200, metavar="N", help="of an answer; published %(default)s")
    words.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest word, as published (%(default)s)")
    words.add_argument("--top-p", type=float, default=0.9, metavar="P", help="at a temperature above 0 (%(default)s)")
    words.add_argument("--repeat-penalty", type=float, default=1.0, metavar="R", help="on what was just said; 1: none, as published")
    words.add_argument("--seed", type=int, default=0, help="of what is drawn at a temperature above 0")


def run_benchmarks(arguments: argparse.Namespace) -> int:
    """Questions → predictions; a benchmark that cannot be answered is told of and the others go on. Score them with `score`."""
    from ..problems import Problems, StrictError
    from .generation import generate
    from .questions import read_questions
    from .registry import find_benchmark

    if not arguments.questions:
        raise ValueError("--benchmark needs --questions; make them: python -m training instruct --stage NAME --format jsonl --output FILE")
    names = list(BENCHMARKS) if "all" in arguments.benchmark else arguments.benchmark
    root, failed = Path(arguments.predictions), {}
    make = _answerers(arguments, root)
    for benchmark in [find_benchmark(name) for name in names]:
        problems = Problems(arguments.strict)
        try:
            questions = read_questions(Path(arguments.questions), benchmark, problems)
            questions = questions[: arguments.limit] if arguments.limit else questions
            path = generate(benchmark, questions, make(benchmark), root, problems, arguments.batch, arguments.again)
            print(f"{path}: {len(questions) - problems.counts['no answer was made']} of {len(questions)} answered")
        except StrictError:
            raise
        except (FileNotFoundError, ValueError) as error:
            failed[benchmark.name] = str(error)
        finally:
            tell_problems(problems)
    for name, reason in failed.items():
        print(f"training: {name} was not answered: {reason}", file=sys.stderr)
    print(f"score them: python -m training score {root}")
    return 2 if failed else 0


def _answerers(arguments: argparse.Namespace, root: Path) -> Callable[[Benchmark], Answerer]:
    """Benchmark → who answers it; the model is loaded once."""
    from .answerers import ApiAnswerer, HeadAnswerer

    if arguments.api:
        from ..annotation.reply_cache import ReplyCache
        from ..annotation.usage import Ledger

        root.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(arguments.budget)
        asked = ApiAnswerer(endpoint_of(arguments, arguments.api), ReplyCache(root / "cache"), ledger, ask_again=arguments.ask_again)
        return lambda benchmark: asked
    from ros2_emollama.model.folder import find_model, open_folder

    from .reasoning import answers_in_words, open_answerer

    if answers_in_words(open_folder(find_model(arguments.model)).preset):
        reasoner = open_answerer(arguments.model, _settings(arguments))
        return lambda benchmark: reasoner
    from ros2_emollama.config import Config, ModelConfig, ReasonerConfig
    from ros2_emollama.pipeline import Pipeline

    model = ModelConfig(path=arguments.model, runtime=arguments.runtime, threads=arguments.threads)
    pipeline = Pipeline.load(Config(model=model, reasoner=ReasonerConfig(enabled=False)))
    return lambda benchmark: HeadAnswerer(pipeline, benchmark)


def _settings(arguments: argparse.Namespace) -> Settings:
    from .reasoning import Settings

    values = {item.name: getattr(arguments, item.name) for item in fields(Settings)}
    return Settings(**{**values, "utterances": tuple(arguments.utterances)})


def add_judge(commands: Commands) -> None:
    judge = commands.add_parser(
        "judge",
        help="explanations against reference texts, scored by a language model",
        description="Score lines of {video_id, answer: the reference text, response} by a language model. Goes on where it was stopped.",
    )
    judge.add_argument("predictions", metavar="FILE.jsonl")
    judge.add_argument(
        "--suite", choices=("emer", "reasoning"), default="reasoning", help="two scores 1 to 10, or three 0 to 10 (%(default)s)"
    )
    judge.add_argument("--judge", required=True, metavar="MODEL", help="who judges: NAME, or NAME@URL; published: gpt-3.5-turbo, GPT-4o")
    judge.add_argument("--output", required=True, metavar="DIR", help="judged.jsonl, judged.json, usage.json and the kept answers")
    judge.add_argument("--strict", action="store_true", help="stop at the first line that cannot be used")
    add_endpoint_options(judge)
    judge.set_defaults(work=run_judge)


def run_judge(arguments: argparse.Namespace) -> int:
    import asyncio

    from ..annotation.chat_api import ChatClient
    from ..annotation.reply_cache import ReplyCache
    from ..annotation.usage import Ledger
    from ..problems import Problems
    from .judge import judge, summarise
    from .predictions import read_texts

    output, problems = Path(arguments.output), Problems(arguments.strict)
    predictions = read_texts(Path(arguments.predictions), problems)
    output.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.read(output / "usage.json", arguments.budget)

    async def work() -> list[dict[str, Any]]:
        cache = ReplyCache(output / "cache")
        async with ChatClient(endpoint_of(arguments, arguments.judge), cache, ledger, ask_again=arguments.ask_again) as client:
            return await judge(client, arguments.suite, predictions, output / "judged.jsonl", problems)

    try:
        report = summarise(arguments.suite, asyncio.run(work()))
    finally:
        ledger.write(output / "usage.json")
        tell_problems(problems)
    report |= {"judge": arguments.judge, "fabricated_clips": sum(prediction.fabricated for prediction in predictions)}
    _write(str(output / "judged.json"), json.dumps(report, indent=1) + "\n")
    if report["fabricated_clips"]:
        print("FABRICATED DATA: these figures say that the programs run, and nothing of how good a model is.")
    for name, found in report["scores"].items():
        told = f"{found['mean']:.2f} [{found['interval_95'][0]:.2f} to {found['interval_95'][1]:.2f}]" if found["clips"] else "–"
        print(f"{name:21s} {told}  {found['clips']} of {report['clips']} clips")
    print(ledger.summary())
    return 0


def run_score(arguments: argparse.Namespace) -> int:
    from .predictions import find_files
    from .scoring import averages
    from .tables import latex, markdown, summary

    if arguments.bootstraps < 0:
        raise ValueError(f"--bootstraps must be at least 0, got {arguments.bootstraps}")
    files: dict[str, Path] = {}
    for path in map(Path, arguments.predictions):
        for name, file in find_files(path, arguments.benchmark).items():
            if name in files:
                raise ValueError(f"{file} and {files[name]} are both of {name}; give one of them")
            files[name] = file
    scores, failed = _score_all(files, arguments)
    record = {
        "scores": {name: score.record() for name, score in scores.items()},
        "averages": {average.name: average.record() for average in averages(scores)},
        "reference": arguments.reference,
        "failed": failed,
    }
    _write(arguments.json, json.dumps(record, indent=1, ensure_ascii=True, allow_nan=False) + "\n")
    _write(arguments.markdown, markdown(scores, arguments.title))
    _write(arguments.latex, latex(scores, arguments.title))
    print(summary(scores))
    _tell(scores, failed)
    return 2 if failed else 0


def _score_all(files: dict[str, Path], arguments: argparse.Namespace) -> tuple[dict[str, Score], dict[str, str]]:
    """Every file that can be scored, and why the others cannot."""
    from tqdm import tqdm

    from ..problems import StrictError
    from .scoring import score_file

    scores: dict[str, Score] = {}
    failed: dict[str, str] = {}
    ordered = [name for name in BENCHMARKS if name in files]
    for name in tqdm(ordered, desc="scoring", unit="set", disable=len(ordered) < 2):
        try:
            scores[name] = score_file(
                files[name],
                name,
                _wheels(name, arguments.wheels),
                arguments.strict,
                arguments.reference,
                arguments.bootstraps,
                arguments.seed,
            )
        except StrictError:
            raise
        except (FileNotFoundError, ImportError, ValueError) as error:
            failed[name] = str(error)
    return scores, failed


def _wheels(name: str, folder: str) -> Wheels | None:
    from .wheels import read_wheels

    return read_wheels(Path(folder)) if BENCHMARKS[name].kind in ("hit", "overlap") else None


def _write(path: str | None, text: str) -> None:
    if path:
        write_whole(Path(path), text, errors="backslashreplace")


def _tell(scores: dict[str, Score], failed: dict[str, str]) -> None:
    for name, score in scores.items():
        for text in score.problems.told[:5]:
            print(f"training: {text}".encode(errors="backslashreplace").decode(), file=sys.stderr)
        if score.problems.total > 5:
            print(f"training: {name}: {score.problems.total} problems in all: {dict(score.problems.counts)}", file=sys.stderr)
    for name, reason in failed.items():
        print(f"training: {name} could not be scored: {reason}".encode(errors="backslashreplace").decode(), file=sys.stderr)
