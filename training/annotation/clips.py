"""What is to be annotated: clips from a clip index (JSON Lines, as the data sets' readers write it) or from a CSV of one's own.

columns of a CSV   video_id, video (audio, label, transcript, openface, fabricated where there are any); paths relative to the file
keys of a line     id, media {root, video, audio, start_seconds, end_seconds, side, box}, transcript, labels {task: [label]}, provenance
Bad rows are named with file and row, counted, and fatal only where asked (`Problems`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..benchmarks.predictions import is_fabricated, parsed_lines
from ..problems import Problems

NOT_LABELS = frozenset({"nan", "none", "null"})
TASKS = ("emotion", "sentiment", "multi-label", "intent")  # in this order the first that a clip has a label of is told to the agents


@dataclass(frozen=True)
class AnnotationClip:
    """One clip.

    label      what is known to be felt; "" where nobody said
    openface   OpenFace's CSV of this clip; None where there is none
    start_seconds, end_seconds  its part of the files; None for all
    side       half of the picture that shows the person: left, right or ""
    box        x, y, width, height of the person in pixels; () for the whole picture
    """

    video_id: str
    video: Path | None
    audio: Path | None = None
    label: str = ""
    transcript: str = ""
    openface: Path | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    side: str = ""
    box: tuple[float, ...] = ()
    fabricated: bool = False
    where: str = ""


def read_clips(path: Path, problems: Problems, task: str = "", openface: Path | None = None) -> list[AnnotationClip]:
    """Usable clips in their order; FileNotFoundError, ValueError when none is left.

    task      whose label is told to the agents; "": the first of TASKS that a clip has
    openface  folder of <video_id>.csv
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; give a clip index (.jsonl), or a CSV with the columns video_id,video,label,transcript")
    rows = _table(path, problems) if path.suffix.lower() == ".csv" else _lines(path, problems, task)
    clips: dict[str, AnnotationClip] = {}
    for clip in rows:
        if openface is not None and (openface / f"{clip.video_id}.csv").is_file():
            clip = AnnotationClip(**{**vars(clip), "openface": openface / f"{clip.video_id}.csv"})
        missing = [str(file) for file in (clip.video, clip.audio, clip.openface) if file is not None and not _is_file(file)]
        if clip.video_id in clips:
            problems.add("double video_id", clip.where, detail=f"{clip.video_id!r}; the first row counts")
        elif missing:
            problems.add("missing media", clip.where, detail=f"{clip.video_id}: no file {', '.join(missing)}")
        elif clip.video is None and clip.audio is None:
            problems.add("missing media", clip.where, detail=f"{clip.video_id}: neither video nor audio is given")
        else:
            clips[clip.video_id] = clip
    if not clips:
        raise ValueError(f"{path} has no usable clip; first problem: {problems.told[0] if problems.told else 'it is empty'}")
    return list(clips.values())


def _table(path: Path, problems: Problems) -> Iterator[AnnotationClip]:
    # A byte that is no UTF-8 becomes half a surrogate pair, which nothing else does: it is found in its row.
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
        reader = csv.DictReader(stream)
        names = set(reader.fieldnames or ())
        if "video_id" not in names or not {"video", "audio"} & names:
            raise ValueError(f"{path} must have the columns video_id,video,label,transcript, got {','.join(reader.fieldnames or ())}")
        try:
            for row in reader:
                clip = _row(path, f"{path}:{reader.line_num}", row, problems)
                if clip is not None:
                    yield clip
        except csv.Error as error:
            raise ValueError(f"{path}:{reader.line_num}: {error}; write the file as plain CSV") from error


def _row(path: Path, where: str, row: Mapping[str | None, Any], problems: Problems) -> AnnotationClip | None:
    found = {key: (value or "").strip() for key, value in row.items() if isinstance(key, str) and not isinstance(value, list)}
    if any("\udc80" <= letter <= "\udcff" for value in found.values() for letter in value):
        problems.add("not UTF-8", where, detail="the row is left out; write the file as UTF-8")
        return None
    if not found["video_id"]:
        problems.add("no video_id", where, detail="the row is left out")
        return None
    if found.get("label", "").lower() in NOT_LABELS:
        problems.add("no label", where, detail=f"{found['video_id']}: {found['label']!r} counts as none")
        found["label"] = ""
    files = {key: path.parent / found[key] if found.get(key) else None for key in ("video", "audio", "openface")}
    return AnnotationClip(
        found["video_id"],
        label=found.get("label", ""),
        transcript=found.get("transcript", ""),
        fabricated=found.get("fabricated", "").lower() in ("1", "true", "yes"),
        where=where,
        **files,
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (ValueError, OSError):  # a name that no file can have
        return False


def _lines(path: Path, problems: Problems, task: str) -> Iterator[AnnotationClip]:
    for _, clip in parsed_lines(path, problems, "not a clip", lambda item, where: clip_of(item, where, task)):
        yield clip


def clip_of(item: Mapping[str, Any], where: str, task: str) -> AnnotationClip:
    """The clip of one line's object. ValueError, TypeError, KeyError or AttributeError where it is none."""
    media, labels = item["media"], item.get("labels") or {}
    root = Path(media.get("root") or ".")
    told = next((labels[name] for name in ((task,) if task else TASKS) if labels.get(name)), ())
    name = item.get("id") or item["video_id"]
    if not isinstance(name, str) or not name or not isinstance(told, (list, tuple)):
        raise ValueError(f"id must be a text and labels lists, got {name!r} and {told!r}")
    times = {key: None if media.get(key) is None else float(media[key]) for key in ("start_seconds", "end_seconds")}
    return AnnotationClip(
        name,
        video=root / media["video"] if media.get("video") else None,
        audio=root / media["audio"] if media.get("audio") else None,
        label=", ".join(map(str, told)),
        transcript=str(item.get("transcript") or ""),
        side=str(media.get("side") or ""),
        box=tuple(float(number) for number in media.get("box") or ()),
        fabricated=is_fabricated(item.get("provenance")),
        where=where,
        **times,
    )
