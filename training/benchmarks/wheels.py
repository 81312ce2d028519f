"""The five emotion wheels of MER-UniBench: any word → the emotion at a wheel's hub, or nothing.

    word ─ format.csv ─► base words ─ synonym.xlsx ─► words on a wheel ─ wheel{1..5}.xlsx ─► level 1
The tables are MERTools' (zeroQiaoba/MERTools, Apache-2.0) and are read from its files; the way through them is the one of its evaluation:
of all words on the wheels that a form leads to, the first in alphabetical order that a wheel knows decides.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

WHEELS = 5
RUNS = 8  # of a language model that was asked for synonyms
_FILES = ("format.csv", "synonym.xlsx", *(f"wheel{i}.xlsx" for i in range(1, WHEELS + 1)))
_SEPARATORS = re.compile(r"['\",;\n]")
_REFERENCE_SEPARATORS = re.compile(r"['\",]")


def parse_words(text: str, reference: bool = False) -> list[str]:
    """Words of a list as models write them: with or without [ ], quotes, commas; lower case.

    reference  MERTools' rule: neither a semicolon nor a new line parts words, so that "sad; angry" is one word that no wheel knows
    """
    inner = text.strip()
    inner = inner[1:] if inner.startswith("[") else inner
    inner = inner[:-1] if inner.endswith("]") else inner
    parts = (_REFERENCE_SEPARATORS if reference else _SEPARATORS).split(inner)
    return [word for word in (part.strip().lower() for part in parts) if word]


@dataclass(frozen=True)
class Wheels:
    """bases     inflected form → base words
    on_wheels  base word → words that stand on a wheel
    hubs       for each wheel, word on it → its level-1 emotion
    """

    bases: Mapping[str, tuple[str, ...]]
    on_wheels: Mapping[str, tuple[str, ...]]
    hubs: tuple[Mapping[str, str], ...]
    _known: dict[str, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)

    def hub(self, word: str) -> tuple[str, ...]:
        """The level-1 emotion of a lower-case word on each wheel; "" where a wheel does not know it."""
        if word not in self.bases:
            return ("",) * len(self.hubs)
        if word not in self._known:
            reached = sorted(raw for base in self.bases[word] for raw in self.on_wheels.get(base, ()))
            self._known[word] = tuple(next((hubs[raw] for raw in reached if raw in hubs), "") for hubs in self.hubs)
        return self._known[word]

    def clusters(self, words: Iterable[str]) -> tuple[frozenset[str], ...]:
        """On each wheel, the level-1 emotions of these words."""
        columns = zip(*(self.hub(word) for word in words), strict=True)
        return tuple(frozenset(column) - {""} for column in columns) or (frozenset(),) * len(self.hubs)


@cache
def read_wheels(folder: Path) -> Wheels:
    """From MERTools' files. FileNotFoundError, ValueError or ImportError with the cure."""
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"no {', '.join(missing)} in {folder}; give the emotion_wheel folder of github.com/zeroQiaoba/MERTools: --wheels DIR"
        )
    hubs = tuple(_hubs(folder / f"wheel{i}.xlsx") for i in range(1, WHEELS + 1))
    return Wheels(_bases(folder / "format.csv"), _synonyms(folder / "synonym.xlsx"), hubs)


def _rows(path: Path, columns: tuple[str, ...]) -> list[list[str]]:
    """Cells of these columns, "" where empty. ValueError where a column is missing."""
    try:
        import openpyxl
    except ImportError as error:
        raise ImportError("the emotion wheels are workbooks; install what reads them: pip install openpyxl") from error
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        rows = list(book.worksheets[0].iter_rows(values_only=True))
    finally:
        book.close()
    header = [str(cell).strip() for cell in rows[0]] if rows else []
    absent = [name for name in columns if name not in header]
    if absent:
        raise ValueError(f"{path} must have the columns {', '.join(columns)}; {', '.join(absent)} is not there")
    places = [header.index(name) for name in columns]
    cells = [[str(row[place]) if place < len(row) and row[place] is not None else "" for place in places] for row in rows[1:]]
    return [row for row in cells if any(cell.strip() for cell in row)]


def _hubs(path: Path) -> dict[str, str]:
    """Word → level 1; an empty cell repeats the one above, a later row wins."""
    tree: dict[str, dict[str, list[str]]] = {}
    levels = ["", "", ""]
    for row in _rows(path, ("level1", "level2", "level3")):
        levels = [cell.lower().strip() or above for cell, above in zip(row, levels, strict=True)]
        tree.setdefault(levels[0], {}).setdefault(levels[1], []).append(levels[2])
    hubs: dict[str, str] = {}
    for hub, spokes in tree.items():  # in the order in which a hub first stands in the table: words stand under several
        hubs[hub] = hub
        for middle, outer in spokes.items():
            hubs |= dict.fromkeys((middle, *outer), hub)
    return hubs


def _synonyms(path: Path) -> dict[str, tuple[str, ...]]:
    columns = tuple(f"{what}_run{run}" for run in range(1, RUNS + 1) for what in ("word", "synonym"))
    found: dict[str, set[str]] = {}
    for row in _rows(path, columns):
        for word, synonyms in zip(row[::2], row[1::2], strict=True):
            raw = word.strip().lower()
            for name in (raw, *parse_words(synonyms, reference=True)):
                found.setdefault(name, set()).add(raw)
    return {name: tuple(sorted(raws)) for name, raws in found.items()}


def _bases(path: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        if not {"name", "format"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path} must have the columns name, format, got {', '.join(reader.fieldnames or ())}")
        for row in reader:
            base = row["name"] or ""
            forms = [form.strip() for form in _REFERENCE_SEPARATORS.split(row["format"] or "") if form.strip()]
            for form in (*forms, base):
                found.setdefault(form, []).append(base)
    return {form: tuple(bases) for form, bases in found.items()}
