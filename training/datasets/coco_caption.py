"""COCO captions in Karpathy's split: a picture and one caption a row (coco_karpathy_train.json, as LAVIS lists it).

The reference trains on those of train2014 alone: rows whose picture is of val2014 are kept as split "restval".
"""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .vqa import FLICKR, find_picture, picture_set

FILE = "coco_karpathy_train.json"


def read(folder: Folder) -> Iterator[Clip]:
    content = folder.json(FILE) if folder.find(FILE) else []
    for number, entry in enumerate(content or (), 1):
        if not isinstance(entry, dict) or not entry.get("image"):
            folder.problems.add("broken row", FILE, number, detail="needs image and caption")
            continue
        caption = str(entry.get("caption") or "").strip()
        if not caption:
            folder.problems.add("no label", FILE, number, detail="no caption")
            continue
        yield Clip(
            id=f"{entry.get('image_id', 'picture')}_{number}",
            set="coco_caption",
            split="train" if "train" in entry["image"] else "restval",
            media=folder.media(image=find_picture(folder, str(entry["image"]))),
            provenance=folder.provenance(FILE, number),
            language="en",
            texts={"answers": (caption,)},
        )


SET = picture_set(
    "coco_caption", "COCO captions", read, "give the folder that holds coco_karpathy_train.json and MSCOCO's train2014", licence=FLICKR
)
