"""VQA v2: questions on pictures of MSCOCO with ten answers each (Goyal et al., CVPR 2017), as LAVIS lists them; val is trained on too."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import DataSet, register
from .vqa import listed, read_questions

FILES = {"train": ("vqa_train.json",), "val": ("vqa_val.json",)}


def read(folder: Folder) -> Iterator[Clip]:
    return read_questions(folder, "coco_vqa", FILES, lambda entry: listed(entry.get("answer")))


SET = register(
    DataSet(
        name="coco_vqa",
        title="VQA v2",
        role="general",
        licence="CC BY 4.0; pictures: Flickr's terms",
        tasks={},
        train_splits=("train", "val"),
        test_splits=(),
        original=read,
        spoken=False,
        language="en",
        layout="give the folder that holds vqa_train.json and MSCOCO's train2014",
    )
)
