"""A trained folder through all benchmarks that an index has clips of, by the program's own commands; several side by side in a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..benchmarks.registry import BENCHMARKS
from ..benchmarks.tables import WATERMARK
from ..datasets.index import entries
from ..instructions_tables import EVALUATIONS

Main = Callable[[list[str]], int]
HEADLINES = ("Avg-9", "Avg-18")
Figures = Mapping[str, float | None]


class Commands(Protocol):
    """Runs one command of the program. RuntimeError where it ends with a code that is not allowed."""

    def __call__(self, *command: object, allowed: Sequence[int] = (0,)) -> None: ...


def run_command(main: Main, *command: object, allowed: Sequence[int] = (0,)) -> None:
    """See `Commands`; `main` is the program's own."""
    given = [str(part) for part in command]
    print(f"\n$ python -m training {' '.join(given)}", flush=True)
    code = main(given)
    if code not in allowed:
        raise RuntimeError(f"`training {' '.join(given)}` ended with {code}; what it said stands above")


@dataclass(frozen=True)
class Benching:
    """How models are asked and scored. features: "" encodes everything anew."""

    command: Commands
    index: Path
    questions: Path
    features: Path | str
    wheels: Path
    threads: int = 1
    max_tokens: int = 24
    batch: int = 32

    def score(self, model: Path, predictions: Path, title: str) -> Figures:
        """Ask what is not asked yet; headline figures in percent. Tables lie beside the predictions."""
        held = entries(self.index)
        names = [name for name, plan in EVALUATIONS.items() if name in BENCHMARKS and plan.set in held]
        if not names:
            raise ValueError(f"{self.index} holds no set that a benchmark asks about; index some: python -m training index")
        for benchmark in names:
            path = self.questions / f"{benchmark}.jsonl"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                self.command("instruct", "--index", self.index, "--stage", benchmark, "--format", "jsonl", "--output", path)
        shards = ("--features", self.features) if self.features else ()
        how = ("--questions", self.questions, "--predictions", predictions, *shards)
        words = ("--max-tokens", self.max_tokens, "--threads", self.threads, "--batch", self.batch)
        self.command("evaluate", "--benchmark", *names, "--model", model, *how, *words)
        tables = ("--json", predictions / "scores.json", "--markdown", predictions / "table.md", "--latex", predictions / "table.tex")
        # 2: without MERTools' wheels those benchmarks cannot be scored that need them, and the table says so.
        allowed = (0,) if self.wheels.is_dir() else (0, 2)
        self.command("score", predictions, "--wheels", self.wheels, *tables, "--title", title, allowed=allowed)
        return headlines_of(predictions)


def headlines_of(predictions: Path) -> Figures:
    """Benchmark or average → its headline figure in percent, from what `score --json` wrote; None where it was not scored."""
    record = json.loads((predictions / "scores.json").read_text(encoding="utf-8"))
    values = {name: score["figures"][score["headline"]]["value"] for name, score in record["scores"].items()}
    values |= {name: record["averages"].get(name, {}).get("value") for name in HEADLINES}
    return {name: None if value is None else 100 * float(value) for name, value in values.items()}


def comparison(found: Mapping[str, Figures], fabricated: bool) -> str:
    """A Markdown table, a column a model; the best of each row is bold."""
    lines = [f"**{WATERMARK}**", ""] if fabricated else []
    lines += ["| benchmark | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for benchmark in (*BENCHMARKS, *HEADLINES):
        values = [figures.get(benchmark) for figures in found.values()]
        best = max((value for value in values if value is not None), default=None)
        told = ["–" if value is None else f"**{value:.2f}**" if value == best else f"{value:.2f}" for value in values]
        lines.append(f"| {BENCHMARKS[benchmark].title if benchmark in BENCHMARKS else benchmark} | " + " | ".join(told) + " |")
    return "\n".join(lines) + "\n"
