"""What the question sets have in common: a JSON list of questions on pictures, as LAVIS packs them.

Pictures are looked for under the list's own name of them and in the usual folders of MSCOCO and GQA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..records import Clip
from .files import Folder
from .registry import DataSet, register

FLICKR = "CC BY 4.0; pictures: Flickr's terms"
PLACES = ("", "images/", "train2014/", "val2014/", "train2017/", "val2017/", "images/train2014/", "images/train2017/", "gqa_images/")


def picture_set(
    name: str,
    title: str,
    original: Callable[[Folder], Iterator[Clip]],
    layout: str,
    *,
    licence: str,
    train_splits: tuple[str, ...] = ("train",),
) -> DataSet:
    """Register a set of single pictures with English words and no label: what general knowledge is kept with."""
    return register(
        DataSet(
            name=name,
            title=title,
            role="general",
            licence=licence,
            tasks={},
            train_splits=train_splits,
            test_splits=(),
            original=original,
            spoken=False,
            language="en",
            layout=layout,
        )
    )


def question_set(
    name: str, title: str, files: Mapping[str, tuple[str, ...]], answers: str, layout: str, *, licence: str = FLICKR
) -> DataSet:
    """Register a set of questions; `files` as in `read_questions`, whose splits are all trained on; `answers` is the key of an entry's."""

    def read(folder: Folder) -> Iterator[Clip]:
        return read_questions(folder, name, files, lambda entry: listed(entry.get(answers)))

    return picture_set(name, title, read, layout, licence=licence, train_splits=tuple(files))


def find_picture(folder: Folder, name: str) -> str:
    """Where a picture is; "COCO_train2014_000000000009.jpg", "train2014/…" and bare numbers of train2017 alike."""
    last = name.rpartition("/")[2]
    return folder.choose(name, *(place + last for place in PLACES))


def read_questions(
    folder: Folder, name: str, files: Mapping[str, tuple[str, ...]], answers_of: Callable[[dict[str, Any]], list[str]], language: str = "en"
) -> Iterator[Clip]:
    """Every question with its picture and its answers as often as they were given.

    files       split → names the list may have; a split whose list is absent is not read, but one must be there
    answers_of  the answers of one entry
    """
    found = {split: next((file for file in names if (folder.root / file).is_file()), "") for split, names in files.items()}
    if not any(found.values()):
        folder.find(*(file for names in files.values() for file in names))
    for split, file in found.items():
        content = folder.json(file) if file else []
        if isinstance(content, dict):
            content = content.get("questions") or content.get("annotations") or []
        for number, entry in enumerate(content or (), 1):
            clip = _question(folder, name, split, file, number, entry, answers_of, language)
            if clip is not None:
                yield clip


def _question(
    folder: Folder,
    name: str,
    split: str,
    file: str,
    number: int,
    entry: Any,
    answers_of: Callable[[dict[str, Any]], list[str]],
    language: str,
) -> Clip | None:
    if not isinstance(entry, dict) or not entry.get("image") or not entry.get("question"):
        folder.problems.add("broken row", file, number, detail="needs image and question")
        return None
    answers = tuple(answer.strip() for answer in answers_of(entry) if isinstance(answer, str) and answer.strip())
    if not answers:
        folder.problems.add("no label", file, number, str(entry.get("question_id", "")), "no answer")
        return None
    return Clip(
        id=str(entry.get("question_id", f"{split}_{number}")),
        set=name,
        split=split,
        media=folder.media(image=find_picture(folder, str(entry["image"]))),
        provenance=folder.provenance(file, number),
        language=language,
        texts={"question": (str(entry["question"]).strip(),), "answers": answers},
    )


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []
