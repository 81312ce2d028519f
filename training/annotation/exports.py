"""Annotations → the columns that training reads: MMEVerse's own layout, so that what we annotate and what was released are read alike.

    OUT/<set>_AU_gpt.csv    video_id, label, transcript, response_…, gpt-4o-mini_…; belongs into AU_gpt/
    OUT/<set>_peak.json     {video_id: {"peak_index": frame}}
A finding that is of no use leaves its cell empty: training then falls back to the label, as it does for the released files.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..whole import whole, write_whole
from .agents import Slot

COLUMNS: Mapping[Slot, str] = {"visual": "response_Qwen25vl_72B", "audio": "response_Qwen2Audio", "reasoning": "gpt-4o-mini_Emotion"}


def export_mmeverse(
    items: Sequence[Mapping[str, Any]], output: Path, name: str, columns: Mapping[Slot, str] = COLUMNS
) -> tuple[Path, Path]:
    """Write both files; returns where they are."""
    table, peaks = output / f"{name}_AU_gpt.csv", output / f"{name}_peak.json"
    with whole(table) as partial, partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow(["video_id", "label", "transcript", *columns.values()])
        for item in items:
            writer.writerow([item["video_id"], item["label"], item["transcript"], *(_text(item, slot) for slot in columns)])
    found = {item["video_id"]: item["expression"].get("peak_frame") for item in items}
    text = json.dumps({name: {"peak_index": peak} for name, peak in found.items() if peak is not None}, indent=1)
    write_whole(peaks, text + "\n")
    return table, peaks


def _text(item: Mapping[str, Any], slot: Slot) -> str:
    finding = item["findings"].get(slot) or {}
    return " ".join(str(finding.get("text") or "").split()) if finding.get("status") in ("ok", "cut_short") else ""
