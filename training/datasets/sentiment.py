"""What the four sentiment sets have in common: MMSA's layout, and a polarity from a score.

Raw/VIDEO_ID/CLIP_ID.mp4    label.csv or meta.csv   video_id,clip_id,text,label,…,annotation,mode
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..records import Clip
from .files import Folder, Row
from .registry import Columns, DataSet, Published, Task, register

POLARITIES = ("Positive", "Negative", "Neutral")
SPLITS = ("train", "valid", "test")
VALUES = {"label": "sentiment", "label_T": "sentiment_text", "label_A": "sentiment_audio", "label_V": "sentiment_vision"}
SENTIMENT = {"sentiment": Task(POLARITIES)}


def sentiment_set(
    name: str,
    title: str,
    original: Callable[[Folder], Iterator[Clip]],
    mmeverse: Columns,
    language: str,
    counts: tuple[int, int, int],
    layout: str,
) -> DataSet:
    """Register a training set in MMSA's splits; `counts` are MMSA's, in the order of SPLITS."""
    return register(
        DataSet(
            name=name,
            title=title,
            role="train",
            licence="research only",
            tasks=SENTIMENT,
            train_splits=("train",),
            test_splits=("test",),
            original=original,
            mmeverse=mmeverse,
            language=language,
            published=tuple(Published(count, split, source="MMSA") for split, count in zip(SPLITS, counts, strict=True)),
            layout=layout,
        )
    )


def polarity(score: float) -> str:
    """The sign of a score, as MMSA annotates it."""
    return "Positive" if score > 0 else "Negative" if score < 0 else "Neutral"


def read_mmsa(folder: Folder, name: str, files: tuple[str, ...], language: str) -> Iterator[Clip]:
    """One row a clip. The polarity is the annotation, or the sign of the score where none is written."""
    file = folder.find(*files)
    for row in folder.table(file, ("video_id", "clip_id", "label", "mode")) if file else ():
        yield sentiment_clip(folder, name, row, row["mode"], language, row["text"], row["annotation"])


def sentiment_clip(
    folder: Folder, name: str, row: Row, split: str, language: str, text: str = "", annotation: str = "", source: str = ""
) -> Clip:
    video, clip = row["video_id"], row["clip_id"]
    score = row.number_of("label")
    label = annotation or (polarity(score) if score is not None else "")
    places = (f"Raw/{video}/{clip}.mp4", f"Raw/{video}/{clip.zfill(4)}.mp4", f"Video/Segmented/{video}_{clip}.mp4")
    return Clip(
        id=f"{video}_{clip}",
        set=name,
        split=split,
        media=folder.media(video=source or folder.choose(*places)),
        provenance=folder.provenance(row.file, row.number),
        transcript=text,
        language=language,
        labels={"sentiment": (label,)} if label else {},
        values={value: number for column, value in VALUES.items() if (number := row.number_of(column)) is not None},
    )
