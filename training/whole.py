"""Files that appear whole or not at all: a stop in the middle leaves what stood there. And lines that do, of a file that grows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which takes its name at the end. Folders above it are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    yield partial
    partial.replace(path)


def write_whole(path: Path, text: str, errors: str = "strict") -> None:
    """A text in UTF-8."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors=errors)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file; a copy on another file system, or on one without links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def whole_lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Lines that hold a JSON object, each with its object; a torn or damaged one is passed over. None where there is no file."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        for line in stream:
            try:
                item = json.loads(line)
            except ValueError:
                continue
            if isinstance(item, dict) and line.endswith(b"\n"):
                yield line, item
