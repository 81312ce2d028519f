"""MER2024-SEMI, for evaluation only: 1,169 clips of the semi-supervised track (Lian et al. 2024).

video-unlabeled-with-test2noise/ID.mp4 (or video/)
test-label.csv (or label-disdim.csv)   name,discrete      transcripts as in MER2023
"""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .mer2023 import EMOTIONS, read_transcripts
from .registry import Columns, DataSet, Published, Task, register, table

SPLIT = "test_semi"
FILES = ("test-label.csv", "test_semi-label.csv", "label-disdim.csv")
PLACES = ("video-unlabeled-with-test2noise", "video", "video-labeled")


def read(folder: Folder) -> Iterator[Clip]:
    said = read_transcripts(folder)
    file = folder.find(*FILES)
    for row in folder.table(file, ("name", "discrete")) if file else ():
        name = row["name"]
        english, chinese = said.get(name, ("", ""))
        yield Clip(
            id=name,
            set="mer2024_semi",
            split=SPLIT,
            media=folder.media(video=folder.choose(*(f"{place}/{name}.mp4" for place in PLACES))),
            provenance=folder.provenance(file, row.number),
            transcript=english or chinese,
            language="zh",
            labels={"emotion": (row["discrete"],)} if row["discrete"] else {},
            texts={"chinese": (chinese,)} if chinese else {},
        )


SET = register(
    DataSet(
        name="mer2024_semi",
        title="MER2024-SEMI",
        role="evaluation",
        licence="EULA of the challenge; research only",
        tasks={"emotion": Task(EMOTIONS)},
        train_splits=(),
        test_splits=(SPLIT,),
        original=read,
        mmeverse=Columns(
            "MER2024",
            {"emotion": "emotion_label"},
            ("english", "chinese"),
            only=("MER2024_mode", (SPLIT,)),
            fixed_split=SPLIT,
            kept=("chinese", "english"),
        ),
        language="zh",
        published=(
            Published(1169, SPLIT, source="MER2024"),
            *table(
                {"sad": 317, "happy": 246, "neutral": 201, "angry": 163, "worried": 159, "surprise": 83},
                "gt_mer2024_semi_other of the reference",
                SPLIT,
                "emotion",
            ),
        ),
        layout="give the folder that holds the label CSV and the clips",
    )
)
