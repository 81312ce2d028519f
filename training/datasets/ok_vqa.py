"""OK-VQA: questions that need knowledge from outside the picture (Marino et al., CVPR 2019), as LAVIS lists them."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import DataSet, register
from .vqa import listed, read_questions

FILES = {"train": ("okvqa_train.json",)}


def read(folder: Folder) -> Iterator[Clip]:
    return read_questions(folder, "ok_vqa", FILES, lambda entry: listed(entry.get("answer")))


SET = register(
    DataSet(
        name="ok_vqa",
        title="OK-VQA",
        role="general",
        licence="CC BY 4.0; pictures: Flickr's terms",
        tasks={},
        train_splits=("train",),
        test_splits=(),
        original=read,
        spoken=False,
        language="en",
        layout="give the folder that holds okvqa_train.json and MSCOCO's train2014",
    )
)
