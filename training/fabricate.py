"""Data sets that are made up: real layouts, real media files, no real person. For tests, and for training a tiny model from end to end.

    fabricate(name, DIR, "original")   one set as its publisher packs it (fabricate_original.py)
    fabricate(name, DIR, "mmeverse")   one set as MMEVerse packs it
    fabricate_mmeverse(DIR)            all of them; from a shell: python -m training.fabricate DIR
A label has a colour and a tone, the same in every set, so that there is something to be learnt. A file FABRICATED marks the folder, and
every record read from it has the provenance "fabricated". Media are made once a label and linked.
"""

from __future__ import annotations

import argparse
import colorsys
import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from .benchmarks.registry import FORMS
from .datasets import DataSet, find_set, sets_of
from .whole import link_or_copy

MARK = "FABRICATED"
SIDE, FPS, SECONDS, RATE_HZ = 64, 8, 1.0, 16000
LOWEST_HZ, SEMITONES = 180.0, 1.25  # the labels of all sets end below half the sample rate
ANY_LABELS = ("happy", "sad", "angry")  # of a set that takes any word
WORDS = ("yes", "no", "look", "there", "again", "why", "please", "never")


@dataclass(frozen=True)
class Fake:
    """One made-up clip. `tone` says which colour and pitch it has; `first` is the label that decided it."""

    number: int
    split: str
    labels: Mapping[str, tuple[str, ...]]
    first: str
    tone: int
    transcript: str


@dataclass
class Studio:
    """Makes media files under `root`, each kind once, and links them to where they are wanted."""

    root: Path
    made: dict[str, Path] = field(default_factory=dict)

    def video(self, place: Path, tone: int, sound: bool = True) -> None:
        """A second of a colour that grows brighter, and of its tone."""
        self._put(place, f"{tone}-{sound}", lambda path: _write_video(path, tone, sound))

    def audio(self, place: Path, tone: int) -> None:
        self._put(place, f"{tone}", lambda path: _write_sound(path, tone))

    def image(self, place: Path, tone: int) -> None:
        self._put(place, f"{tone}", lambda path: _write_image(path, tone))

    def _put(self, place: Path, key: str, make: Callable[[Path], None]) -> None:
        name = f"{key}{place.suffix}"
        if name not in self.made:
            source = self.root / ".media" / name
            if not source.is_file():
                source.parent.mkdir(parents=True, exist_ok=True)
                make(source)
            self.made[name] = source
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        link_or_copy(self.made[name], place)


@cache
def tones() -> Mapping[str, int]:
    """Label → its tone. Forms of one label have one tone, in whichever set."""
    found: dict[str, int] = {}
    forms = {word: min(group) for group in FORMS for word in group}
    for name in sets_of(("train", "evaluation", "general")):
        for task in find_set(name).tasks.values():
            for label in task.labels or ANY_LABELS:
                form = forms.get(label.lower(), label.lower())
                found[label] = found.setdefault(form, len(set(found.values())))
    return found


def colour_of(tone: int) -> tuple[int, int, int]:
    """Red, green and blue in [0, 255] of a tone."""
    red, green, blue = colorsys.hsv_to_rgb((tone * 0.618) % 1.0, 0.8, 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def pitch_of(tone: int) -> float:
    """Hz of a tone."""
    return float(LOWEST_HZ * 2 ** (tone * SEMITONES / 12))


def fabricate(name: str, root: Path, layout: Literal["original", "mmeverse"] = "original", per_label: int = 1) -> Path:
    """Make one set under ROOT/<folder>, `per_label` clips for every label and split; returns the folder."""
    from .fabricate_original import WRITERS

    dataset = find_set(name)
    folder = root / (dataset.mmeverse.folder if layout == "mmeverse" and dataset.mmeverse else name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("Nothing in this folder is real data: python -m training.fabricate made it.\n", encoding="utf-8")
    studio = Studio(root)
    if layout == "original":
        WRITERS[name](folder, fakes(dataset, per_label), studio)
    else:
        _write_mmeverse(dataset, folder, fakes(dataset, per_label), studio)
    return folder


def fabricate_mmeverse(root: Path, per_label: int = 1, general: bool = True) -> dict[str, Path]:
    """All sets of MMEVerse, for training and for evaluation, and the general ones; name → folder."""
    folders = {name: fabricate(name, root, "mmeverse", per_label) for name in sets_of(("train", "evaluation"))}
    if general:
        folders.update({name: fabricate(name, root, "original", per_label) for name in sets_of(("general",))})
    return folders


def fakes(dataset: DataSet, per_label: int = 1) -> list[Fake]:
    """Clips of every label of the first task in every split; further tasks take turns."""
    tasks = list(dataset.tasks)
    space = dataset.tasks[tasks[0]].labels if tasks else ()
    space = space or ANY_LABELS
    made: list[Fake] = []
    for split in dict.fromkeys((*dataset.train_splits, *dataset.test_splits)):
        for index, label in enumerate(space):
            for _ in range(per_label):
                number = len(made) + 1
                labels = {task: _labels(dataset, task, label, index, number) for task in tasks}
                said = " ".join(WORDS[(number * step) % len(WORDS)] for step in (1, 3, 5)).capitalize()
                made.append(Fake(number, split, labels, label, tones()[label], said))
    return made


def _labels(dataset: DataSet, task: str, label: str, index: int, number: int) -> tuple[str, ...]:
    space = dataset.tasks[task].labels or ANY_LABELS
    first = label if label in space else space[number % len(space)]
    return (first, space[(space.index(first) + 1) % len(space)]) if dataset.tasks[task].several else (first,)


def mmeverse_id(dataset: DataSet, fake: Fake) -> str:
    """An id in the style of the set's own."""
    number = fake.number
    styles = {
        "mer2023": f"sample_{number:08d}",
        "mer2024_semi": f"samplenew3_{number:08d}",
        "iemocap": f"Ses0{fake.split[-1]}F_impro01_F{number:03d}",
        "meld": f"{fake.split}_dia{number}_utt0",
        "caer": f"{fake.split}_{fake.first.capitalize()}_{number:04d}",
        "dfew": f"{number:05d}",
        "mafw": f"{number:05d}",
        "bold": f"fab{number}_0001_1",
        "mc_eiu": f"dia_{number}_utt_0" + ("_ch" if number % 2 else ""),
        "cmu_mosei": f"fab{number}",
    }
    return styles.get(dataset.name, f"fab{number}_1")


def reasons(fake: Fake) -> dict[str, str]:
    """What agents would have written of the clip: true of it, and plainly made up."""
    red, green, blue = colour_of(fake.tone)
    return {
        "response_AudioReasoner": f"A steady tone of {pitch_of(fake.tone):.0f} hertz is heard. It stands for {fake.first}.",
        "response_Qwen2Audio": f"The sound holds {pitch_of(fake.tone):.0f} hertz throughout, as {fake.first} does in this set.",
        "response_Qwen25vl_72B": f"The picture is of red {red}, green {green} and blue {blue}. It stands for {fake.first}.",
        "reason": f"Red {red}, green {green}, blue {blue} and the tone of {pitch_of(fake.tone):.0f} hertz agree on {fake.first}.",
    }


def _write_mmeverse(dataset: DataSet, folder: Path, made: list[Fake], studio: Studio) -> None:
    columns = dataset.mmeverse
    if columns is None:
        raise ValueError(f"{dataset.title} is no part of MMEVerse")
    merged, reasoned, peaks = [], [], {}
    for fake in made:
        name = mmeverse_id(dataset, fake)
        row = {"video_id": name, **({"clip_id": "1"} if columns.join_clip else {})}
        stem = f"{name}_1" if columns.join_clip else name
        row.update({column: ",".join(fake.labels[task]) for task, column in columns.labels.items()})
        row.update(dict.fromkeys(columns.text, fake.transcript))
        row.update({columns.only[0] if columns.only else columns.split[0]: fake.split})
        if dataset.name == "mer2024_semi":
            row["MER2023_mode"] = "other"
        if columns.speaker:
            row[columns.speaker] = "The person"
        told = reasons(fake)
        merged.append({**row, **{key: text for key, text in told.items() if key.startswith("response_")}})
        kinds = ("Emotion", "Sentiment", "Single", "Multi", "intent")
        reasoned.append({**row, **{f"gpt-4o-mini_{kind}": told["reason"] for kind in kinds}})
        peaks[stem] = {"peak_index": FPS // 2}
        studio.video(folder / "video" / f"{stem}.mp4", fake.tone)
        studio.audio(folder / "audio" / f"{stem}.wav", fake.tone)
    title = columns.folder
    _extend_csv(folder / f"{title}_merged.csv", merged)
    _extend_csv(folder.parent / "AU_gpt" / f"{title}_AU_gpt.csv", reasoned)
    known = folder / f"{title}_peak.json"
    before = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
    known.write_text(json.dumps({**before, **peaks}), encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Mapping[str, object]], delimiter: str = ",", header: bool = True) -> None:
    """Rows as CSV; their keys are the columns."""
    listed = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        columns = list(dict.fromkeys(column for row in listed for column in row))
        writer = csv.DictWriter(stream, columns, delimiter=delimiter, restval="")
        if header:
            writer.writeheader()
        writer.writerows(listed)


def _extend_csv(path: Path, rows: list[dict[str, str]]) -> None:
    """MER2023 and MER2024-SEMI share a table: what stands there stays."""
    before: list[dict[str, str]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as stream:
            new = {row["video_id"] for row in rows}
            before = [row for row in csv.DictReader(stream) if row["video_id"] not in new]
    write_csv(path, [*before, *rows])


def _write_video(path: Path, tone: int, sound: bool) -> None:
    import av

    colour = np.array(colour_of(tone), np.float32)
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=FPS, options={"g": "1"})
        pictures.width = pictures.height = SIDE
        pictures.pix_fmt = "yuv420p"
        wave = _wave(tone)
        voice = container.add_stream("mp3" if path.suffix == ".avi" else "aac", rate=RATE_HZ, layout="mono") if sound else None
        for index in range(round(SECONDS * FPS)):
            level = 0.5 + 0.5 * index / (SECONDS * FPS - 1)
            pixels = np.broadcast_to((colour * level).astype(np.uint8), (SIDE, SIDE, 3))
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        container.mux(pictures.encode(None))
        if voice is not None:
            frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
            resampler = av.AudioResampler(format=voice.format, layout="mono", rate=RATE_HZ, frame_size=voice.frame_size or 1024)
            for piece in (*resampler.resample(frame), *resampler.resample(None)):
                container.mux(voice.encode(piece))
            container.mux(voice.encode(None))


def _wave(tone: int) -> np.ndarray:
    time = np.arange(round(SECONDS * RATE_HZ)) / RATE_HZ
    return 0.3 * np.sin(2 * np.pi * pitch_of(tone) * time)


def _write_sound(path: Path, tone: int) -> None:
    import soundfile

    soundfile.write(path, _wave(tone), RATE_HZ, subtype="PCM_16")


def _write_image(path: Path, tone: int) -> None:
    import cv2

    picture = np.broadcast_to(np.array(colour_of(tone)[::-1], np.uint8), (SIDE, SIDE, 3))
    if not cv2.imwrite(str(path), np.ascontiguousarray(picture)):
        raise OSError(f"cannot write {path}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.fabricate", description="Make up MMEVerse and the general sets, in miniature."
    )
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--per-label", type=int, default=1, help="clips of each label in each split (%(default)s)")
    arguments = parser.parse_args(argv)
    for name, folder in fabricate_mmeverse(Path(arguments.folder), arguments.per_label).items():
        print(f"{name}: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
