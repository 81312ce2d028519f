"""What is wrong with a data set's files, and how many of its rows there are.

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

from ..problems import Problems
from ..whole import write_whole

KINDS = (
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
)
KEPT = frozenset(("empty transcript", "no sound", "unreadable peaks"))


@dataclass
class SetProblems(Problems):
    """Everything that was wrong with one set."""

    kinds: tuple[str, ...] = KINDS
    most: int | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, file: str, row: int = 0, id: str = "", detail: str = "") -> None:
        """ValueError for a kind that there is not: it could never be allowed."""
        if kind not in self.kinds:
            raise ValueError(f"{kind!r} is none of {', '.join(self.kinds)}")
        super().add(kind, file, row, id, detail)

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] += 1

    @property
    def summary(self) -> str:
        """ "3 missing media, 1 known broken; left out: 12 without agreement"."""
        told = ", ".join(f"{count} {kind}" for kind, count in self.counts.most_common()) or "no problems"
        left = ", ".join(f"{count} {reason}" for reason, count in self.left_out.most_common())
        return told + (f"; left out: {left}" if left else "")

    def write(self, path: Path) -> None:
        """All problems, a JSON object a line."""
        write_whole(path, "".join(json.dumps(asdict(problem), ensure_ascii=False) + "\n" for problem in self.all))
