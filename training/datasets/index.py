"""The clip index: what the data sets hold, read and checked once.

    INDEX/SET.jsonl            a `Clip` a line
    INDEX/SET.problems.jsonl   everything that was wrong, with file and row
    INDEX/index.json           per set: folder, options, counts, SHA-256
A set that stands with the same options is not read again; a set appears in index.json only when it is whole.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ros2_emollama.model.folder import file_facts

from ..records import Clip, read_records, write_records
from ..whole import write_whole
from .problems import SetProblems
from .read import read_set
from .registry import Layout, Look, find_set

SUMMARY = "index.json"


@dataclass(frozen=True)
class Options:
    """How a set is read; see `read_set`."""

    layout: Layout = "auto"
    look: Look = "probe"
    encoding: str = "utf-8"
    fold: int = 1
    strict: bool = False
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """What index.json says of a set. `rows` are what its files list, `clips` what can be used, both by split."""

    root: str
    options: dict[str, Any]
    rows: dict[str, int]
    clips: dict[str, int]
    problems: dict[str, int]
    left_out: dict[str, int]
    sha256: str


def build(name: str, root: Path, output: Path, options: Options | None = None, workers: int = 4, again: bool = False) -> tuple[Entry, bool]:
    """Read one set into the index; returns its entry and whether it stood already. ValueError when not one clip can be used."""
    options = options or Options()
    dataset = find_set(name)
    standing = entries(output).get(name)
    told = json.loads(json.dumps(asdict(options)))
    if standing and not again and standing.options == told and Path(standing.root) == root.resolve() and _stands(output, name, standing):
        return standing, True
    problems = SetProblems(options.strict, frozenset(options.allowed))
    clips: Counter[str] = Counter()

    def counted(found: Iterable[Clip]) -> Iterator[Clip]:
        for clip in found:
            clips[clip.split] += 1
            yield clip

    path = output / f"{name}.jsonl"
    found = read_set(dataset, root.resolve(), problems, options.layout, options.look, options.encoding, options.fold, workers)
    write_records(path, tqdm(counted(found), desc=dataset.title, unit=" clips", mininterval=0.5))
    problems.write(output / f"{name}.problems.jsonl")
    if not clips:
        first = f"; first problem: {problems.all[0]}" if problems.all else f"; {dataset.layout}"
        raise ValueError(f"{root} holds no clip of {dataset.title} that can be used ({problems.summary}){first}")
    entry = Entry(
        str(root.resolve()),
        told,
        dict(problems.rows),
        dict(clips),
        dict(problems.counts),
        dict(problems.left_out),
        file_facts(path)["sha256"],
    )
    _write_entries(output, {**entries(output), name: entry})
    return entry, False


def entries(output: Path) -> dict[str, Entry]:
    """What the index holds; empty where there is none. ValueError when it cannot be read."""
    path = output / SUMMARY
    if not path.is_file():
        return {}
    try:
        return {name: Entry(**entry) for name, entry in json.loads(path.read_text(encoding="utf-8")).items()}
    except (json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no clip index ({error}); delete it and run python -m training index again") from None


def load(output: Path, names: Iterable[str] = ()) -> dict[str, list[Clip]]:
    """The clips of an index by set. FileNotFoundError or KeyError with the cure."""
    known = entries(output)
    if not known:
        raise FileNotFoundError(f"no clip index in {output}; make it first: python -m training index --output {output} --datasets …")
    wanted = list(names) or list(known)
    missing = [name for name in wanted if name not in known]
    if missing:
        raise KeyError(f"{output} has no {', '.join(missing)}; it has {', '.join(known)}. Add it: python -m training index")
    return {name: list(read_records(output / f"{name}.jsonl", Clip)) for name in wanted}


def _stands(output: Path, name: str, entry: Entry) -> bool:
    path = output / f"{name}.jsonl"
    return path.is_file() and file_facts(path)["sha256"] == entry.sha256


def _write_entries(output: Path, known: Mapping[str, Entry]) -> None:
    write_whole(output / SUMMARY, json.dumps({name: asdict(entry) for name, entry in known.items()}, indent=1) + "\n")
