"""BoLD: bodily expression, 26 categories and valence, arousal, dominance for 13,239 people in 9,876 film clips (Luo et al., IJCV 2020).

    BOLD_public/annotations/{train,val}.csv          no header; labels of the test split are not published
    BOLD_public/videos/003/YTID.mp4/0114.mp4         the first column is the path from videos/
    BOLD_public/joints/003/YTID.mp4/0114.npy         rows: frame, person, 18 × (x, y, confidence)
A clip is one person in one file, YTID_CLIP_PERSON. A category counts from a score of 0.5: half of what annotators' votes can give.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np

from ..records import Clip
from .files import Folder, Row
from .registry import Columns, DataSet, Published, Task, register

CATEGORIES = (
    *("Peace", "Affection", "Esteem", "Anticipation", "Engagement", "Confidence", "Happiness", "Pleasure", "Excitement"),
    *("Surprise", "Sympathy", "Doubt/Confusion", "Disconnection", "Fatigue", "Embarrassment", "Yearning", "Disapproval"),
    *("Aversion", "Annoyance", "Anger", "Sensitivity", "Sadness", "Disquietment", "Fear", "Pain", "Suffering"),
)
DIMENSIONS = ("Valence", "Arousal", "Dominance")
HEADER = (
    *("video", "person_id", "min_frame", "max_frame"),
    *CATEGORIES,
    *DIMENSIONS,
    *("Gender", "Age", "Ethnicity", "annotation_confidence"),
)
THRESHOLD = 0.5
JOINT_CONFIDENCE = 0.1


def read(folder: Folder) -> Iterator[Clip]:
    top = "BOLD_public/" if (folder.root / "BOLD_public").is_dir() else ""
    for split in ("train", "val"):
        file = folder.find(f"{top}annotations/{split}.csv")
        for row in folder.table(file, (), HEADER) if file else ():
            clip = _clip(folder, top, split, row)
            if clip is not None:
                yield clip


def _clip(folder: Folder, top: str, split: str, row: Row) -> Clip | None:
    scores = {name: row.number_of(name) for name in CATEGORIES}
    person, first, last = (row.number_of(name) for name in ("person_id", "min_frame", "max_frame"))
    path = PurePosixPath(row["video"])
    if None in scores.values() or person is None or first is None or last is None or len(path.parts) < 2:
        broken = [name for name in ("person_id", "min_frame", "max_frame", *CATEGORIES) if row.number_of(name) is None]
        folder.problems.add(
            "no label" if broken else "broken row", row.file, row.number, detail=f"not a number: {', '.join(broken) or row['video']}"
        )
        return None
    labels = tuple(name for name, score in scores.items() if score is not None and score >= THRESHOLD)
    if not labels:
        folder.problems.leave_out(f"without a category of {THRESHOLD} or more")
        return None
    return Clip(
        id=f"{path.parts[-2].removesuffix('.mp4')}_{path.stem}_{int(person)}",
        set="bold",
        split=split,
        media=folder.media(
            video=f"{top}videos/{path}", box=_box(folder, f"{top}joints/{path.with_suffix('.npy')}", int(person), first, last)
        ),
        provenance=folder.provenance(row.file, row.number),
        labels={"multi-label": labels},
        values={
            **{name.casefold(): value for name in DIMENSIONS if (value := row.number_of(name)) is not None},
            "min_frame": first,
            "max_frame": last,
        },
    )


def _box(folder: Folder, file: str, person: int, first: float, last: float) -> tuple[float, ...]:
    """Around all joints of the person that were seen; () where there are none."""
    if not (folder.look and (folder.root / file).is_file()):
        return ()
    try:
        rows = np.load(folder.root / file, allow_pickle=False)
    except (ValueError, OSError) as error:
        folder.problems.add("broken row", file, detail=f"not an array of joints: {error}")
        return ()
    if rows.ndim != 2 or rows.shape[1] < 56 or not len(rows):
        return ()
    frames = rows[:, 0] - rows[0, 0]
    joints = rows[(rows[:, 1] == person) & (frames >= first) & (frames <= last), 2:56].reshape(-1, 3)
    seen = joints[joints[:, 2] >= JOINT_CONFIDENCE, :2]
    if not len(seen):
        return ()
    low, high = seen.min(axis=0), seen.max(axis=0)
    return tuple(round(float(value), 1) for value in (*low, *(high - low)))


SET = register(
    DataSet(
        name="bold",
        title="BoLD",
        role="train",
        licence="research only, on request",
        tasks={"multi-label": Task(tuple(sorted(CATEGORIES)), several=True, aliases={"Disconnect": "Disconnection"})},
        train_splits=("train",),
        test_splits=("val",),
        original=read,
        mmeverse=Columns("BOLD", {"multi-label": "Emotion_label"}, ("text_whisper",)),
        spoken=False,
        published=(Published(13239, source="people in 9,876 clips, test split included"),),
        layout="give BOLD_public, which holds annotations, videos and joints",
    )
)
