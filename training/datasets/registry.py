"""Which data sets there are, and what each one is. A set is a file here that calls `register` once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from ..records import Clip
    from .files import Folder

Role = Literal["train", "evaluation", "general"]
Layout = Literal["auto", "original", "mmeverse"]  # how a folder is packed
Look = Literal["none", "exists", "probe", "decode"]  # how closely media are looked at (probe.py)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
LOOKS: tuple[Look, ...] = get_args(Look)


@dataclass(frozen=True)
class Task:
    """What a clip can be labelled with.

    labels   the set's own label space, as MMEVerse spells it
    several  a clip may have more than one
    aliases  other spellings found in the set's files → label
    open     any word is a label
    """

    labels: tuple[str, ...] = ()
    several: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    open: bool = False

    def find(self, word: str) -> str:
        """A word from a file as the label space spells it, whatever its case; "" where it is none."""
        return word.strip() if self.open else self._folded.get(word.strip().casefold(), "")

    @cached_property
    def _folded(self) -> Mapping[str, str]:
        spelled = {**self.aliases, **{label: label for label in self.labels}}
        return {word.casefold(): label for word, label in spelled.items()}


@dataclass(frozen=True)
class Columns:
    """How MMEVerse's CSV files name what we read; first column that exists counts.

    folder      of the set, and stem of its files: MELD/MELD_merged.csv
    labels      task → column
    text        columns of the transcript
    id_digits   ids are padded with zeros to so many digits
    join_clip   the id is video_id_clip_id where a row has a clip_id
    only        (column, values): only rows with one of those belong to this set
    kept        further columns that are kept as texts
    values      value → column of a number
    beside      CSV files of name,openset with the labels of an open task
    suffix      of the videos, beside .mp4
    """

    folder: str
    labels: Mapping[str, str]
    text: tuple[str, ...]
    split: tuple[str, ...] = ("mode",)
    speaker: str = ""
    id_digits: int = 0
    join_clip: bool = False
    only: tuple[str, tuple[str, ...]] | None = None
    fixed_split: str = ""
    kept: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    suffix: str = ".mp4"


@dataclass(frozen=True)
class Published:
    """A count that a publication gives: of a split ("" all) and a label ("" all)."""

    count: int
    split: str = ""
    label: str = ""
    task: str = ""
    source: str = ""


Reader = Callable[["Folder"], Iterator["Clip"]]


@dataclass(frozen=True)
class DataSet:
    """One data set.

    original      reads the original distribution; None where there is none of its own
    mmeverse      its columns in MMEVerse; None for general sets
    spoken        its distribution comes with transcripts, so an empty one is worth a word
    known_broken  id → what is wrong with the published file
    """

    name: str
    title: str
    role: Role
    licence: str
    tasks: Mapping[str, Task]
    train_splits: tuple[str, ...]
    test_splits: tuple[str, ...]
    original: Reader | None
    mmeverse: Columns | None = None
    spoken: bool = True
    language: str = ""
    published: tuple[Published, ...] = ()
    known_broken: Mapping[str, str] = field(default_factory=dict)
    layout: str = ""


_SETS: dict[str, DataSet] = {}


def register(dataset: DataSet) -> DataSet:
    if dataset.name in _SETS:
        raise ValueError(f"two data sets are called {dataset.name}")
    _SETS[dataset.name] = dataset
    return dataset


def all_sets() -> Mapping[str, DataSet]:
    from . import _load_all

    _load_all()
    return _SETS


def find_set(name: str) -> DataSet:
    """The set of that name. KeyError naming what is near."""
    sets = all_sets()
    if name not in sets:
        near = difflib.get_close_matches(name, sets, 2)
        raise KeyError(f"no data set {name!r}; " + (f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sets)}"))
    return sets[name]


def sets_of(roles: Iterable[Role]) -> list[str]:
    wanted = set(roles)
    return [name for name, dataset in all_sets().items() if dataset.role in wanted]


def table(counts: Mapping[str, int], source: str, split: str = "", task: str = "") -> tuple[Published, ...]:
    """Published counts by label."""
    return tuple(Published(count, split, label, task, source) for label, count in counts.items())


def find_root(base: Path, dataset: DataSet) -> Path:
    """The folder of a set under a folder of sets: by its key, title or MMEVerse folder, whatever their case. FileNotFoundError."""
    wanted = {dataset.name.casefold(), dataset.title.casefold(), *((dataset.mmeverse.folder.casefold(),) if dataset.mmeverse else ())}
    for entry in sorted(base.iterdir()) if base.is_dir() else ():
        if entry.is_dir() and entry.name.casefold() in wanted:
            return entry
    raise FileNotFoundError(
        f"no folder of {dataset.title} in {base} (looked for {', '.join(sorted(wanted))}); say where it is: --datasets {dataset.name}=DIR"
    )
