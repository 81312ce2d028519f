"""Predictions as lines → checked records. What is wrong with a line is named with file and row, counted, and fatal only where asked.

In:  FILE.jsonl, a JSON object a line: video_id, mode, answer (the truth), response (what the model said), and where they are there
     new_response (the response put right afterwards, which then counts), scores {label: number}, speaker, person, provenance, error.
     A folder ROOT/<group>/<dataset>.jsonl as score.sh of Emotion-LLaMAv2 reads it, or ROOT/<dataset>.jsonl.
Out: `Prediction`s and `Problems`.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..problems import Problems
from .registry import BENCHMARKS, Benchmark, find_benchmark

T = TypeVar("T")
TEXT_KEYS = ("mode", "speaker", "person")


@dataclass(frozen=True)
class Prediction:
    """One clip's answer. `row` is its line in the file; `response` is what counts, lower case nowhere yet."""

    row: int
    video_id: str
    mode: str
    answer: str
    response: str
    raw_response: str = ""
    scores: Mapping[str, float] | None = None
    speaker: str = ""
    person: str = ""
    fabricated: bool = False


def read_texts(path: Path, problems: Problems) -> list[Prediction]:
    """Every usable line, whatever benchmark it is of: its answer is the reference text. FileNotFoundError, ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; it should hold lines of video_id, answer (the reference text) and response")
    found = [_prediction(path, row, item, problems) for row, item in _objects(path, problems)]
    kept = [prediction for prediction in found if prediction is not None]
    if not kept:
        raise ValueError(f"{path} has no usable line; first problem: {problems.told[0] if problems.told else 'it is empty'}")
    return kept


def read_predictions(path: Path, benchmark: Benchmark, problems: Problems, doubles: bool = False) -> tuple[list[Prediction], Counter[str]]:
    """The usable lines of the benchmark's modes in their order, and how many lines other modes have.

    Of lines with one video_id, mode and person the last counts, as in MER-UniBench's own scorer: a run that was started again appends.
    `doubles` keeps them all, as Emotion-LLaMAv2's other scorers do.
    FileNotFoundError; ValueError when nothing is left.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no predictions {path}; make them first: python -m training evaluate --benchmark {benchmark.name}")
    kept: dict[tuple[str | int, ...], Prediction] = {}
    others: Counter[str] = Counter()
    for row, item in _objects(path, problems):
        found = _prediction(path, row, item, problems)
        if found is None:
            continue
        if benchmark.modes and found.mode not in benchmark.modes:
            others[found.mode] += 1
            continue
        key = (row,) if doubles else (found.video_id, found.mode, found.person)
        if key in kept:
            problems.add(
                "double video_id", f"{path}:{row}", detail=f"{found.video_id!r} stands in line {kept[key].row} too; the last one counts"
            )
        kept[key] = found
    if not kept:
        wanted = f" with mode {' or '.join(benchmark.modes)}" if benchmark.modes else ""
        held = f"; it holds the modes {', '.join(map(repr, sorted(others)))}" if others else ""
        first = f"; first problem: {problems.told[0]}" if problems.told else ""
        raise ValueError(f"{path} has no usable line{wanted} for {benchmark.name}{held}{first}")
    return list(kept.values()), others


def parsed_lines(path: Path, problems: Problems, kind: str, build: Callable[[Any, str], T]) -> Iterator[tuple[str, T]]:
    """(file and row, what `build` makes of the line's JSON and that) of every line; one that it refuses is a problem of that kind."""
    with path.open("rb") as stream:
        for row, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            where = f"{path}:{row}"
            try:
                built = build(json.loads(line.decode("utf-8-sig" if row == 1 else "utf-8")), where)
            except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
                problems.add(kind, where, detail=f"{type(error).__name__}: {error}"[:160])
            else:
                yield where, built


def _objects(path: Path, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as stream:
        for row, line in enumerate(stream, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf") if row == 1 else line
            if not text.strip():
                continue
            where = f"{path}:{row}"
            try:
                item = json.loads(text.decode("utf-8"))
            except UnicodeDecodeError as error:
                problems.add("not UTF-8", where, detail=f"byte {error.start}; write the file as UTF-8")
            except (ValueError, RecursionError) as error:
                problems.add("not JSON", where, detail=str(error)[:120])
            else:
                if isinstance(item, dict):
                    yield row, item
                else:
                    problems.add("not a JSON object", where, detail=f"got {type(item).__name__}")


def _prediction(path: Path, row: int, item: dict[str, Any], problems: Problems) -> Prediction | None:
    where = f"{path}:{row}"
    video_id = item.get("video_id")
    if isinstance(video_id, int) and not isinstance(video_id, bool):
        video_id = str(video_id)
    if not isinstance(video_id, str) or not video_id.strip():
        problems.add("no video_id", where, detail=f"got {_shown(item.get('video_id'))}")
        return None
    if item.get("error"):
        problems.add("no answer was made", where, detail=f"{video_id}: {_shown(item['error'])}")
        return None
    answer = _listed(item.get("answer"))
    if not answer or not answer.strip():
        problems.add("no answer to score against", where, detail=f"{video_id}: `answer` is {_shown(item.get('answer'))}")
        return None
    raw = _listed(item.get("response"))
    response = _listed(item["new_response"]) if item.get("new_response") is not None else raw
    if response is None:
        problems.add("no response", where, detail=f"{video_id}: `response` is {_shown(item.get('response'))}")
        return None
    texts = {key: str(item[key]) if item.get(key) is not None else "" for key in TEXT_KEYS}
    scores = _scores(where, item.get("scores"), problems)
    fabricated = is_fabricated(item.get("provenance"))
    return Prediction(
        row, video_id, answer=answer, response=response, raw_response=raw or "", scores=scores, fabricated=fabricated, **texts
    )


def is_fabricated(provenance: object) -> bool:
    """Whether a record says of itself that its data was made up: "fabricated" as its provenance or its source, or as a true field of it."""
    if isinstance(provenance, Mapping):
        return bool(provenance.get("fabricated")) or is_fabricated(provenance.get("source"))
    return isinstance(provenance, str) and provenance.strip().lower() == "fabricated"


def _listed(value: object) -> str | None:
    """Text, or a list of texts as one; None for anything else."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    return value if isinstance(value, str) else None


def _scores(where: str, value: object, problems: Problems) -> Mapping[str, float] | None:
    if value is None:
        return None
    numbers = value.items() if isinstance(value, dict) else [("", value)]
    good = isinstance(value, dict) and all(isinstance(n, (int, float)) and math.isfinite(n) for _, n in numbers)
    if not good:
        problems.add("scores that are no numbers", where, detail=f"{_shown(value)}; the line counts without them")
        return None
    return {str(label).strip().lower(): float(number) for label, number in numbers}


def _shown(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def find_files(path: Path, name: str | None = None) -> dict[str, Path]:
    """Benchmark → its file, for a folder or a file, whose stem or `name` says which. FileNotFoundError or KeyError with the cure."""
    if path.is_dir():
        wanted = [find_benchmark(name)] if name else list(BENCHMARKS.values())
        places = [(b.name, folder / f"{b.name}.jsonl") for b in wanted for folder in (path / b.group, path)]
        found: dict[str, Path] = {}
        for benchmark, place in places:
            if place.is_file():
                found.setdefault(benchmark, place)
        if not found:
            groups = ", ".join(f"{b.group}/{b.name}.jsonl" for b in wanted[:3])
            raise FileNotFoundError(f"no predictions in {path}; it should hold files such as {groups}")
        return found
    if name is None and path.stem not in BENCHMARKS:
        raise KeyError(f"{path.name} does not say which benchmark it is; add --benchmark, one of {', '.join(BENCHMARKS)}")
    return {find_benchmark(name or path.stem).name: path}
