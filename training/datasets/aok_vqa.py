"""A-OKVQA: questions with ten direct answers (Schwenk et al., ECCV 2022), as LAVIS lists them."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import DataSet, register
from .vqa import listed, read_questions

FILES = {"train": ("aokvqa_v1p0_train.json",)}


def read(folder: Folder) -> Iterator[Clip]:
    return read_questions(folder, "aok_vqa", FILES, lambda entry: listed(entry.get("direct_answers")))


SET = register(
    DataSet(
        name="aok_vqa",
        title="A-OKVQA",
        role="general",
        licence="Apache-2.0; pictures: Flickr's terms",
        tasks={},
        train_splits=("train",),
        test_splits=(),
        original=read,
        spoken=False,
        language="en",
        layout="give the folder that holds aokvqa_v1p0_train.json and MSCOCO's pictures",
    )
)
