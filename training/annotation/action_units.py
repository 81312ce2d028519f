"""OpenFace's CSV → the peak frame, the action units that are active in it, and which emotions they speak for.

Columns: frame, timestamp, confidence, success, AUxx_r (0 to 5), AUxx_c (0 or 1); names may have spaces around them. The peak is the frame
in which the intensities of the emotion's own units sum highest, as the method's annotation does (Emotion-LLaMAv2, its figure of the
pipeline). Which units belong to which emotion, and when they speak for it, is the table of MER-Factory (Lum1104/MER-Factory, MIT).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

ACTIVE = 0.8  # of an intensity from 0 to 5: an active unit lies above, and an emotion's units lie there on average
PRESENT_SHARE = 0.5  # of an emotion's units that must be seen
STRENGTHS = ((3 * ACTIVE, "strong"), (2 * ACTIVE, "moderate"), (ACTIVE, "slight"))
UNIT_NAMES: Mapping[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    17: "chin raiser",
    20: "lip stretcher",
    23: "lip tightener",
    25: "lips part",
    26: "jaw drop",
    28: "lip suck",
    45: "blink",
}
EMOTION_UNITS: Mapping[str, tuple[int, ...]] = {
    "happy": (6, 12, 14),
    "sad": (1, 4, 15, 14),
    "surprise": (1, 2, 5, 26),
    "fear": (1, 2, 4, 5, 7, 20, 26),
    "angry": (4, 5, 7, 23, 10, 17),
    "contempt": (12, 10, 14, 17),
    "worried": (28, 20),
    "disgust": (9, 15),
}
FORMS: Mapping[str, str] = {
    **dict.fromkeys(("happiness", "joy", "excited", "positive"), "happy"),
    **dict.fromkeys(("sadness", "disappointment", "helplessness"), "sad"),
    **dict.fromkeys(("surprised",), "surprise"),
    **dict.fromkeys(("scared", "fearful"), "fear"),
    **dict.fromkeys(("anger", "annoyance", "frustration"), "angry"),
    **dict.fromkeys(("anxiety", "worry"), "worried"),
    **dict.fromkeys(("disgusted", "aversion"), "disgust"),
}


@dataclass(frozen=True)
class Expression:
    """What a face does.

    source        "openface", "landmarks" or "": nothing was seen
    peak_frame    the frame of the strongest expression; None without a face
    active        what is active in it, as words, with its intensity (OpenFace: 0 to 5; landmarks: rank from 0 to 1)
    emotions      which emotions the action units speak for, and how strongly
    """

    source: str = ""
    peak_frame: int | None = None
    peak_seconds: float | None = None
    active: Mapping[str, float] = field(default_factory=dict)
    emotions: Mapping[str, str] = field(default_factory=dict)

    def listed(self) -> str:
        """For a prompt: one line."""
        return ", ".join(f"{name} ({value:.1f})" for name, value in self.active.items()) or "none"


@dataclass(frozen=True)
class UnitTable:
    """frames (N,), seconds (N,), intensity and present {unit: (N,)} of the frames in which a face was tracked"""

    frames: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    intensity: Mapping[int, npt.NDArray[np.float64]]
    present: Mapping[int, npt.NDArray[np.float64]]


def read_units(path: Path) -> UnitTable:
    """ValueError where the file is none of OpenFace's, or no face was tracked in it. OpenFace counts frames from 1, we from 0."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            rows = [row for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV of OpenFace: {error}") from error
    units = {int(name[2:4]): name for name in header if name.startswith("AU") and name.endswith("_r") and name[2:4].isdigit()}
    if "frame" not in header or not units:
        raise ValueError(f"{path} must have OpenFace's columns frame, AU01_r …; run FeatureExtraction with -aus")
    kept = [row for number, row in enumerate(rows, start=2) if _usable(path, number, row, header)]
    if not kept:
        raise ValueError(f"{path}: no face was tracked in any frame")

    def column(name: str) -> npt.NDArray[np.float64]:
        place = header.index(name) if name in header else None
        return np.array([_number(row[place]) if place is not None else 0.0 for row in kept], np.float64)

    present = {int(name[2:4]): column(name) for name in header if name.startswith("AU") and name.endswith("_c") and name[2:4].isdigit()}
    frames = np.maximum(column("frame").astype(np.int64) - 1, 0)
    return UnitTable(frames, column("timestamp"), {unit: column(name) for unit, name in units.items()}, present)


def _usable(path: Path, number: int, row: list[str], header: list[str]) -> bool:
    if len(row) != len(header):
        raise ValueError(f"{path}:{number}: {len(row)} cells where the header has {len(header)}; was the file cut short?")
    found = dict(zip(header, row, strict=True))
    numbers = [_number(value) for name, value in found.items() if name == "frame" or name[:2] == "AU"]
    return all(map(math.isfinite, numbers)) and _number(found.get("success", "1")) > 0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def expression_of(table: UnitTable, label: str = "") -> Expression:
    """The expression at the peak of the label's own units; of all units where the label has none."""
    own = EMOTION_UNITS.get(FORMS.get(label.lower(), label.lower()), ())
    units = [unit for unit in own if unit in table.intensity] or list(table.intensity)
    peak = int(np.argmax(np.sum([table.intensity[unit] for unit in units], axis=0)))
    at_peak = {unit: float(values[peak]) for unit, values in table.intensity.items()}
    active = sorted((unit for unit, value in at_peak.items() if value > ACTIVE), key=lambda unit: -at_peak[unit])
    named = {f"AU{unit:02d} {UNIT_NAMES.get(unit, '')}".rstrip(): round(at_peak[unit], 2) for unit in active}
    return Expression("openface", int(table.frames[peak]), float(table.seconds[peak]), named, _emotions(table, peak))


def _emotions(table: UnitTable, peak: int) -> dict[str, str]:
    found: dict[str, tuple[float, str]] = {}
    for emotion, units in EMOTION_UNITS.items():
        seen = [float(table.present[unit][peak]) if unit in table.present else 0.0 for unit in units]
        intensity = float(np.mean([float(table.intensity[unit][peak]) if unit in table.intensity else 0.0 for unit in units]))
        strength = next((name for least, name in STRENGTHS if intensity >= least), "")
        if strength and np.mean([value > 0 for value in seen]) >= PRESENT_SHARE:
            found[emotion] = (intensity, strength)
    return {emotion: strength for emotion, (_, strength) in sorted(found.items(), key=lambda item: -item[1][0])}
