"""`python -m training score | judge`, and the benchmarks of `evaluate`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .registry import BENCHMARKS

if TYPE_CHECKING:
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

    from .predictions import LineError
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
        except LineError:
            raise
        except (FileNotFoundError, ImportError, ValueError) as error:
            failed[name] = str(error)
    return scores, failed


def _wheels(name: str, folder: str) -> Wheels | None:
    from .wheels import read_wheels

    return read_wheels(Path(folder)) if BENCHMARKS[name].kind in ("hit", "overlap") else None


def _write(path: str | None, text: str) -> None:
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")


def _tell(scores: dict[str, Score], failed: dict[str, str]) -> None:
    for name, score in scores.items():
        for text in score.problems.told[:5]:
            print(f"training: {text}".encode(errors="backslashreplace").decode(), file=sys.stderr)
        if score.problems.total > 5:
            print(f"training: {name}: {score.problems.total} problems in all: {dict(score.problems.counts)}", file=sys.stderr)
    for name, reason in failed.items():
        print(f"training: {name} could not be scored: {reason}".encode(errors="backslashreplace").decode(), file=sys.stderr)
