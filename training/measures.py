"""Every face and every voice of the cache measured once, and what is usual among them.

In:  CACHE/faces.npy, voices.npy and their rows.
Out: CACHE/face_measures.npy (N, M), voice_measures.npy (N, M), float32, NaN where nothing could be measured, row for row as faces.json and
     voices.json; CACHE/norms.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from .data import Faces, Voices
from .face_measures import FACE_MEASURES, LANDMARK_MODEL, Landmarks
from .voice_measures import VOICE_MEASURES, measure_voice
from .whole import whole

Array = npt.NDArray[np.float32]
KNOTS = 101
SAVE_EVERY = 500


@dataclass(frozen=True)
class Norm:
    """What is usual of one measure. `knots` are its quantiles, from 0 to 100 %; `spread` is the robust standard deviation."""

    median: float
    spread: float
    knots: tuple[float, ...]

    @staticmethod
    def of(values: npt.ArrayLike) -> Norm:
        """ValueError when nothing was measured."""
        kept = np.asarray(values, np.float64)
        kept = kept[np.isfinite(kept)]
        if not kept.size:
            raise ValueError("a norm needs at least one measured value; were the measures made? python -m training prepare")
        median = float(np.median(kept))
        knots = np.quantile(kept, np.linspace(0, 1, KNOTS))
        return Norm(median, float(1.4826 * np.median(np.abs(kept - median))), tuple(float(knot) for knot in knots))

    def z(self, value: float) -> float:
        return (value - self.median) / (self.spread + 1e-12)

    def rank(self, value: float) -> float:
        """Where a value stands: -1 below all that are usual, 0 at the median, 1 above all. NaN stays; equal values share a rank."""
        return float(self.ranks([value])[0])

    def ranks(self, values: npt.ArrayLike) -> Array:
        """(N,) `rank` of each."""
        given = np.asarray(values, np.float64)
        below, upto = np.searchsorted(self.knots, given, "left"), np.searchsorted(self.knots, given, "right")
        found = np.where(given == self.median, 0.0, (below + upto) / len(self.knots) - 1)
        return np.where(np.isfinite(given), found, np.nan).astype(np.float32)


class Norms(dict[str, Norm]):
    """Norms by the measure's name."""

    @staticmethod
    def of(tables: Sequence[tuple[Sequence[str], Array]]) -> Norms:
        """From (names, (N, M) measures) of each kind."""
        return Norms({name: Norm.of(column) for names, table in tables for name, column in zip(names, table.T, strict=True)})

    @staticmethod
    def read(cache: Path) -> Norms:
        path = cache / "norms.json"
        if not path.is_file():
            raise FileNotFoundError(f"no {path}; measure first: python -m training prepare --data DIR --cache {cache}")
        found = json.loads(path.read_text(encoding="utf-8"))
        return Norms({name: Norm(norm["median"], norm["spread"], tuple(norm["knots"])) for name, norm in found.items()})

    def write(self, cache: Path) -> None:
        found = {name: {"median": norm.median, "spread": norm.spread, "knots": norm.knots} for name, norm in self.items()}
        (cache / "norms.json").write_text(json.dumps(found, indent=1), encoding="utf-8")

    def ranks(self, values: Mapping[str, float]) -> dict[str, float]:
        """Ranks of what has a norm and was measured."""
        ranks = {name: self[name].rank(value) for name, value in values.items() if name in self}
        return {name: rank for name, rank in ranks.items() if np.isfinite(rank)}


def _measured(path: Path, count: int, columns: int, measure: Callable[[int], Array], what: str) -> Array:
    """(count, columns) at `path`; goes on where it was stopped, through a file beside it that holds the rows done so far."""
    if path.is_file():
        table = np.load(path)
        if table.shape == (count, columns):
            return np.asarray(table, np.float32)
        print(f"{what}: {path} has another shape than {(count, columns)}; measuring anew")
    part = path.with_suffix(".part.npy")
    rows = list(np.load(part)) if part.is_file() else []
    rows = rows if rows and rows[0].shape == (columns,) and len(rows) <= count else []
    for index in tqdm(range(len(rows), count), initial=len(rows), total=count, desc=f"measuring {what}"):
        rows.append(measure(index))
        if len(rows) % SAVE_EVERY == 0:
            _save(part, np.stack(rows))
    table = np.stack(rows).astype(np.float32)
    _save(path, table)
    part.unlink(missing_ok=True)
    return table


def _save(path: Path, table: Array) -> None:
    with whole(path) as partial, partial.open("wb") as stream:
        np.save(stream, table)


def measure_voices(cache: Path, source: Path | None = None) -> Array:
    """(N, M) of VOICE_MEASURES into `cache`, of the voices in `source` (the same folder)."""
    voices = Voices(source or cache)
    return _measured(
        cache / "voice_measures.npy", len(voices.rows), len(VOICE_MEASURES), lambda i: measure_voice(voices.voice(i)), "voices"
    )


def measure_faces(cache: Path, source: Path | None = None, model: Path = LANDMARK_MODEL) -> Array:
    """(N, M) of FACE_MEASURES into `cache`, of the faces in `source` (the same folder)."""
    faces = Faces(source or cache)
    path, shape = cache / "face_measures.npy", (len(faces.rows), len(FACE_MEASURES))
    if path.is_file() and np.load(path, mmap_mode="r").shape == shape:
        return np.asarray(np.load(path), np.float32)
    landmarks = Landmarks(model)
    return _measured(path, *shape, lambda i: landmarks.measure(faces.pictures[i]), "faces")


def prepare_measures(cache: Path, source: Path | None = None, model: Path = LANDMARK_MODEL) -> Norms:
    """Measure what is not measured yet; the norms are those of the train split, all sets together."""
    source = source or cache
    face_table, voice_table = measure_faces(cache, source, model), measure_voices(cache, source)
    faces, voices = Faces(source), Voices(source)
    trained = [np.array([row.split == "train" for row in bank.rows]) for bank in (faces, voices)]
    norms = Norms.of([(FACE_MEASURES, face_table[trained[0]]), (VOICE_MEASURES, voice_table[trained[1]])])
    norms.write(cache)
    return norms


def scales(norms: Norms, names: Sequence[str]) -> tuple[Array, Array]:
    """Median and robust deviation (M,) of each name: what turns measures into numbers that a network can be asked for."""
    return np.array([norms[name].median for name in names], np.float32), np.array([norms[name].spread for name in names], np.float32)


def read_measures(cache: Path, kind: str) -> Array:
    """(N, M) measures of `kind` faces or voices. FileNotFoundError with the cure."""
    path = cache / f"{kind.removesuffix('s')}_measures.npy"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; measure first: python -m training prepare --data DIR --cache {cache}")
    return np.asarray(np.load(path), np.float32)
