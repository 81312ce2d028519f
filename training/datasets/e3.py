"""E3: emotion of the wearer and of people seen in first-person video (Exploring-Embodied-Emotion-official/E3, CC BY-NC-SA 4.0).

    E3/VID/SEGMENT.mp4      annotation/data1.xlsx   Vid, sub_id, the video's overall emotion
    subtex/…                annotation/data2.xlsx   who feels what, how strongly, from when to when, why
The distribution has no official split: all of it is read as "train"; MMEVerse's train, val and test come with its own tables.
What data1.xlsx calls its column of emotions is not documented, so any column whose name says emotion is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..records import Clip
from .files import Folder
from .registry import Columns, DataSet, Task, register

EMOTIONS = ("angry", "disgusted", "happy", "sad", "sarcastic", "scared", "shy", "surprised")
ALIASES = {"anger": "angry", "disgust": "disgusted", "happiness": "happy", "sadness": "sad", "sarcasm": "sarcastic", "fear": "scared"}
SUBTITLES = ("subtex/{vid}/{segment}.txt", "subtex/{vid}/{segment}.srt", "subtex/{vid}_{segment}.txt", "subtex/{vid}.txt")


def read(folder: Folder) -> Iterator[Clip]:
    file = folder.find("annotation/data1.xlsx", "annotation/data1.csv")
    needed = ("Vid", "sub_id")
    rows = () if not file else folder.table(file, needed) if file.endswith(".csv") else folder.sheet(file, needed)
    for row in rows:
        names = {name.casefold(): name for name in row.fields}
        vid, segment = row[names["vid"]], row[names["sub_id"]]
        column = next((names[name] for name in names if "emotion" in name), "")
        if not column:
            folder.problems.add("wrong columns", file, 1, detail=f"no column of emotions; it has {', '.join(row.fields)}")
            return
        label = row[column]
        if not vid or not segment:
            folder.problems.add("broken row", file, row.number, detail="Vid or sub_id is empty")
            continue
        yield Clip(
            id=f"{vid}_{segment}",
            set="e3",
            split="train",
            media=folder.media(video=folder.choose(f"E3/{vid}/{segment}.mp4", f"E3/{vid}/{vid}_{segment}.mp4")),
            provenance=folder.provenance(file, row.number),
            transcript=_subtitle(folder, vid, segment),
            speaker="The person",
            labels={"emotion": (label,)} if label else {},
        )


def _subtitle(folder: Folder, vid: str, segment: str) -> str:
    for pattern in SUBTITLES:
        path = folder.root / pattern.format(vid=vid, segment=segment)
        if folder.look and path.is_file():
            return _spoken(path)
    return ""


def _spoken(path: Path) -> str:
    """The words of a text or SubRip file, without its numbers and times."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return " ".join(line.strip() for line in lines if line.strip() and not line.strip().isdecimal() and "-->" not in line)


SET = register(
    DataSet(
        name="e3",
        title="E3",
        role="train",
        licence="CC BY-NC-SA 4.0",
        tasks={"emotion": Task(EMOTIONS, aliases=ALIASES)},
        train_splits=("train",),
        test_splits=("test",),
        original=read,
        mmeverse=Columns("E3", {"emotion": "emotion"}, ("conversation",), split=("mode", "set"), speaker="person"),
        spoken=False,
        layout="give the folder that holds E3, annotation and subtex",
    )
)
