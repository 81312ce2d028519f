"""One split of one data set as files and a CSV that `evaluate` reads. The folder is for local use: the media are third parties'."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .data import read_index, read_members

COLUMNS = ("image", "audio", "video", "label", "speaker")


GREY = (127, 127, 127)


def with_margin(content: bytes, suffix: str, margin: float) -> bytes:
    """An encoded picture with a grey border of `margin` times its longer side all around. ValueError when it is no picture."""
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a margin is for pictures only; leave --margin out for this set")
    border = round(margin * max(picture.shape[:2]))
    framed = cv2.copyMakeBorder(picture, border, border, border, border, cv2.BORDER_CONSTANT, value=GREY)
    return cv2.imencode(suffix, framed)[1].tobytes()


def write_manifest(data: Path, name: str, split: str, output: Path, limit: int = 0, margin: float = 0.0) -> tuple[Path, int]:
    """Unpack the labelled files of a split below `output`; returns the CSV and its number of rows. ValueError when there are none.

    margin   see `with_margin`; face sets are cut so tightly that a camera would hardly see them so
    """
    tar = data / f"{name}.tar"
    rows = [row for row in read_index(tar) if row.split == split and row.label_index >= 0]
    if not rows:
        raise ValueError(f"{tar} has no labelled rows of split {split!r}; give another --split")
    if 0 < limit < len(rows):
        rows = [rows[i * len(rows) // limit] for i in range(limit)]
    output.mkdir(parents=True, exist_ok=True)
    for path, content in tqdm(read_members(tar, {row.path for row in rows}), total=len(rows), desc=name):
        target = output / path
        if not target.resolve().is_relative_to(output.resolve()):
            raise ValueError(f"{tar} names {path!r}, outside its folder; do not use this file")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(with_margin(content, target.suffix, margin) if margin > 0 else content)
    kind = "image" if name.startswith("face") else "audio"
    table = output / "manifest.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerow({kind: row.path, "label": row.label, "speaker": row.speaker})
    return table, len(rows)
