"""MMEVerse's released layout, the same for every set (Emotion-LLaMAv2, arXiv 2601.16449; ooochen-30/Emotion-LLaMA-v2).

    D/video/ID.mp4   D/audio/ID.wav        D/D_peak.json {ID: {"peak_index": frame}}
    D/D_merged.csv   labels, transcript, response_* (what single-modality models said)
    D/D_label.csv    labels of what is evaluated
    AU_gpt/D_AU_gpt.csv (beside D or in it)   gpt-4o-mini_* (the reasons of stage 2)
A clip that stands in several of these files is one clip with the columns of all.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Clip
from .files import Folder, Row, open_labels
from .registry import Columns, DataSet

TEXT_PREFIXES = ("response_", "gpt-4o-mini_")


def looks_like(folder: Folder, columns: Columns) -> bool:
    return any((folder.root / name).is_file() for name in _tables(columns)[:2])


def read_mmeverse(folder: Folder, dataset: DataSet) -> Iterator[Clip]:
    """The clips of every table of one set, joined by id; of the splits that the tables name."""
    columns = dataset.mmeverse
    if columns is None:
        raise ValueError(f"{dataset.title} is no part of MMEVerse; read its own distribution: --layout original")
    peaks = _peaks(folder, columns)
    beside = _beside(folder, columns)
    clips: dict[str, Clip] = {}
    for table in _tables(columns):
        if not (folder.root / table).is_file():
            continue
        seen: set[str] = set()
        for row in folder.table(table, ("video_id",)):
            if columns.only and row[columns.only[0]] not in columns.only[1]:
                continue
            clip = _clip(folder, dataset, columns, row, peaks, beside)
            if clip.id in seen:
                folder.problems.add("duplicate id", row.file, row.number, clip.id, "the first row counts")
                continue
            seen.add(clip.id)
            clips[clip.id] = _joined(clips[clip.id], clip) if clip.id in clips else clip
    if not clips and not any((folder.root / table).is_file() for table in _tables(columns)):
        folder.find(*_tables(columns))
    yield from clips.values()


def _tables(columns: Columns) -> tuple[str, ...]:
    name = columns.folder
    return (f"{name}_merged.csv", f"{name}_label.csv", f"AU_gpt/{name}_AU_gpt.csv", f"../AU_gpt/{name}_AU_gpt.csv")


def _clip(folder: Folder, dataset: DataSet, columns: Columns, row: Row, peaks: dict[str, int], beside: dict[str, str]) -> Clip:
    name = row["video_id"].zfill(columns.id_digits)
    if columns.join_clip and row["clip_id"] and not name.endswith(f"_{row['clip_id']}"):
        name = f"{name}_{row['clip_id']}"
    labels = {}
    for task, column in columns.labels.items():
        value = row[column]
        words = open_labels(value or beside.get(name, "")) if dataset.tasks[task].several else (value,) if value else ()
        if words:
            labels[task] = words
    kept = [column for column in row.fields if column.startswith(TEXT_PREFIXES) or column in columns.kept]
    sound = f"audio/{name}.wav"
    return Clip(
        id=name,
        set=dataset.name,
        split=columns.fixed_split or row.first(*columns.split),
        media=folder.media(
            video=folder.choose(f"video/{name}.mp4", f"video/{name}{columns.suffix}"),
            audio=sound if folder.look and (folder.root / sound).is_file() else "",
            peak_frame=peaks.get(name),
        ),
        provenance=folder.provenance(row.file, row.number),
        transcript=row.first(*columns.text),
        speaker=row[columns.speaker] if columns.speaker else "",
        language=dataset.language,
        labels=labels,
        values={value: number for value, column in columns.values.items() if (number := row.number_of(column)) is not None},
        texts={column: (row[column],) for column in kept if row[column]},
    )


def _joined(first: Clip, second: Clip) -> Clip:
    """What the first table says counts; the second adds what it lacks."""
    return Clip(
        id=first.id,
        set=first.set,
        split=first.split or second.split,
        media=first.media,
        provenance=first.provenance,
        transcript=first.transcript or second.transcript,
        speaker=first.speaker or second.speaker,
        language=first.language,
        labels={**second.labels, **first.labels},
        values={**second.values, **first.values},
        texts={**second.texts, **first.texts},
    )


def _beside(folder: Folder, columns: Columns) -> dict[str, str]:
    file = next((name for name in columns.beside if (folder.root / name).is_file()), "")
    return {row["name"]: row["openset"] for row in folder.table(file, ("name", "openset"))} if file else {}


def _peaks(folder: Folder, columns: Columns) -> dict[str, int]:
    name = columns.folder
    for file in (f"{name}_peak.json", f"AU_gpt/{name}_AU_peak.json", f"../AU_gpt/{name}_AU_peak.json"):
        if (folder.root / file).is_file():
            return _peaks_of(folder, file)
    return {}


def _peaks_of(folder: Folder, file: str) -> dict[str, int]:
    content = folder.json(file)
    if not isinstance(content, dict):
        folder.problems.add("unreadable peaks", file, detail="not an object of ids; the middle frame is taken")
        return {}
    peaks = {}
    for name, entry in content.items():
        index = entry.get("peak_index") if isinstance(entry, dict) else None
        if isinstance(index, int) and index >= 0:
            peaks[name] = index
        else:
            folder.problems.add("unreadable peaks", file, 0, name, f"peak_index is {index!r}; the middle frame is taken")
    return peaks
