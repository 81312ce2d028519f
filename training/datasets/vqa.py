"""What the question sets have in common: a JSON list of questions on pictures, as LAVIS packs them.

Pictures are looked for under the list's own name of them and in the usual folders of MSCOCO and GQA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..records import Clip
from .files import Folder

PLACES = ("", "images/", "train2014/", "val2014/", "train2017/", "val2017/", "images/train2014/", "images/train2017/", "gqa_images/")


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
