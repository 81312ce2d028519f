"""What is wrong with files and clips: named with file and row, counted, and fatal only where asked. For data sets and benchmarks alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

TOLD = 50  # problems that a report tells; all are counted


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    kind  a few words to count by
    file  or any other place that a person finds, as "FILE:LINE"
    row   counts from 1 with the header, as a spreadsheet does; 0 where the file has no rows, or `file` says it
    """

    kind: str
    file: str
    row: int = 0
    id: str = ""
    detail: str = ""

    def __str__(self) -> str:
        place = self.file + (f", row {self.row}" if self.row else "")
        return f"{place}: {self.kind}" + (f" ({self.id})" if self.id else "") + (f": {self.detail}" if self.detail else "")


class StrictError(ValueError):
    """A problem, where the caller wants none; names file and row."""


@dataclass
class Problems:
    """What was wrong, and how often. StrictError at the first where `strict`, but for the kinds in `allowed`.

    kinds  those that can be allowed, for a command that has --allow; () for one that has not
    most   how many are kept, for memory's sake; None for all
    """

    strict: bool = False
    allowed: frozenset[str] = frozenset()
    kinds: tuple[str, ...] = ()
    most: int | None = TOLD
    all: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        unknown = sorted(self.allowed - set(self.kinds))
        if unknown:
            raise ValueError(f"no kind of problem is called {', '.join(unknown)}; there are: {', '.join(self.kinds)}")

    def add(self, kind: str, file: str, row: int = 0, id: str = "", detail: str = "") -> None:
        """detail: what exactly, and the cure where there is one."""
        if self.strict and kind not in self.allowed:
            accept = f"leave out --strict, or accept it: --allow '{kind}'" if kind in self.kinds else "or leave out --strict"
            raise StrictError(f"{Problem(kind, file, row, id, detail)}; mend it{',' if kind in self.kinds else ''} {accept}")
        self.note(kind, file, row, id, detail)

    def note(self, kind: str, file: str, row: int = 0, id: str = "", detail: str = "") -> None:
        """What is counted and told, and never fatal: not the input's fault, or known to its publisher."""
        self.counts[kind] += 1
        if self.most is None or len(self.all) < self.most:
            self.all.append(Problem(kind, file, row, id, detail))

    @property
    def told(self) -> list[str]:
        return [str(problem) for problem in self.all]

    @property
    def total(self) -> int:
        return sum(self.counts.values())
