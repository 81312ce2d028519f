"""IEMOCAP: ten actors in pairs, 12 hours (Busso et al. 2008; USC SAIL).

    Session{1..5}/dialog/EmoEvaluation/DIALOG.txt    [start - end]  UTTERANCE  code  [valence, activation, dominance]
    Session{1..5}/dialog/transcriptions/DIALOG.txt   UTTERANCE [start-end]: text
    Session{1..5}/dialog/avi/DivX/DIALOG.avi         two people side by side, the whole dialogue
    Session{1..5}/sentences/wav/DIALOG/UTTERANCE.wav
The wearer of the markers is on the left: UTTERANCE[5] is the sex of that person, UTTERANCE[-4] of who speaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..records import Clip
from .files import Folder
from .registry import Columns, DataSet, Published, Task, register, table

TURN = re.compile(r"^\[(?P<start>[\d.]+) - (?P<end>[\d.]+)\]\t(?P<id>\S+)\t(?P<code>\w+)\t\[(?P<vad>[^\]]*)\]")
LINE = re.compile(r"^(?P<id>Ses\w+) \[[\d.]+-[\d.]+\]: ?(?P<text>.*)$")
CODES = {
    "neu": "Neutral",
    "hap": "Happiness",
    "sad": "Sadness",
    "ang": "Anger",
    "sur": "Surprise",
    "fea": "Fear",
    "dis": "Disgust",
    "fru": "Frustration",
    "exc": "Excited",
}
UNLABELLED = {"xxx": "without agreement", "oth": "other emotion"}
SESSIONS = tuple(f"Session{number}" for number in range(1, 6))


def read(folder: Folder) -> Iterator[Clip]:
    for session in SESSIONS:
        ratings = folder.find(f"{session}/dialog/EmoEvaluation")
        said = _transcripts(folder, session) if ratings else {}
        for path in sorted((folder.root / ratings).glob("Ses*.txt")) if ratings else ():
            yield from _turns(folder, session, f"{ratings}/{path.name}", path.stem, said)


def _transcripts(folder: Folder, session: str) -> dict[str, str]:
    place = folder.find(f"{session}/dialog/transcriptions")
    said = {}
    for path in sorted((folder.root / place).glob("Ses*.txt")) if place else ():
        for _, line in folder.text_lines(f"{place}/{path.name}"):
            found = LINE.match(line)
            if found:
                said[found["id"]] = found["text"].strip()
    return said


def _turns(folder: Folder, session: str, file: str, dialog: str, said: dict[str, str]) -> Iterator[Clip]:
    for number, line in folder.text_lines(file):
        if not line.startswith("["):
            continue
        found = TURN.match(line)
        if not found:
            folder.problems.add("broken row", file, number, detail=f"not a rating: {line[:60]!r}")
            continue
        name, code = found["id"], found["code"]
        if code in UNLABELLED:
            folder.problems.leave_out(UNLABELLED[code])
            continue
        yield Clip(
            id=name,
            set="iemocap",
            split=session,
            media=folder.media(
                video=f"{session}/dialog/avi/DivX/{dialog}.avi",
                audio=f"{session}/sentences/wav/{dialog}/{name}.wav",
                start_seconds=float(found["start"]),
                end_seconds=float(found["end"]),
                side="left" if name[5] == name[-4] else "right",
            ),
            provenance=folder.provenance(file, number),
            transcript=said.get(name, ""),
            speaker=f"{name[:5]}{name[-4]}",
            language="en",
            labels={"emotion": (CODES.get(code, code),)},
            values=dict(zip(("valence", "activation", "dominance"), _numbers(found["vad"]), strict=False)),
        )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []


SET = register(
    DataSet(
        name="iemocap",
        title="IEMOCAP",
        role="train",
        licence="on request from USC; no redistribution",
        tasks={
            "emotion": Task(
                ("Anger", "Happiness", "Disgust", "Surprise", "Fear", "Sadness", "Excited", "Neutral", "Frustration"),
                aliases={"excitement": "Excited", "frustrated": "Frustration"},
            )
        },
        train_splits=SESSIONS[:4],
        test_splits=SESSIONS[4:],
        original=read,
        mmeverse=Columns("IEMOCAP", {"emotion": "official_label"}, ("text",), split=("session",)),
        language="en",
        published=(
            *table(
                {"Happiness": 648, "Sadness": 1084, "Neutral": 1708, "Anger": 1103, "Excited": 1041, "Frustration": 1849},
                "usual six-way counts, all sessions",
                task="emotion",
            ),
            Published(
                1496, "Session5", source="the reference's ground truth: anger, neutral, sadness, happiness with excited (AffectGPT: 1241)"
            ),
        ),
        layout="give IEMOCAP_full_release, which holds Session1 … Session5",
    )
)
