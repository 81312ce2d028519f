"""A data set's folder → checked clips. What every set has in common stands here; what is its own, in its file.

reader (original or MMEVerse) ─► id once? ─► labels of the set? ─► transcript? ─► media there and sound? ─► Clip
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..records import Clip
from .files import Folder
from .mmeverse import looks_like, read_mmeverse
from .probe import Finding, look_at
from .problems import KEPT, SetProblems
from .registry import DataSet, Layout, Look

AT_ONCE = 64  # clips whose headers are being read side by side


def read_set(
    dataset: DataSet,
    root: Path,
    problems: SetProblems | None = None,
    layout: Layout = "auto",
    look: Look = "probe",
    encoding: str = "utf-8",
    fold: int = 1,
    workers: int = 4,
) -> Iterator[Clip]:
    """The usable clips of one set, in its files' order; what is wrong goes to `problems`.

    FileNotFoundError without the folder; StrictError at the first problem where `problems.strict`.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"no folder {root} of {dataset.title}; {dataset.layout or 'give the folder its distribution was unpacked to'}"
        )
    folder = Folder(root, problems if problems is not None else SetProblems(), encoding, fold, look=look != "none")
    original = layout == "original" or (layout == "auto" and not (dataset.mmeverse and looks_like(folder, dataset.mmeverse)))
    if original and dataset.original is None:
        raise ValueError(f"{dataset.title} has no distribution of its own that can be read; give MMEVerse's: --layout mmeverse")
    folder.source = "original" if original else "mmeverse"
    clips = dataset.original(folder) if original and dataset.original else read_mmeverse(folder, dataset)
    yield from _with_media(_labelled(clips, dataset, folder.problems), dataset, folder.problems, look, workers)


def _labelled(clips: Iterable[Clip], dataset: DataSet, problems: SetProblems) -> Iterator[Clip]:
    seen: set[str] = set()
    for clip in clips:
        problems.rows[clip.split] += 1
        place = (clip.provenance.file, clip.provenance.row, clip.id)
        if clip.id in seen:
            problems.add("duplicate id", *place, "the first row counts")
            continue
        seen.add(clip.id)
        labels = {}
        for task, words in clip.labels.items():
            found = [dataset.tasks[task].find(word) for word in words]
            wrong = [word for word, label in zip(words, found, strict=True) if not label]
            if wrong:
                known = ", ".join(dataset.tasks[task].labels)
                problems.add("label outside the set", *place, f"{task} {', '.join(map(repr, wrong))}; it must be one of {known}")
            if not wrong:
                labels[task] = tuple(dict.fromkeys(found))
        if dataset.tasks and not labels:
            if not clip.labels:
                problems.add("no label", *place, f"neither {' nor '.join(dataset.tasks)}")
            continue
        if dataset.spoken and not clip.transcript and dataset.role != "general":
            problems.add("empty transcript", *place)
        yield dataclasses.replace(clip, labels=labels)


def _with_media(clips: Iterator[Clip], dataset: DataSet, problems: SetProblems, look: Look, workers: int) -> Iterator[Clip]:
    with ThreadPoolExecutor(max(1, workers)) as pool:
        while batch := list(itertools.islice(clips, AT_ONCE)):
            looked = pool.map(lambda clip: look_at(clip.media, look), batch)
            for clip, (media, findings) in zip(batch, looked, strict=True):
                if not _tell(clip, findings, dataset, problems, look):
                    continue
                yield dataclasses.replace(clip, media=media)


def _tell(clip: Clip, findings: tuple[Finding, ...], dataset: DataSet, problems: SetProblems, look: Look) -> bool:
    """Report what is wrong; whether the clip can still be used."""
    place = (clip.provenance.file, clip.provenance.row, clip.id)
    broken = [finding for finding in findings if finding.kind not in KEPT]
    known = dataset.known_broken.get(clip.id)
    if known and (broken or look == "none"):
        problems.note("known broken", *place, known)
        return False
    for finding in findings:
        problems.add(finding.kind, *place, finding.detail)
    return not broken
