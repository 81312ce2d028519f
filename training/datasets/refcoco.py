"""RefCOCO, RefCOCO+ and RefCOCOg: an expression and the box it means, in pictures of MSCOCO (lichengunc/refer).

    [NAME/]refs(unc).p (RefCOCOg: refs(umd).p)   a pickle of plain lists and dicts; one with code in it is refused
    [NAME/]instances.json                        MSCOCO's annotations: box and picture size
A box is written {<x1><y1><x2><y2>} in hundredths of the picture, as MiniGPT-v2 does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..records import Clip
from .files import Folder
from .vqa import FLICKR, find_picture, picture_set

SPLIT_BY = {"refcoco": ("refcoco", "unc"), "refcocop": ("refcoco+", "unc"), "refcocog": ("refcocog", "umd")}
TITLES = {"refcoco": "RefCOCO", "refcocop": "RefCOCO+", "refcocog": "RefCOCOg"}
BOX_STEPS = 100


def read(name: str, folder: Folder) -> Iterator[Clip]:
    place, by = SPLIT_BY[name]
    refs = folder.find(f"refs({by}).p", f"{place}/refs({by}).p", f"refs({'google' if by == 'umd' else by}).p")
    instances = folder.find("instances.json", f"{place}/instances.json")
    content = folder.json(instances) if refs and instances else None
    if not isinstance(content, dict):
        return
    boxes = {entry["id"]: entry.get("bbox") for entry in content.get("annotations", ())}
    pictures = {entry["id"]: entry for entry in content.get("images", ())}
    for number, ref in enumerate(folder.plain_pickle(refs) or (), 1):
        picture, box = pictures.get(ref.get("image_id")), boxes.get(ref.get("ann_id"))
        said = tuple(
            text for sentence in ref.get("sentences", ()) if (text := str(sentence.get("raw") or sentence.get("sent") or "").strip())
        )
        if picture is None or not box or not said:
            folder.problems.add("broken row", refs, number, str(ref.get("ref_id", "")), "no picture, box or expression of it in the files")
            continue
        yield Clip(
            id=str(ref["ref_id"]),
            set=name,
            split=str(ref.get("split", "")),
            media=folder.media(image=find_picture(folder, f"train2014/COCO_train2014_{ref['image_id']:0>12}.jpg")),
            provenance=folder.provenance(refs, number),
            language="en",
            texts={"question": said, "answers": (box_text(box, picture),)},
        )


def box_text(box: list[float], picture: dict[str, Any]) -> str:
    """x, y, width and height in pixels → corners in hundredths of the picture, cut off like the reference's int()."""
    (x, y, width, height), (right, bottom) = box, (picture["width"], picture["height"])
    corners = (x / right, y / bottom, (x + width) / right, (y + height) / bottom)
    return "{" + "".join(f"<{int(corner * BOX_STEPS)}>" for corner in corners) + "}"


for _name in SPLIT_BY:
    picture_set(
        _name,
        TITLES[_name],
        partial(read, _name),
        f"give the folder that holds refs({SPLIT_BY[_name][1]}).p and instances.json, with MSCOCO's train2014 in it",
        licence=FLICKR,
    )
