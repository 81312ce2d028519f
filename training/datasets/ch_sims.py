"""CH-SIMS, for evaluation only: 2,281 Mandarin clips, sentiment from -1 to 1 (Yu et al., ACL 2020).

    Raw/video_0001/0001.mp4
    metadata/sentiment/label_M.csv       video_id,clip_id,label
    metadata/{train,val,test}_index.csv  index: rows of label_M, counted from 0
    metadata/Translation.csv             video_id,clip_id,Chinese,English
or MMSA's label.csv (sentiment.py). MMEVerse calls it SIMS: val_label, english.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import Columns, DataSet, Published, register
from .sentiment import SENTIMENT, read_mmsa, sentiment_clip

LABELS = "metadata/sentiment/label_M.csv"


def read(folder: Folder) -> Iterator[Clip]:
    if not (folder.root / LABELS).is_file():
        yield from read_mmsa(folder, "sims", ("label.csv", "meta.csv"), "zh")
        return
    splits = _splits(folder)
    said = _translations(folder)
    for index, row in enumerate(folder.table(LABELS, ("video_id", "clip_id", "label"))):
        text = said.get((row["video_id"], row["clip_id"]), "")
        yield sentiment_clip(folder, "sims", row, splits.get(index, ""), "zh", text)


def _splits(folder: Folder) -> dict[int, str]:
    splits: dict[int, str] = {}
    for split in ("train", "val", "test"):
        file = folder.find(f"metadata/{split}_index.csv")
        for row in folder.table(file, ("index",)) if file else ():
            if row["index"].isdecimal():
                splits[int(row["index"])] = split
            else:
                folder.problems.add("broken row", file, row.number, detail=f"index {row['index']!r} is not a number")
    return splits


def _translations(folder: Folder) -> dict[tuple[str, str], str]:
    file = "metadata/Translation.csv"
    if not (folder.root / file).is_file():
        return {}
    rows = folder.table(file, ("video_id", "clip_id", "English"))
    return {(row["video_id"], row["clip_id"]): row.first("English", "Chinese") for row in rows}


SET = register(
    DataSet(
        name="sims",
        title="CH-SIMS",
        role="evaluation",
        licence="research only",
        tasks=SENTIMENT,
        train_splits=(),
        test_splits=("test",),
        original=read,
        mmeverse=Columns("SIMS", {"sentiment": "val_label"}, ("english",), fixed_split="test"),
        language="zh",
        published=tuple(Published(count, split, source="CH-SIMS") for split, count in (("train", 1368), ("val", 456), ("test", 457))),
        layout="give the folder that holds metadata and Raw, or label.csv and Raw",
    )
)
