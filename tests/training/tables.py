"""CSV files of somebody's own clips."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path


def write_table(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    """FOLDER/clips.csv with every column that a row has."""
    path = folder / "clips.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path
