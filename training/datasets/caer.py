"""CAER: 13,201 clips of television, seven emotions, labelled by their folder (Lee et al., ICCV 2019).

CAER/{train,validation,test}/{Anger,Disgust,Fear,Happy,Neutral,Sad,Surprise}/0001.avi; ids as MMEVerse's: test_Anger_0001.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import Columns, DataSet, Published, Task, register

SPLITS = ("train", "validation", "test")
SUFFIXES = frozenset((".avi", ".mp4"))


def read(folder: Folder) -> Iterator[Clip]:
    top = "CAER/" if (folder.root / "CAER").is_dir() else ""
    for split in SPLITS:
        place = folder.find(f"{top}{split}")
        for kind in sorted(path for path in (folder.root / place).iterdir() if path.is_dir()) if place else ():
            for path in sorted(path for path in kind.iterdir() if path.suffix in SUFFIXES):
                file = f"{place}/{kind.name}/{path.name}"
                yield Clip(
                    id=f"{split}_{kind.name}_{path.stem}",
                    set="caer",
                    split=split,
                    media=folder.media(video=file),
                    provenance=folder.provenance(file),
                    labels={"emotion": (kind.name,)},
                )


SET = register(
    DataSet(
        name="caer",
        title="CAER",
        role="train",
        licence="research only",
        tasks={"emotion": Task(("happy", "anger", "neutral", "surprise", "fear", "sad", "disgust"))},
        train_splits=("train",),
        test_splits=("test",),
        original=read,
        mmeverse=Columns("CAER", {"emotion": "emotion_label"}, ("text_whisper",), suffix=".avi"),
        spoken=False,
        published=(Published(13201, source="all splits"),),
        layout="give the folder that holds train, validation and test",
    )
)
