"""What is wrong with a data set's files: named with file and row, counted, and fatal only where asked.

    kind                     what becomes of the row
    empty transcript, no sound, unreadable peaks      kept, with what is there
    known broken                                      skipped; the publisher's own defect, so never fatal
    every other                                       skipped, or fatal when `strict`
A set's own rule that a clip does not count (nobody agreed on its label) is no problem: it is counted as left out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

Kind = Literal[
    "missing media",
    "unreadable media",
    "zero-length clip",
    "no sound",
    "missing file",
    "wrong columns",
    "broken row",
    "not text",
    "duplicate id",
    "no label",
    "label outside the set",
    "empty transcript",
    "unreadable peaks",
    "known broken",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
KEPT: frozenset[Kind] = frozenset(("empty transcript", "no sound", "unreadable peaks"))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `row` counts from 1 with the header, as a spreadsheet does; 0 where the file has no rows."""

    kind: Kind
    file: str
    row: int = 0
    id: str = ""
    detail: str = ""

    def __str__(self) -> str:
        place = self.file + (f", row {self.row}" if self.row else "")
        return f"{place}: {self.kind}" + (f" ({self.id})" if self.id else "") + (f": {self.detail}" if self.detail else "")


class StrictError(ValueError):
    """A problem, where the caller wants none."""


@dataclass
class Problems:
    """Everything that was wrong with one set. StrictError at the first where `strict`, but for the kinds in `allowed`."""

    strict: bool = False
    allowed: frozenset[str] = frozenset()
    all: list[Problem] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        unknown = sorted(self.allowed - set(KINDS))
        if unknown:
            raise ValueError(f"no kind of problem is called {', '.join(unknown)}; there are: {', '.join(KINDS)}")

    def add(self, kind: Kind, file: str, row: int = 0, id: str = "", detail: str = "") -> None:
        problem = Problem(kind, file, row, id, detail)
        self.all.append(problem)
        if self.strict and kind != "known broken" and kind not in self.allowed:
            raise StrictError(f"{problem}; mend it, leave out --strict, or accept it: --allow '{kind}'")

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] += 1

    @property
    def counts(self) -> Counter[str]:
        return Counter(problem.kind for problem in self.all)

    @property
    def summary(self) -> str:
        """ "3 missing media, 1 known broken; left out: 12 without agreement"."""
        told = ", ".join(f"{count} {kind}" for kind, count in self.counts.most_common()) or "no problems"
        left = ", ".join(f"{count} {reason}" for reason, count in self.left_out.most_common())
        return told + (f"; left out: {left}" if left else "")

    def write(self, path: Path) -> None:
        """All problems, a JSON object a line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(asdict(problem), ensure_ascii=False) for problem in self.all)
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
