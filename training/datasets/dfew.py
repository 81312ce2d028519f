"""DFEW: 16,372 film clips, seven emotions, 11,697 with one agreed label, in five folds (Jiang et al., ACM MM 2020).

    Clip/original/N.mp4 (or 0000N.mp4)
    EmoLabel_DataSplit/{train,test}(single-labeled)/set_{1..5}.csv   video_name,label   1 happy … 7 fear
The publishers' README writes (single_labeled); both are read. MMEVerse has one fold.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import Columns, DataSet, Published, Task, register

LABELS = {"1": "happy", "2": "sad", "3": "neutral", "4": "anger", "5": "surprise", "6": "disgust", "7": "fear"}


def read(folder: Folder) -> Iterator[Clip]:
    for split in ("train", "test"):
        name = f"set_{folder.fold}.csv"
        file = folder.find(*(f"EmoLabel_DataSplit/{split}(single{mark}labeled)/{name}" for mark in "-_"))
        for row in folder.table(file, ("video_name", "label")) if file else ():
            number, label = row["video_name"].removesuffix(".mp4"), row["label"]
            if not number.isdecimal():
                folder.problems.add("broken row", file, row.number, detail=f"video_name {number!r} is not a number")
                continue
            plain = str(int(number))
            yield Clip(
                id=plain.zfill(5),
                set="dfew",
                split=split,
                media=folder.media(video=folder.choose(f"Clip/original/{plain}.mp4", f"Clip/original/{plain.zfill(5)}.mp4")),
                provenance=folder.provenance(file, row.number),
                labels={"emotion": (LABELS.get(label, label),)} if label else {},
            )


SET = register(
    DataSet(
        name="dfew",
        title="DFEW",
        role="train",
        licence="on request; research only, archives with a password",
        tasks={
            "emotion": Task(
                ("anger", "neutral", "surprise", "fear", "happy", "disgust", "sad"),
                aliases={"angry": "anger", "happiness": "happy", "sadness": "sad"},
            )
        },
        train_splits=("train",),
        test_splits=("test",),
        original=read,
        mmeverse=Columns("DFEW", {"emotion": "label"}, ("sentence",), id_digits=5),
        spoken=False,
        published=(
            Published(9356, "train", source="fold 1, single-labelled"),
            Published(2341, "test", source="fold 1, single-labelled"),
        ),
        layout="give the folder that holds Clip and EmoLabel_DataSplit",
    )
)
