"""CMU-MOSI: 2,199 clips of film reviews, sentiment from -3 to 3 (Zadeh et al. 2016), in MMSA's layout (sentiment.py)."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import Columns
from .sentiment import read_mmsa, sentiment_set


def read(folder: Folder) -> Iterator[Clip]:
    return read_mmsa(folder, "cmu_mosi", ("label.csv", "meta.csv"), "en")


SET = sentiment_set(
    "cmu_mosi",
    "CMU-MOSI",
    read,
    Columns("CMU-MOSI", {"sentiment": "sentiment_label"}, ("text",), values={"sentiment": "label"}),
    "en",
    (1284, 229, 686),
    "give the folder that holds label.csv and Raw",
)
