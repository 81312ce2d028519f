"""MELD: 13,708 utterances of Friends, seven emotions and three sentiments (arXiv 1810.02508, declare-lab/MELD).

    {train,dev,test}_sent_emo.csv            one row an utterance
    {train,dev,test}/[…_splits…/]diaD_uttU.mp4  as MELD.Raw's inner archives unpack
An id says its split, for dialogues are numbered anew in each: test_dia0_utt0.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import Columns, DataSet, Published, Task, register, table

COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
INNER = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
EMOTIONS = ("neutral", "joy", "anger", "surprise", "sadness", "disgust", "fear")
SENTIMENTS = ("positive", "neutral", "negative")
SOURCE = "MELD's label files"


def read(folder: Folder) -> Iterator[Clip]:
    for split, inner in INNER.items():
        name = f"{split}_sent_emo.csv"
        file = folder.find(name, f"{split}/{name}")
        for row in folder.table(file, COLUMNS) if file else ():
            if not (row["Dialogue_ID"].isdecimal() and row["Utterance_ID"].isdecimal()):
                folder.problems.add("broken row", file, row.number, detail="Dialogue_ID and Utterance_ID must be whole numbers")
                continue
            clip = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
            labels = {"emotion": row["Emotion"], "sentiment": row["Sentiment"]}
            yield Clip(
                id=f"{split}_{clip}",
                set="meld",
                split=split,
                media=folder.media(video=folder.choose(*(f"{place}/{clip}.mp4" for place in (split, f"{split}/{inner}", inner)))),
                provenance=folder.provenance(file, row.number),
                transcript=row["Utterance"],
                speaker=row["Speaker"],
                language="en",
                labels={task: (label,) for task, label in labels.items() if label},
            )


SET = register(
    DataSet(
        name="meld",
        title="MELD",
        role="train",
        licence="GPL-3.0",
        tasks={"emotion": Task(EMOTIONS, aliases={"sad": "sadness"}), "sentiment": Task(SENTIMENTS)},
        train_splits=("train",),
        test_splits=("test",),
        original=read,
        mmeverse=Columns("MELD", {"emotion": "Emotion", "sentiment": "Sentiment"}, ("text", "Utterance"), speaker="Speaker"),
        language="en",
        published=(
            *(Published(count, split, source=SOURCE) for split, count in (("train", 9989), ("dev", 1109), ("test", 2610))),
            *table(
                {"neutral": 1256, "joy": 402, "anger": 345, "surprise": 281, "sadness": 208, "disgust": 68, "fear": 50},
                "gt_meld_emotion_test of the reference",
                "test",
                "emotion",
            ),
        ),
        known_broken={
            "train_dia125_utt3": "the published file is cut off",
            "test_dia279_utt15": "the published file is cut off",
            "dev_dia110_utt7": "the archive lacks it",
        },
        layout="give the folder that holds train_sent_emo.csv and the clips in train/, dev/ and test/",
    )
)
