"""CMU-MOSI: 2,199 clips of film reviews, sentiment from -3 to 3 (Zadeh et al. 2016), in MMSA's layout (sentiment.py)."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import Columns, DataSet, Published, register
from .sentiment import SENTIMENT, SPLITS, read_mmsa


def read(folder: Folder) -> Iterator[Clip]:
    return read_mmsa(folder, "cmu_mosi", ("label.csv", "meta.csv"), "en")


SET = register(
    DataSet(
        name="cmu_mosi",
        title="CMU-MOSI",
        role="train",
        licence="research only",
        tasks=SENTIMENT,
        train_splits=("train",),
        test_splits=("test",),
        original=read,
        mmeverse=Columns("CMU-MOSI", {"sentiment": "sentiment_label"}, ("text",), values={"sentiment": "label"}),
        language="en",
        published=tuple(Published(count, split, source="MMSA") for split, count in zip(SPLITS, (1284, 229, 686), strict=True)),
        layout="give the folder that holds label.csv and Raw",
    )
)
