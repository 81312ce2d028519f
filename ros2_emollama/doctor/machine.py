"""The machine that is looked at: its files, its environment, who asks. Given from outside, so that a fault can be laid out in a folder."""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..memory_lines import megabytes, megabytes_of

PROBE_SECONDS = 30.0


class ProbeError(RuntimeError):
    """A child process could not answer; the text is the last it said."""


@dataclass(frozen=True)
class Machine:
    """`root` holds /dev, /proc and /sys; `python` is asked what it can import, in a process of its own: what crashes there says so here."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    python: str = sys.executable
    architecture: str = field(default_factory=platform.machine)
    user_id: int = field(default_factory=os.getuid)
    group_ids: frozenset[int] = field(default_factory=lambda: frozenset([os.getgid(), *os.getgroups()]))

    def path(self, absolute: str) -> Path:
        return self.root / absolute.lstrip("/")

    def glob(self, absolute: str) -> list[Path]:
        return sorted(self.root.glob(absolute.lstrip("/")))

    def text(self, absolute: str) -> str:
        """A small file's text without its end; empty where it cannot be read."""
        try:
            return self.path(absolute).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            return ""

    @property
    def is_jetson(self) -> bool:
        """By its device tree, or by what L4T leaves."""
        return "jetson" in self.text("/proc/device-tree/model").lower() or self.path("/etc/nv_tegra_release").is_file()

    def may_use(self, path: Path) -> bool:
        """Whether the one who asks may read and write it, by owner, group and mode."""
        facts = path.stat()
        if self.user_id == 0:
            return True
        if facts.st_uid == self.user_id:
            wanted = stat.S_IRUSR | stat.S_IWUSR
        elif facts.st_gid in self.group_ids:
            wanted = stat.S_IRGRP | stat.S_IWGRP
        else:
            wanted = stat.S_IROTH | stat.S_IWOTH
        return facts.st_mode & wanted == wanted

    def finds(self, program: str) -> str | None:
        return shutil.which(program, path=self.environ.get("PATH", ""))

    def ask(self, code: str, *arguments: str) -> Any:
        """Run `code` in a Python of its own; the JSON on its last line. ProbeError with what it said instead."""
        said = self.say([self.python, "-c", code, *arguments])
        try:
            return json.loads(said.splitlines()[-1])
        except (IndexError, json.JSONDecodeError) as error:
            raise ProbeError(f"unexpected answer {said[-200:]!r}") from error

    def say(self, command: Sequence[str]) -> str:
        """Standard output of a program. ProbeError where it fails or does not come back."""
        try:
            done = subprocess.run(command, env=dict(self.environ), capture_output=True, text=True, timeout=PROBE_SECONDS, errors="replace")
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProbeError(str(error)) from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            raise ProbeError(last)
        return done.stdout

    def memory_mb(self, name: str) -> float | None:
        """A line of /proc/meminfo, "MemTotal" or "MemAvailable"; None where there is none."""
        return megabytes(self.text("/proc/meminfo")).get(name)


def resident_mb(status: Path = Path("/proc/self/status")) -> float:
    """Memory of this process; NaN where the kernel does not say."""
    return megabytes_of(status).get("VmRSS", float("nan"))
