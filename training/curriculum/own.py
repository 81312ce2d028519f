"""A data set of one's own: one CSV, read with the checks of the published sets, asked as a robot will ask.

    path        video, sound or picture, relative to the CSV            required
    label       any word; the labels that occur are the model's labels  required
    split       train (also where it is empty); every other is held out, and the trained model is measured on it
    transcript  what is said                 reason   why: makes a second task of it          id        (the path without suffix)
    audio       sound in a file of its own   speaker  for the interval of the figures         side, start_seconds, end_seconds
    valence, arousal                         numbers in [-1, 1]
What is wrong is named with file and row. Prompts are the ones a robot uses (reasoner/published.py), so it asks what was trained.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ros2_emollama.model.folder import ModelFolder
from ros2_emollama.model.presets import Preset
from ros2_emollama.reasoner.published import STYLES

from ..datasets.files import Folder
from ..datasets.problems import SetProblems
from ..datasets.read import read_set
from ..datasets.registry import DataSet, Look, Task
from ..records import Clip, Media, Sample
from ..whole import write_whole

NAME = "own"
TRAIN = "train"
SOUNDS = frozenset((".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"))
PICTURES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))
REQUIRED = ("path", "label")
VALUES = ("valence", "arousal")
UNSAID = 0.5  # of the samples leave out what is said: a robot's labels are scored without it, for whoever speaks could name one


def read_own(csv: Path, problems: SetProblems | None = None, look: Look = "probe") -> list[Clip]:
    """The usable clips of a CSV. FileNotFoundError; ValueError where none is left; StrictError at the first problem where that is asked."""
    if not csv.is_file():
        raise FileNotFoundError(f"no {csv}; give a CSV with the columns path,label,split,transcript")
    problems = problems if problems is not None else SetProblems()
    dataset = DataSet(
        NAME,
        csv.name,
        "train",
        "your own",
        {"emotion": Task(open=True)},
        (TRAIN,),
        (),
        lambda folder: _clips(folder, csv.name),
        spoken=False,
    )
    clips = list(read_set(dataset, csv.resolve().parent, problems, layout="original", look=look))
    if not clips:
        raise ValueError(f"{csv} has no usable row; first problem: {problems.told[0] if problems.all else 'it is empty'}")
    return clips


def _clips(folder: Folder, file: str) -> Iterator[Clip]:
    for row in folder.table(file, REQUIRED):
        name, label = row["path"], row["label"]
        place = (file, row.number, row["id"] or name)
        if not name:
            folder.problems.add("missing media", *place, "the row has no path")
            continue
        if Path(name).is_absolute() or ".." in Path(name).parts:
            folder.problems.add("missing media", *place, f"{name!r} must be a path below the CSV's own folder")
            continue
        values = {}
        for value in VALUES:
            number = row.number_of(value)
            if number is not None and -1 <= number <= 1:
                values[value] = number
            elif row[value]:
                folder.problems.add("label outside the set", *place, f"{value} {row[value]!r}; it must be a number from -1 to 1")
        yield Clip(
            id=row["id"] or Path(name).with_suffix("").as_posix(),
            set=NAME,
            split=row["split"] or TRAIN,
            media=_media(folder, row["audio"], name, row.number_of("start_seconds"), row.number_of("end_seconds"), row["side"]),
            provenance=folder.provenance(file, row.number),
            transcript=row["transcript"],
            speaker=row["speaker"],
            labels={"emotion": (label,)} if label else {},
            values=values,
            texts={"reason": (row["reason"],)} if row["reason"] else {},
        )


def _media(folder: Folder, sound: str, name: str, start: float | None, end: float | None, side: str) -> Media:
    suffix = Path(name).suffix.lower()
    kind = "audio" if suffix in SOUNDS else "image" if suffix in PICTURES else "video"
    files = {kind: name, **({"audio": sound} if sound and kind == "video" else {})}
    part = {"start_seconds": start, "end_seconds": end} if start is not None or end is not None else {}
    return folder.media(**files, **part, side=side if side in ("left", "right") else "")


def labels_of(clips: Sequence[Clip]) -> tuple[str, ...]:
    """The labels to be trained, in order. ValueError where there is only one, or a held-out clip has one that no training clip has."""
    trained = {clip.label("emotion") for clip in clips if clip.split == TRAIN}
    if len(trained) < 2:
        raise ValueError(f"training clips have {len(trained)} label, at least two are needed; fill the columns label and split")
    for clip in clips:
        if clip.label("emotion") not in trained:
            where = f"{clip.provenance.file}, row {clip.provenance.row}"
            raise ValueError(f"{where}: no training clip has the label {clip.label('emotion')!r}; there are {', '.join(sorted(trained))}")
    return tuple(sorted(trained))


def own_sample(clip: Clip, preset: Preset, rng: random.Random | None = None) -> Sample:
    """What is asked of a clip. rng draws the task and whether what is said is told; None: the label, nothing told, as a robot scores."""
    tasks = STYLES[preset.prompt].tasks
    reason = clip.text("reason")
    task = "reason" if rng is not None and reason and rng.random() < 0.5 else "emotion"
    told = bool(clip.transcript) and rng is not None and rng.random() >= UNSAID
    return Sample(
        id=clip.id,
        set=clip.set,
        split=clip.split,
        media=clip.media,
        provenance=clip.provenance,
        task=task,
        template="training" if told else "unsaid",
        instruction=tasks[task].format(labels=", ".join(preset.labels)),
        answer=reason if task == "reason" else clip.label("emotion"),
        transcript=clip.transcript if told else "",
        says=f"The person in video says: {clip.transcript}. " if told else "",
    )


class OwnNumbers:
    """Training clips, shuffled anew every pass; see `plan.Numbers`."""

    def __init__(self, clips: Sequence[Clip], preset: Preset, seed: int) -> None:
        self._clips = [clip for clip in clips if clip.split == TRAIN]
        self._preset, self._seed = preset, seed
        self.shares = {NAME: float(len(self._clips))}

    def stream(self, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[tuple[int, Sample]]:
        number, lap, order = start - start % world + rank, -1, list(range(len(self._clips)))
        if number < start:
            number += world
        while True:
            now, place = divmod(number, len(order))
            if now != lap:
                lap, order = now, list(range(len(self._clips)))
                random.Random(f"{self._seed}/own/{lap}").shuffle(order)
            clip = self._clips[order[place]]
            yield number, own_sample(clip, self._preset, random.Random(f"{self._seed}/own/{lap}/{clip.id}"))
            number += world


def measure_own(
    folder: ModelFolder, clips: Sequence[Clip], output: Path, features: str = "", sampling: str = "uniform"
) -> dict[str, float]:
    """Held-out clips, labels scored as a robot scores them: accuracy, recalls, calibration, in OUTPUT/held_out.json; a line a clip beside.

    Empty where nothing is held out.
    """
    import numpy as np
    from tqdm import tqdm

    from ..benchmarks.reasoning import Settings, open_answerer
    from ..scores import report_of

    held = [clip for clip in clips if clip.split != TRAIN]
    if not held:
        return {}
    labels = folder.preset.labels
    answerer = open_answerer(str(folder.root), Settings(features=features, sampling=sampling))  # type: ignore[arg-type]
    chances, kept, lines, failed = [], [], [], []
    for clip in tqdm(held, desc="held out", unit="clip"):
        found = answerer.score(own_sample(clip, folder.preset), labels)
        if isinstance(found, Exception):
            failed.append({"id": clip.id, "row": clip.provenance.row, "reason": str(found)})
            continue
        chances.append(found)
        kept.append(clip)
        scores: Mapping[str, float] = dict(zip(labels, (round(float(value), 6) for value in found), strict=True))
        told = {"video_id": clip.id, "mode": clip.split, "answer": clip.label("emotion"), "response": labels[int(found.argmax())]}
        lines.append(json.dumps({**told, "scores": scores}, ensure_ascii=False))
    write_whole(output / "held_out.jsonl", "".join(line + "\n" for line in lines))
    if not kept:
        raise ValueError(f"not one of {len(held)} held-out clips could be read; first: {failed[0]}")
    speakers = [clip.speaker for clip in kept] if all(clip.speaker for clip in kept) else None
    report = report_of(np.stack(chances).astype(np.float64), [clip.label("emotion") for clip in kept], speakers, labels)
    write_whole(output / "held_out.json", json.dumps({**report, "failed": failed}, indent=1) + "\n")
    return {"clips": len(kept), "accuracy": report["accuracy"], "uar": report["uar"], "chance": 1 / len(labels)}
