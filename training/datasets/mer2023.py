"""MER2023: Mandarin films and television, six emotions and valence (Lian et al. 2023).

    {train,test1,test2,test3}/ID.mp4      {train,test1,test2,test3}-label.csv   name,discrete,valence (test3 has no valence)
    transcription-engchi-polish.csv or transcription_en_all.csv   name, chinese, english or sentence
test1, test2 and test3 are the challenge's MULTI, NOISE and SEMI. MMEVerse keeps MER2023 and MER2024 in one table.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import Columns, DataSet, Published, Task, register, table

EMOTIONS = ("happy", "sad", "neutral", "angry", "worried", "surprise")
SPLITS = ("train", "test1", "test2", "test3")
TRANSCRIPTS = ("transcription-engchi-polish.csv", "transcription_en_all.csv", "transcription.csv")


def read(folder: Folder) -> Iterator[Clip]:
    said = read_transcripts(folder)
    for split in SPLITS:
        file = folder.find(f"{split}-label.csv")
        for row in folder.table(file, ("name", "discrete")) if file else ():
            name, valence = row["name"], row.number_of("valence")
            english, chinese = said.get(name, ("", ""))
            yield Clip(
                id=name,
                set="mer2023",
                split=split,
                media=folder.media(video=folder.choose(*(f"{split}/{name}{end}" for end in (".mp4", ".avi")))),
                provenance=folder.provenance(file, row.number),
                transcript=english or chinese,
                language="zh",
                labels={"emotion": (row["discrete"],)} if row["discrete"] else {},
                values={"valence": valence} if valence is not None else {},
                texts={"chinese": (chinese,)} if chinese else {},
            )


def read_transcripts(folder: Folder) -> dict[str, tuple[str, str]]:
    """Id → (English, Chinese), from whichever of the challenge's transcripts is there."""
    file = next((name for name in TRANSCRIPTS if (folder.root / name).is_file()), "")
    if not file:
        return {}
    rows = folder.table(file, ("name",))
    return {row["name"]: (row.first("english", "sentence"), row["chinese"]) for row in rows}


SET = register(
    DataSet(
        name="mer2023",
        title="MER2023",
        role="train",
        licence="EULA of the challenge; research only",
        tasks={"emotion": Task(EMOTIONS)},
        train_splits=("train",),
        test_splits=("test1",),
        original=read,
        mmeverse=Columns(
            "MER2024",
            {"emotion": "emotion_label"},
            ("english", "chinese"),
            split=("MER2023_mode",),
            only=("MER2023_mode", SPLITS),
            kept=("chinese", "english"),
        ),
        language="zh",
        published=(
            *(Published(count, split, source="MER2023") for split, count in zip(SPLITS, (3373, 411, 412, 834), strict=True)),
            *table(
                {"angry": 105, "happy": 93, "neutral": 88, "worried": 57, "sad": 50, "surprise": 18},
                "gt_mer2023_test1 of the reference",
                "test1",
                "emotion",
            ),
        ),
        layout="give the folder that holds train-label.csv and the clips in train/, test1/ …",
    )
)
