"""The kernel's way to tell memory, in /proc/meminfo and /proc/PID/status: lines like "VmRSS:   12345 kB"."""

from __future__ import annotations

from pathlib import Path


def megabytes(text: str) -> dict[str, float]:
    """Name → MB (1024 kB) of every line that tells memory."""
    lines = (line.split() for line in text.splitlines())
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines if len(words) == 3 and words[2] == "kB"}


def megabytes_of(path: Path) -> dict[str, float]:
    """The same of a file; nothing where it cannot be read."""
    try:
        return megabytes(path.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return {}
