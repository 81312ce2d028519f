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
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..annotation import stand_in
from ..benchmarks.registry import BENCHMARKS
from ..benchmarks.tables import WATERMARK
from ..whole import whole, write_whole

Main = Callable[[list[str]], int]
PRESET = "emotion_llama_v2_tiny"
ANNOTATED: Mapping[str, tuple[str, bool]] = {"caer": ("CAER", False), "meld": ("MELD", True)}
"""Set → its name in MMEVerse, and whether its agents are asked over HTTP; else they are the local ones."""
CURRICULA: Mapping[str, str] = {
    "perception": "perception alone",
    "cognition": "perception, then cognition",
    "joint": "both at once, as many steps",
}
HEADLINES = ("Avg-9", "Avg-18")


@dataclass
class Rehearsal:
    """Runs commands and keeps their times. `main` is the program's own."""

    run: Path
    main: Main
    steps: int
    wheels: Path
    threads: int = 1
    seconds: dict[str, float] = field(default_factory=dict)

    def __call__(self, *command: object, allowed: Sequence[int] = (0,)) -> None:
        """One command. RuntimeError where it fails."""
        given = [str(part) for part in command]
        print(f"\n$ python -m training {' '.join(given)}", flush=True)
        code = self.main(given)
        if code not in allowed:
            raise RuntimeError(f"`training {' '.join(given)}` ended with {code}; what it said stands above")

    @contextmanager
    def timed(self, name: str):  # type: ignore[no-untyped-def]
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


def rehearse(run: Path, main: Main, steps: int, per_label: int, wheels: Path, threads: int = 1) -> int:
    """All of it; 0 where every benchmark that can be scored was."""
    rehearsal = Rehearsal(run, main, steps, wheels, threads)
    with rehearsal.timed("fabricate, index"):
        _data(rehearsal, per_label)
    with rehearsal.timed("annotate"):
        _annotate(rehearsal)
    with rehearsal.timed("features"):
        rehearsal("start", "--output", run / "start") if not (run / "start").exists() else None
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
    for benchmark in BENCHMARKS:
        path = run / "questions" / f"{benchmark}.jsonl"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            rehearsal("instruct", "--index", run / "index", "--stage", benchmark, "--format", "jsonl", "--output", path)
    predictions = run / "predictions" / name
    how = ("--questions", run / "questions", "--predictions", predictions, "--features", run / "features")
    words = ("--max-tokens", 24, "--threads", rehearsal.threads, "--batch", 32)
    rehearsal("evaluate", "--benchmark", "all", "--model", model, *how, *words)
    tables = ("--json", predictions / "scores.json", "--markdown", predictions / "table.md", "--latex", predictions / "table.tex")
    # 2: without MERTools' wheels five of the eighteen cannot be scored, and the table says so.
    allowed = (0,) if rehearsal.wheels.is_dir() else (0, 2)
    rehearsal("score", predictions, "--wheels", rehearsal.wheels, *tables, "--title", f"tiny, {CURRICULA[name]}", allowed=allowed)


def _compare(rehearsal: Rehearsal) -> None:
    """RUN/comparison.{md,json}: the curricula side by side, whichever way it falls."""
    found = {}
    for name in CURRICULA:
        record = json.loads((rehearsal.run / "predictions" / name / "scores.json").read_text(encoding="utf-8"))
        found[name] = headlines(record)
    write_whole(rehearsal.run / "comparison.json", json.dumps(found, indent=1) + "\n")
    text = comparison(found)
    write_whole(rehearsal.run / "comparison.md", text)
    print(f"\n{text}\n{rehearsal.run / 'comparison.md'}")


def headlines(record: Mapping[str, object]) -> dict[str, float | None]:
    """Benchmark or average → its headline figure in percent, from what `score --json` wrote; None where it was not scored."""
    scores, means = record["scores"], record["averages"]
    assert isinstance(scores, dict) and isinstance(means, dict)
    values = {name: score["figures"][score["headline"]]["value"] for name, score in scores.items()}
    values |= {name: means.get(name, {}).get("value") for name in HEADLINES}
    return {name: None if value is None else 100 * float(value) for name, value in values.items()}


def comparison(found: Mapping[str, Mapping[str, float | None]]) -> str:
    """A Markdown table, a column a curriculum."""
    lines = [
        f"**{WATERMARK}**",
        "",
        "| benchmark | " + " | ".join(CURRICULA[name] for name in found) + " |",
        "|---" * (len(found) + 1) + "|",
    ]
    for benchmark in (*BENCHMARKS, *HEADLINES):
        values = [figures.get(benchmark) for figures in found.values()]
        best = max((value for value in values if value is not None), default=None)
        told = ["–" if value is None else f"**{value:.2f}**" if value == best else f"{value:.2f}" for value in values]
        lines.append(f"| {BENCHMARKS[benchmark].title if benchmark in BENCHMARKS else benchmark} | " + " | ".join(told) + " |")
    return "\n".join(lines) + "\n"
