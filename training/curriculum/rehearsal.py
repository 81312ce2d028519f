"""The whole curriculum in miniature, on made-up data: fabricate → index → annotate → features → stage 1 → stage 2 → all benchmarks → table.

Every step is the command a researcher with the data sets would give, at the tiny preset, in one process so that nothing is loaded twice.
Joint training for as many steps stands beside it. It shows that the programs run and that something is learnt, not how good a method is.

    RUN/data, index, annotation, features, questions     RUN/{stage1,stage2,joint}     RUN/predictions/<curriculum>     RUN/comparison.md
Goes on where it was stopped, as each command does.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..annotation import stand_in
from ..whole import whole, write_whole
from .benching import Benching, Main, comparison, headlines_of, run_command

PRESET = "emotion_llama_v2_tiny"
ANNOTATED: Mapping[str, tuple[str, bool]] = {"caer": ("CAER", False), "meld": ("MELD", True)}
"""Set → its name in MMEVerse, and whether its agents are asked over HTTP; else they are the local ones."""
CURRICULA: Mapping[str, str] = {
    "perception": "perception alone",
    "cognition": "perception, then cognition",
    "joint": "both at once, as many steps",
}


@dataclass
class Rehearsal:
    """Runs commands (`benching.Commands`) and keeps their times."""

    run: Path
    main: Main
    wheels: Path
    threads: int = 1
    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, *command: object, allowed: Sequence[int] = (0,)) -> None:
        run_command(self.main, *command, allowed=allowed)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


def rehearse(run: Path, main: Main, steps: int, per_label: int, wheels: Path, threads: int = 1) -> int:
    """All of it; 0 where every benchmark that can be scored was."""
    rehearsal = Rehearsal(run, main, wheels, threads)
    with rehearsal.timed("fabricate, index"):
        _data(rehearsal, per_label)
    with rehearsal.timed("annotate"):
        _annotate(rehearsal)
    with rehearsal.timed("start, features"):
        if not (run / "start").exists():
            rehearsal("start", "--output", run / "start", "--index", run / "index", "--read-steps", steps)
        model = ("--model", run / "start", "--runtime", "torch", "--sampling", "uniform", "--threads", threads)
        rehearsal("features", "--index", run / "index", "--output", run / "features", *model)
    for name, stages in {"stage 1": ("1", steps), "stage 2": ("2", steps), "joint": ("joint", 2 * steps)}.items():
        with rehearsal.timed(name):
            _fit(rehearsal, *stages)
    with rehearsal.timed("evaluate"):
        for name, folder in {"perception": "stage1", "cognition": "stage2", "joint": "joint"}.items():
            _evaluate(rehearsal, name, run / folder / "model")
    _compare(rehearsal)
    total = sum(rehearsal.seconds.values())
    print("\n" + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in rehearsal.seconds.items()) + f"; {total:.0f} s in all")
    return 0


def _data(rehearsal: Rehearsal, per_label: int) -> None:
    from ..fabricate import fabricate_mmeverse

    run = rehearsal.run
    if not (run / "data" / "AU_gpt").is_dir():
        fabricate_mmeverse(run / "data", per_label)
        for title, _ in ANNOTATED.values():  # their reasons are the annotation's work
            (run / "data" / "AU_gpt" / f"{title}_AU_gpt.csv").unlink()
            _drop_answers(run / "data" / title / f"{title}_merged.csv")
    rehearsal("index", "--datasets", "all", "--root", run / "data", "--output", run / "index", "--workers", 1)
    rehearsal("stats", "--index", run / "index", "--json", run / "stats.json")


def _drop_answers(table: Path) -> None:
    with table.open(newline="", encoding="utf-8") as stream:
        rows = [{key: value for key, value in row.items() if not key.startswith("response_")} for row in csv.DictReader(stream)]
    with whole(table) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _annotate(rehearsal: Rehearsal) -> None:
    run = rehearsal.run
    for name, (title, asked) in ANNOTATED.items():
        output, table = run / "annotation" / name, run / "data" / "AU_gpt" / f"{title}_AU_gpt.csv"
        if table.is_file():
            continue
        told = ("annotate", "--clips", run / "index" / f"{name}.jsonl", "--output", output, "--export", title)
        if asked:
            with stand_in.serving() as url:
                agents = [part for slot in ("visual", "audio", "reasoning") for part in (f"--{slot}", f"{stand_in.NAME}@{url}")]
                rehearsal(*told, *agents)
        else:
            rehearsal(*told)
        with whole(table) as partial:
            shutil.copyfile(output / f"{title}_AU_gpt.csv", partial)
    rehearsal("index", "--datasets", *ANNOTATED, "--root", run / "data", "--output", run / "index", "--workers", 1, "--again")


def _fit(rehearsal: Rehearsal, stage: str, steps: int) -> None:
    run = rehearsal.run
    data = ("--index", run / "index", "--features", run / "features", "--run", run)
    start = () if stage == "2" else ("--start", run / "start")
    rehearsal("fit", "--preset", PRESET, "--stage", stage, *data, *start, "--steps", steps, "--head", 16, "--threads", rehearsal.threads)


def _evaluate(rehearsal: Rehearsal, name: str, model: Path) -> None:
    run = rehearsal.run
    benching = Benching(rehearsal, run / "index", run / "questions", run / "features", rehearsal.wheels, rehearsal.threads)
    benching.score(model, run / "predictions" / name, f"tiny, {CURRICULA[name]}")


def _compare(rehearsal: Rehearsal) -> None:
    """RUN/comparison.{md,json}: the curricula side by side, whichever way it falls."""
    found = {CURRICULA[name]: headlines_of(rehearsal.run / "predictions" / name) for name in CURRICULA}
    write_whole(rehearsal.run / "comparison.json", json.dumps(found, indent=1) + "\n")
    text = comparison(found, fabricated=True)
    write_whole(rehearsal.run / "comparison.md", text)
    print(f"\n{text}\n{rehearsal.run / 'comparison.md'}")
