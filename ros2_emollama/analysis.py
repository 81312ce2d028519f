"""A clip → records, one a hop, with the node's own windows and pipeline but no ROS, no threads and no clock.

In:  an opened clip and a pipeline.
Out: `Record`s in the order of time, as table, JSON Lines or CSV.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TextIO

import numpy as np

from .config import Config
from .media import Clip, SkippedFrame
from .pipeline import Pipeline
from .triggers import ExplanationTriggers, LabelTracker
from .types import NANOSECONDS, AudioChunk, EmotionState, Frame, Window
from .windows import WindowAssembler

FORMATS = ("table", "jsonl", "csv")


@dataclass(frozen=True)
class Record:
    """What one hop says. `explanation` is None where none was made."""

    time_seconds: float
    label: str
    confidence: float
    probabilities: Mapping[str, float]
    face: float
    speech: float
    modalities: tuple[str, ...]
    explanation: str | None = None

    @classmethod
    def of(cls, state: EmotionState, explanation: str | None) -> Record:
        return cls(
            time_seconds=state.end_ns / NANOSECONDS,
            label=state.label,
            confidence=state.confidence,
            probabilities=dict(zip(state.labels, state.probabilities, strict=True)),
            face=state.face,
            speech=state.speech,
            modalities=state.modalities,
            explanation=explanation,
        )


@dataclass
class Tally:
    """What a whole clip comes to: the mean of its windows' probabilities, and what was lost on the way."""

    records: int = 0
    explanations: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    _sums: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        self.records += 1
        self.explanations += record.explanation is not None
        self._sums.update(record.probabilities)

    @property
    def mean(self) -> dict[str, float]:
        """Label -> mean probability; empty when there was no record."""
        return {label: total / self.records for label, total in self._sums.items()}


class Played(Protocol):
    """What windows are cut from; a `Clip` is one."""

    def items(self, wants_frame: Callable[[int], bool]) -> Iterator[Frame | AudioChunk | SkippedFrame]:
        """Frames and sound in the order of their stamps; frames that are not wanted are only told of."""


def windows_of(clip: Played, assembler: WindowAssembler, on_time: Callable[[float], None] = lambda seconds: None) -> Iterator[Window]:
    """Every window of a clip, the last ones included. `on_time` hears how far the clip has been read, in seconds."""
    for item in clip.items(assembler.wants_frame):
        if isinstance(item, AudioChunk):
            yield from assembler.add_audio(item)
        elif isinstance(item, SkippedFrame):
            yield from assembler.skip_frame(item.stamp_ns)
        else:
            yield from assembler.add_frame(item)
        on_time(item.stamp_ns / NANOSECONDS)
    yield from assembler.finish()


def analyze(
    clip: Clip, pipeline: Pipeline, config: Config, tally: Tally, on_time: Callable[[float], None] = lambda seconds: None
) -> Iterator[Record]:
    """Records of a clip, counted in `tally`. Explanations are made where the node would make them, if the reasoner is enabled."""
    assembler = WindowAssembler(pipeline.window_spec)
    tracker, triggers = LabelTracker(config.labels), ExplanationTriggers(config.reasoner)
    for window in windows_of(clip, assembler, on_time):
        percept = pipeline.perceive(window)
        percept = replace(percept, state=tracker.update(percept.state))
        due = triggers.update(percept.state)
        explanation = pipeline.explain(percept).text.strip() if due else None
        record = Record.of(percept.state, explanation)
        tally.add(record)
        yield record
    tally.dropped.update(assembler.counters)
    if clip.damaged_packets:
        tally.dropped["damaged_packets"] += clip.damaged_packets


class Writer(Protocol):
    """Writes records to a stream."""

    def write(self, record: Record) -> None: ...


class TableWriter:
    """For people: a line a record, its explanation below it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = False

    def write(self, record: Record) -> None:
        if not self._begun:
            self._stream.write(f"{'time':>7}  {'label':<10} {'confidence':>10}  {'face':>4}  {'speech':>6}  seen\n")
            self._begun = True
        self._stream.write(
            f"{record.time_seconds:7.2f}  {record.label:<10} {record.confidence:10.2f}  {record.face:4.2f}  {record.speech:6.2f}  "
            f"{'+'.join(record.modalities) or 'nothing'}\n"
        )
        if record.explanation is not None:
            self._stream.write(f"{'':>9}{record.explanation}\n")


class JsonLinesWriter:
    """One JSON object a line; `explanation` only where one was made."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, record: Record) -> None:
        content: dict[str, object] = {
            "time_seconds": record.time_seconds,
            "label": record.label,
            "confidence": round(record.confidence, 6),
            "probabilities": {label: round(value, 6) for label, value in record.probabilities.items()},
            "face": _known(record.face),
            "speech": _known(record.speech),
            "modalities": list(record.modalities),
        }
        if record.explanation is not None:
            content["explanation"] = record.explanation
        self._stream.write(json.dumps(content, ensure_ascii=False) + "\n")


def _known(presence: float) -> float | None:
    """JSON has no NaN: what a model does not say is null."""
    return None if math.isnan(presence) else round(presence, 6)


class CsvWriter:
    """A column a field, one `probability_…` a label, modalities joined by +."""

    def __init__(self, stream: TextIO) -> None:
        self._writer = csv.writer(stream, lineterminator="\n")
        self._begun = False

    def write(self, record: Record) -> None:
        if not self._begun:
            probabilities = [f"probability_{label}" for label in record.probabilities]
            self._writer.writerow(["time_seconds", "label", "confidence", *probabilities, "face", "speech", "modalities", "explanation"])
            self._begun = True
        values = [record.confidence, *record.probabilities.values(), record.face, record.speech]
        numbers = [f"{value:.6f}" for value in np.asarray(values, np.float64)]
        self._writer.writerow([record.time_seconds, record.label, *numbers, "+".join(record.modalities), record.explanation or ""])


def writer_of(format: str, stream: TextIO) -> Writer:
    """The writer of one of `FORMATS`."""
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    writers: dict[str, Callable[[TextIO], Writer]] = {"table": TableWriter, "jsonl": JsonLinesWriter, "csv": CsvWriter}
    return writers[format](stream)
