"""Rows of an ablation's table, each made once: a stop costs the row that was being made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .whole import write_whole


def kept_rows(path: Path, steps: int, group: str, makers: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """A group's rows by name. What stands in `path` for as many steps is not made again; rows of other steps are given up."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if found.get("steps") != steps:
        found = {"steps": steps}
    rows: dict[str, Any] = found.setdefault(group, {})
    for name, make in makers.items():
        if name not in rows:
            rows[name] = make()
            write_whole(path, json.dumps(found, indent=1) + "\n")
    return rows
