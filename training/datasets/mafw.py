"""MAFW: 10,045 clips, eleven single emotions, 32 compounds of them, in five folds (Liu et al., ACM MM 2022; MAFW-database/MAFW).

data/clips/00001.mp4
Train & Test Set/single/no_caption/set_{1..5}/{train,test}.txt     "00025.mp4 anger"
Train & Test Set/compound/no_caption/set_{1..5}/{train,test}.txt   "09932.mp4 sadness_surprise"
labels/{single,multi}_label.txt    "03747.mp4<tab>anger<tab>中文<tab>English", a description of what is seen
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..records import Clip
from .files import Folder
from .registry import Columns, DataSet, Published, Task, register

EMOTIONS = (
    "anger",
    "anxiety",
    "contempt",
    "disappointment",
    "disgust",
    "fear",
    "happiness",
    "helplessness",
    "neutral",
    "sadness",
    "surprise",
)
PLACES = {"emotion": ("single",), "multi-label": ("compound", "multiple")}
FILES = {"emotion": "single_label.txt", "multi-label": "multi_label.txt"}


def read(folder: Folder) -> Iterator[Clip]:
    told = _descriptions(folder)
    clips: dict[str, Clip] = {}
    for task, places in PLACES.items():
        for split in ("train", "test"):
            names = [f"Train & Test Set/{place}/no_caption/set_{folder.fold}/{split}.txt" for place in places]
            # Compounds come apart: without them the single labels stand.
            file = folder.find(*names) if task == "emotion" else next((name for name in names if (folder.root / name).is_file()), "")
            for clip in _listed(folder, file, task, split, told) if file else ():
                known = clips.get(clip.id)
                if known and task in known.labels:
                    folder.problems.add("duplicate id", file, clip.provenance.row, clip.id, "the first row counts")
                else:
                    clips[clip.id] = replace(known, labels={**known.labels, **clip.labels}) if known else clip
    yield from clips.values()


def _listed(folder: Folder, file: str, task: str, split: str, told: dict[str, str]) -> Iterator[Clip]:
    for number, line in folder.text_lines(file):
        name, _, label = line.strip().partition(" ")
        if not name:
            continue
        stem = name.removesuffix(".mp4").zfill(5)
        words = label.strip().split("_") if task == "multi-label" else [label.strip()]
        yield Clip(
            id=stem,
            set="mafw",
            split=split,
            media=folder.media(video=folder.choose(f"data/clips/{stem}.mp4", f"clips/{stem}.mp4")),
            provenance=folder.provenance(file, number),
            labels={task: tuple(words)} if any(words) else {},
            texts={"description": (told[stem],)} if stem in told else {},
        )


def _descriptions(folder: Folder) -> dict[str, str]:
    told = {}
    for name in FILES.values():
        for place in ("labels", "Labels", "."):
            file = f"{place}/{name}"
            if (folder.root / file).is_file():
                for _, line in folder.text_lines(file):
                    cells = line.split("\t")
                    if len(cells) >= 4 and cells[3].strip():
                        told[cells[0].removesuffix(".mp4").zfill(5)] = cells[3].removeprefix("<br>").strip()
                break
    return told


SET = register(
    DataSet(
        name="mafw",
        title="MAFW",
        role="train",
        licence="on request; non-commercial research",
        tasks={"emotion": Task(EMOTIONS), "multi-label": Task(EMOTIONS, several=True)},
        train_splits=("train",),
        test_splits=("test",),
        original=read,
        mmeverse=Columns("MAFW", {"emotion": "single_label", "multi-label": "multi_label"}, ("text_whisper",), id_digits=5),
        spoken=False,
        published=(
            Published(7320, "train", source="fold 1, single label, with sound"),
            Published(1836, "test", source="fold 1, single label, with sound"),
        ),
        layout="give the folder that holds data/clips and Train & Test Set",
    )
)
