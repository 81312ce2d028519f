"""CMU-MOSEI: 22,856 clips of online speakers, sentiment from -3 to 3 (Zadeh et al., ACL 2018).

MMSA's layout (sentiment.py), or the whole videos of the SDK with the same label.csv:
    Videos/Full/Combined/VID.mp4     Transcript/Segmented/Combined/VID.txt   vid___clip___start___end___text
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..records import Clip, Media
from .files import Folder
from .registry import Columns
from .sentiment import read_mmsa, sentiment_set

SEGMENTS = "Transcript/Segmented/Combined"
FULL = "Videos/Full/Combined"


def read(folder: Folder) -> Iterator[Clip]:
    clips = read_mmsa(folder, "cmu_mosei", ("label.csv", "meta.csv"), "en")
    if not (folder.root / FULL).is_dir():
        yield from clips
        return
    parts: dict[str, dict[str, tuple[float, float]]] = {}
    for clip in clips:
        video, _, number = clip.id.rpartition("_")
        if video not in parts:
            parts[video] = _segments(folder, f"{SEGMENTS}/{video}.txt")
        yield dataclasses.replace(clip, media=_part(folder, video, parts[video].get(number), clip.media))


def _part(folder: Folder, video: str, part: tuple[float, float] | None, otherwise: Media) -> Media:
    if part is None:
        return otherwise
    return folder.media(video=f"{FULL}/{video}.mp4", start_seconds=part[0], end_seconds=part[1])


def _segments(folder: Folder, file: str) -> dict[str, tuple[float, float]]:
    parts = {}
    for number, line in folder.text_lines(file) if folder.find(file) else ():
        cells = line.split("___")
        try:
            parts[cells[1]] = (float(cells[2]), float(cells[3]))
        except (IndexError, ValueError):
            folder.problems.add("broken row", file, number, detail=f"not vid___clip___start___end___text: {line[:60]!r}")
    return parts


SET = sentiment_set(
    "cmu_mosei",
    "CMU-MOSEI",
    read,
    Columns("CMU-MOSEI", {"sentiment": "sentiment_label"}, ("text",), join_clip=True, values={"sentiment": "label"}),
    "en",
    (16326, 1871, 4659),
    "give the folder that holds label.csv and Raw (or Videos/Full/Combined)",
)
