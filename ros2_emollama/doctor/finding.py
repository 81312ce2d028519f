"""What was found: one thing looked at, how good it is, and where it is not the command that cures it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclass(frozen=True)
class Finding:
    """`grade`: "ok"; "note": works without; "problem": something will not work. The last two have a cure, a command where there is one."""

    grade: str
    subject: str
    text: str
    cure: str = ""
    section: str = ""

    def __post_init__(self) -> None:
        if (self.grade == OK) == bool(self.cure):
            raise ValueError(f"{self.subject}: what is {self.grade} has {'no ' if self.cure else 'a '}cure")

    @property
    def line(self) -> str:
        return f"{self.text}; {self.cure}" if self.cure else self.text

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def ok(subject: str, text: str) -> Finding:
    return Finding(OK, subject, text)


def note(subject: str, text: str, cure: str) -> Finding:
    return Finding(NOTE, subject, text, cure)


def problem(subject: str, text: str, cure: str) -> Finding:
    return Finding(PROBLEM, subject, text, cure)
