"""The two records that training data is made of: what a data set says of a clip, and one instruction with its answer.

    original distribution ┐                     ┌► annotation, features (by id)
    MMEVerse CSV ─────────┴► Clip (clip index) ─┴► Sample (instruction, answer) ─► JSON Lines, WebDataset ─► training
Both are JSON objects, a line each, and are checked against their schema when read: `schema(Clip)` gives it as JSON Schema. Frozen.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from .whole import whole

Source = Literal["original", "mmeverse", "own", "fabricated"]
Side = Literal["", "left", "right"]
Stream = Literal["scene", "frames", "audio"]
STREAMS: tuple[Stream, ...] = ("scene", "frames", "audio")

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Provenance:
    """Where a record came from: `file` under the data set's folder and its 1-based `row` there (a CSV's header is row 1; 0: no rows)."""

    __pydantic_config__ = _STRICT

    source: Source
    file: str
    row: int = 0


@dataclass(frozen=True)
class Media:
    """Files of a clip, under the data set's folder `root`; "" where there is none.

    start_seconds, end_seconds  the clip's part of `video` and `audio`; None for the whole file
    side                        half of the picture that shows the speaker (IEMOCAP films two people side by side)
    box                         x, y, width and height of the person in the picture's pixels; () for the whole picture
    peak_frame                  frame of the strongest expression, counted from 0; None where nobody said
    seconds, frames, has_audio  as probed; None where nobody looked
    """

    __pydantic_config__ = _STRICT

    root: str = ""
    video: str = ""
    audio: str = ""
    image: str = ""
    start_seconds: float | None = None
    end_seconds: float | None = None
    side: Side = ""
    box: tuple[float, ...] = ()
    peak_frame: int | None = None
    seconds: float | None = None
    frames: int | None = None
    has_audio: bool | None = None

    def path(self, kind: Literal["video", "audio", "image"]) -> Path | None:
        """Where a file lies; None where the clip has no such file."""
        name: str = getattr(self, kind)
        return Path(self.root) / name if name else None

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(name for name in (self.video, self.audio, self.image) if name)


@dataclass(frozen=True)
class Clip:
    """What a data set says of one clip.

    id          unique in its set, as MMEVerse writes it (MELD "test_dia0_utt0")
    set, split  the set's key ("meld") and its own name of the split ("dev")
    transcript  "" where nobody spoke or nobody wrote it down
    speaker     who is seen ("" unknown); E3's prompt names the person
    labels      task → labels as the set spells them: {"emotion": ("joy",), "sentiment": ("positive",)}; a task without a label is absent
    values      measured numbers: valence, arousal, dominance, sentiment_score …
    texts       column → texts: annotations of MMEVerse (response_Qwen2Audio, gpt-4o-mini_Emotion …), question and answers of a VQA set
    """

    __pydantic_config__ = _STRICT

    id: str
    set: str
    split: str
    media: Media
    provenance: Provenance
    transcript: str = ""
    speaker: str = ""
    language: str = ""
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Unique among all sets."""
        return f"{self.set}/{self.id}"

    def label(self, task: str) -> str:
        """The labels of a task, separated by commas; "" where it has none."""
        return ",".join(self.labels.get(task, ()))

    def text(self, column: str) -> str:
        """The first text of a column; "" where there is none."""
        found = self.texts.get(column, ())
        return found[0] if found else ""


@dataclass(frozen=True)
class Sample:
    """One instruction and its answer.

    task         what stands in the prompt's brackets: emotion, sentiment, intent, multi-label, audio, image, reason, think, vqa, refer …
    template     which of `instructions.TEMPLATES` puts the prompt together
    says         the sentence before the task ("The person in video says: … "); "" where there is none
    answer       as the model shall write it
    streams      what the model is shown of the clip; the others are absent
    mode         the split as the published prediction files name it; "" in training
    """

    __pydantic_config__ = _STRICT

    id: str
    set: str
    split: str
    media: Media
    provenance: Provenance
    task: str
    template: str
    instruction: str
    answer: str
    transcript: str = ""
    says: str = ""
    streams: tuple[Stream, ...] = STREAMS
    mode: str = ""

    @property
    def key(self) -> str:
        return f"{self.set}/{self.id}"


Record = TypeVar("Record", Clip, Sample)


@lru_cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def schema(kind: type[Clip] | type[Sample]) -> dict[str, Any]:
    """The record's JSON Schema (draft 2020-12)."""
    return _adapter(kind).json_schema()


def to_json(record: Clip | Sample) -> str:
    """One line of JSON. Fields at their default are left out."""
    return json.dumps(_without_defaults(record), ensure_ascii=False)


def _without_defaults(item: Any) -> Any:
    if not dataclasses.is_dataclass(item):
        return item
    values = {}
    for entry in dataclasses.fields(item):
        value = getattr(item, entry.name)
        default = entry.default_factory() if entry.default_factory is not dataclasses.MISSING else entry.default
        if value != default:
            values[entry.name] = _without_defaults(value)
    return values


def from_json(kind: type[Record], text: str | bytes, where: str = "") -> Record:
    """The record of one line. ValueError naming `where`, field, rule and value."""
    try:
        record: Record = _adapter(kind).validate_json(text)
        return record
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "the line"
        before = f"{where}: " if where else ""
        raise ValueError(f"{before}not a {kind.__name__}: {name}: {first['msg']}, got {first.get('input')!r:.80}") from None


def read_records(path: Path, kind: type[Record]) -> Iterator[Record]:
    """The records of a JSON Lines file, in order. FileNotFoundError with the cure; ValueError naming file and row."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; make it first: python -m training index --output {path.parent} (or instruct, for samples)")
    with path.open("rb") as lines:
        for row, line in enumerate(lines, 1):
            if line.strip():
                yield from_json(kind, line, f"{path}, row {row}")


def write_records(path: Path, records: Iterable[Clip | Sample]) -> int:
    """Write a JSON Lines file, whole or not at all; returns how many records."""
    count = 0
    with whole(path) as partial, partial.open("w", encoding="utf-8") as lines:
        for record in records:
            lines.write(to_json(record) + "\n")
            count += 1
    return count
