"""Machines laid out in a folder, for doctor to look at."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ros2_emollama.doctor import Finding, Machine

USER = 1000


def empty_machine(tmp_path: Path) -> Machine:
    """An empty machine, and somebody on it who is not root."""
    for folder in ("dev/shm", "dev/snd", "proc", "sys"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    return Machine(root=tmp_path / "root", environ={"PATH": os.environ["PATH"]}, user_id=USER, group_ids=frozenset({USER}))


def with_environ(machine: Machine, **variables: str) -> Machine:
    return Machine(
        machine.root, dict(machine.environ) | variables, machine.python, machine.architecture, machine.user_id, machine.group_ids
    )


def device(machine: Machine, name: str, mode: int) -> Path:
    path = machine.path(f"/dev/{name}")
    path.touch()
    path.chmod(mode)
    return path


def with_modules(machine: Machine, tmp_path: Path, **modules: str) -> Machine:
    """Its Python finds these modules first."""
    folder = tmp_path / "modules"
    folder.mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return with_environ(machine, PYTHONPATH=str(folder))


def by_subject(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}
