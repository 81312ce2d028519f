"""GQA: questions made from scene graphs, balanced (Hudson and Manning, CVPR 2019), as LAVIS lists them."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import DataSet, register
from .vqa import listed, read_questions

FILES = {"train": ("train_balanced_questions.json",)}


def read(folder: Folder) -> Iterator[Clip]:
    return read_questions(folder, "gqa", FILES, lambda entry: listed(entry.get("answer")))


SET = register(
    DataSet(
        name="gqa",
        title="GQA",
        role="general",
        licence="CC BY 4.0; pictures: Visual Genome",
        tasks={},
        train_splits=("train",),
        test_splits=(),
        original=read,
        spoken=False,
        language="en",
        layout="give the folder that holds train_balanced_questions.json and gqa_images",
    )
)
