"""Tars of faces and voices → one cache of arrays. Reads straight from the tars; nothing is unpacked.

In:  DATA/{face_*,speech_*}.tar, each with an index.csv (path, label7, speaker, split).
Out: CACHE/faces.npz (uint8 48², labels, splits), CACHE/voices.npz (int16 16 kHz, one after the other), CACHE/*.json with the rows.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import soundfile
from tqdm import tqdm

from ros2_emollama.model.presets import LABELS

FACE_SIDE = 48
SAMPLE_RATE_HZ = 16000
FACE_SETS = ("face_fer2013", "face_muxspace")
VOICE_SETS = ("speech_ravdess", "speech_nemo", "speech_emodb")


@dataclass(frozen=True)
class Row:
    """One file of one set; `label` is "" where none of the seven fits."""

    set: str
    path: str
    label: str
    speaker: str
    split: str

    @property
    def label_index(self) -> int:
        return LABELS.index(self.label) if self.label in LABELS else -1


def read_index(tar_path: Path) -> list[Row]:
    """The rows of one tar's index. FileNotFoundError or KeyError with the cure."""
    if not tar_path.is_file():
        raise FileNotFoundError(f"no {tar_path.name} in {tar_path.parent}; give the folder of the data tars: --data DIR")
    with tarfile.open(tar_path) as tar:
        member = tar.extractfile("index.csv")
        if member is None:
            raise KeyError(f"{tar_path} holds no index.csv; it must list path, label7, speaker and split")
        rows = csv.DictReader(io.TextIOWrapper(member, encoding="utf-8"))
        return [Row(tar_path.stem, row["path"], row["label7"], row["speaker"], row["split"]) for row in rows]


def read_members(tar_path: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every wanted file, in the tar's order: one pass."""
    with tarfile.open(tar_path) as tar:
        for member in tar:
            if member.name in wanted:
                stream = tar.extractfile(member)
                if stream is not None:
                    yield member.name, stream.read()


def _decode_face(content: bytes) -> npt.NDArray[np.uint8] | None:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        return None
    return np.asarray(cv2.resize(picture, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _decode_voice(content: bytes) -> npt.NDArray[np.int16]:
    samples, rate = soundfile.read(io.BytesIO(content), dtype="int16")
    if rate != SAMPLE_RATE_HZ:
        raise ValueError(f"expected {SAMPLE_RATE_HZ} Hz, got {rate}")
    return np.asarray(samples if samples.ndim == 1 else samples[:, 0], np.int16)


def prepare_faces(data: Path, cache: Path) -> int:
    """Write CACHE/faces.npy and faces.json; returns how many faces. Files that do not decode are named and left out."""
    pictures, rows = [], []
    for name in FACE_SETS:
        index = {row.path: row for row in read_index(data / f"{name}.tar")}
        for path, content in tqdm(read_members(data / f"{name}.tar", set(index)), total=len(index), desc=name):
            picture = _decode_face(content)
            if picture is None:
                tqdm.write(f"{name}: {path} is not a picture; left out")
                continue
            pictures.append(picture)
            rows.append(index[path])
    np.save(cache / "faces.npy", np.stack(pictures))
    _write_rows(cache / "faces.json", rows)
    return len(rows)


def prepare_voices(data: Path, cache: Path) -> int:
    """Write CACHE/voices.npy (all samples), voice_ends.npy and voices.json; returns how many voices."""
    pieces, rows = [], []
    for name in VOICE_SETS:
        index = {row.path: row for row in read_index(data / f"{name}.tar")}
        for path, content in tqdm(read_members(data / f"{name}.tar", set(index)), total=len(index), desc=name):
            pieces.append(_decode_voice(content))
            rows.append(index[path])
    np.save(cache / "voices.npy", np.concatenate(pieces))
    np.save(cache / "voice_ends.npy", np.cumsum([piece.size for piece in pieces]))
    _write_rows(cache / "voices.json", rows)
    return len(rows)


def _write_rows(path: Path, rows: list[Row]) -> None:
    path.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")


def _read_rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; make the cache first: python -m training prepare --data DIR --cache {path.parent}")
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


class Faces:
    """All faces of the cache: `pictures` (N, 48, 48) uint8, `labels` (N,) int64 with -1 for none, `rows`."""

    def __init__(self, cache: Path) -> None:
        self.rows = _read_rows(cache / "faces.json")
        self.pictures: npt.NDArray[np.uint8] = np.load(cache / "faces.npy")
        self.labels = np.array([row.label_index for row in self.rows])

    def where(self, split: str, name: str | None = None) -> npt.NDArray[np.int64]:
        """Indices of labelled faces of a split, of one set or of all."""
        chosen = [i for i, row in enumerate(self.rows) if row.split == split and row.label_index >= 0 and name in (None, row.set)]
        return np.array(chosen, np.int64)


class Voices:
    """All voices of the cache: `voice(i)` (S,) float32 in [-1, 1], `labels`, `rows`."""

    def __init__(self, cache: Path) -> None:
        self.rows = _read_rows(cache / "voices.json")
        self._samples: npt.NDArray[np.int16] = np.load(cache / "voices.npy", mmap_mode="r")
        self._ends: npt.NDArray[np.int64] = np.load(cache / "voice_ends.npy")
        self.labels = np.array([row.label_index for row in self.rows])

    def voice(self, index: int) -> npt.NDArray[np.float32]:
        start = 0 if index == 0 else int(self._ends[index - 1])
        return self._samples[start : int(self._ends[index])].astype(np.float32) / 32768.0

    def where(self, split: str, name: str | None = None) -> npt.NDArray[np.int64]:
        chosen = [i for i, row in enumerate(self.rows) if row.split == split and row.label_index >= 0 and name in (None, row.set)]
        return np.array(chosen, np.int64)
