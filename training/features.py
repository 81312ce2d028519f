"""Encoder features of frozen streams: computed once into shards, or online; on one core, or on a cluster with Ray Data.

    DIR/features-00000.safetensors   SET/ID|STREAM → array
    DIR/features-00000.json          ids, shapes, failures, encoder, SHA-256; written last, so a shard stands only when it is whole
An encoder is anything that takes a record and gives named arrays (features_encoders.py has some). A run that was stopped goes on where it
was. A clip that cannot be encoded is named in its shard with the reason, and has no features.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ros2_emollama.model.folder import file_facts

from .records import Clip, Sample, from_json, to_json
from .whole import whole, write_whole

Arrays = dict[str, npt.NDArray[np.floating[Any]]]
Encoder = Callable[[Clip | Sample], Arrays]
MakeEncoder = Callable[[], Encoder]
SEPARATOR = "|"


class Features(Protocol):
    """Where a training loop gets features from."""

    def of(self, record: Clip | Sample) -> Arrays:
        """Stream → float32 array. KeyError where the record has none."""


@dataclass(frozen=True)
class ShardEntry:
    """What a shard's JSON says. `digest` is of the records it was asked for, `failed` maps key → reason."""

    number: int
    encoder: str
    digest: str
    shapes: dict[str, dict[str, list[int]]]
    failed: dict[str, str]
    sha256: str
    bytes: int


class ShardWorker:
    """Encodes one shard a call. One lives in every process that works: here, or in each of Ray's actors."""

    def __init__(self, make_encoder: MakeEncoder, fingerprint: str, output: str, dtype: str = "float16") -> None:
        self._encoder = make_encoder()
        self._fingerprint, self._output, self._dtype = fingerprint, Path(output), np.dtype(dtype)

    def __call__(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """A job is {"number": n, "clips": lines of JSON}, in a Ray batch of one an array of each; returns {"number": …, "failed": …}."""
        number, lines = (value[0] if isinstance(value, (np.ndarray, list)) else value for value in (job["number"], job["clips"]))
        entry = self.encode(int(number), [from_json(Clip, line) for line in str(lines).splitlines()])
        return {"number": [entry.number], "failed": [json.dumps(entry.failed)]}

    def encode(self, number: int, clips: Sequence[Clip]) -> ShardEntry:
        """Write one shard. ValueError when the encoder gives something that is not finite, for then every clip would be spoilt."""
        from safetensors.numpy import save_file

        tensors: Arrays = {}
        shapes: dict[str, dict[str, list[int]]] = {}
        failed: dict[str, str] = {}
        for clip in clips:
            try:
                arrays = self._encoder(clip)
            except (RuntimeError, ValueError, OSError, KeyError) as error:  # MediaError is a RuntimeError
                failed[clip.key] = f"{type(error).__name__}: {error}"
                continue
            shapes[clip.key] = {name: list(array.shape) for name, array in arrays.items()}
            tensors.update({f"{clip.key}{SEPARATOR}{name}": self._stored(clip, name, array) for name, array in arrays.items()})
        path = self._output / f"features-{number:05d}.safetensors"
        with whole(path) as partial:
            save_file(tensors, partial)
        facts = file_facts(path)
        entry = ShardEntry(number, self._fingerprint, digest_of(clips), shapes, failed, facts["sha256"], facts["bytes"])
        write_whole(path.with_suffix(".json"), json.dumps(asdict(entry)))
        return entry

    def _stored(self, clip: Clip, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(array.astype(self._dtype))
        if not np.isfinite(stored).all():
            raise ValueError(f"{clip.key}: {name} is not finite as {self._dtype}; store it as float32: --dtype float32")
        return stored


def compute(
    clips: Iterable[Clip],
    make_encoder: MakeEncoder,
    fingerprint: str,
    output: Path,
    per_shard: int = 256,
    dtype: str = "float16",
    cluster: str = "",
    workers: int = 1,
    gpus_each: float = 0.0,
    retry: bool = False,
) -> dict[str, str]:
    """Encode every clip that has no features yet; returns what failed, key → reason, of all shards.

    fingerprint  names encoder, weights and sampling; features of another one in `output` are a ValueError
    cluster      "" here, one after the other; "local" or a Ray address: the same worker in `workers` actors with `gpus_each` GPUs each.
                 On a cluster `output` and the media must be on a file system that every node sees.
    retry        shards in which a clip failed are made again
    """
    output.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    jobs: list[dict[str, Any]] = []
    listed = iter(clips)
    total = 0
    for number in itertools.count():
        batch = list(itertools.islice(listed, per_shard))
        if not batch:
            break
        total += 1
        standing = _standing(output, number, fingerprint, digest_of(batch))
        if standing and not (retry and standing.failed):
            failed.update(standing.failed)
        else:
            jobs.append({"number": number, "clips": "\n".join(map(to_json, batch))})
    arguments = (make_encoder, fingerprint, str(output.resolve()), dtype)
    results = _on_ray(jobs, arguments, cluster, workers, gpus_each) if cluster and jobs else _here(jobs, arguments)
    for result in tqdm(results, total=total, initial=total - len(jobs), desc="features", unit=" shards"):
        failed.update(json.loads(result))
    return failed


def _here(jobs: list[dict[str, Any]], arguments: tuple[Any, ...]) -> Iterator[str]:
    if not jobs:
        return
    worker = ShardWorker(*arguments)
    for job in jobs:
        yield str(worker(job)["failed"][0])


def _on_ray(jobs: list[dict[str, Any]], arguments: tuple[Any, ...], cluster: str, workers: int, gpus_each: float) -> Iterator[str]:
    try:
        import ray
        import ray.data
    except ImportError:
        raise RuntimeError("--cluster needs Ray Data: pip install 'ros2-emollama[cluster]'") from None
    if not ray.is_initialized():
        ray.init(address=None if cluster == "local" else cluster, log_to_driver=False)
    rows = ray.data.from_items(jobs, override_num_blocks=len(jobs)).map_batches(
        ShardWorker, fn_constructor_args=arguments, batch_size=1, concurrency=workers, num_gpus=gpus_each or None
    )
    for row in rows.iter_rows():
        yield str(row["failed"])


class Stored:
    """Features from shards. ValueError for a shard that is not what was written (always its size; its SHA-256 where `check`)."""

    def __init__(self, output: Path, check: bool = False) -> None:
        self._output, self._open = output, {}  # type: ignore[var-annotated]
        self._where: dict[str, tuple[int, tuple[str, ...]]] = {}
        self.failed: dict[str, str] = {}
        self.encoder = ""
        entries = list(read_entries(output))
        if not entries:
            raise FileNotFoundError(f"no features in {output}; make them: python -m training features --output {output}")
        for entry in entries:
            path = output / f"features-{entry.number:05d}.safetensors"
            if not path.is_file() or path.stat().st_size != entry.bytes or (check and file_facts(path)["sha256"] != entry.sha256):
                raise ValueError(f"{path} is not what was written; delete {path.with_suffix('.json').name} and make it again")
            self.encoder = entry.encoder
            self.failed.update(entry.failed)
            self._where.update({key: (entry.number, tuple(shapes)) for key, shapes in entry.shapes.items()})

    def __len__(self) -> int:
        return len(self._where)

    @property
    def parts(self) -> set[str]:
        """What any clip has of features, by name."""
        return {name for _, names in self._where.values() for name in names}

    def __contains__(self, key: object) -> bool:
        return key in self._where

    def of(self, record: Clip | Sample) -> Arrays:
        if record.key not in self._where:
            reason = self.failed.get(record.key, "it was not among the clips that were encoded")
            raise KeyError(f"no features of {record.key} in {self._output}: {reason}")
        number, names = self._where[record.key]
        tensors = self._shard(number)
        return {name: tensors.get_tensor(f"{record.key}{SEPARATOR}{name}").astype(np.float32) for name in names}

    def _shard(self, number: int) -> Any:
        from safetensors import safe_open

        if number not in self._open:
            self._open[number] = safe_open(str(self._output / f"features-{number:05d}.safetensors"), framework="numpy")
        return self._open[number]


class Online:
    """Features made when they are asked for."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def of(self, record: Clip | Sample) -> Arrays:
        return {name: np.asarray(array, np.float32) for name, array in self._encoder(record).items()}


def read_entries(output: Path) -> Iterator[ShardEntry]:
    """The shards' JSON files, in order."""
    for path in sorted(output.glob("features-*.json")):
        try:
            yield ShardEntry(**json.loads(path.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{path} cannot be read ({error}); delete it and run python -m training features again") from None


def digest_of(clips: Sequence[Clip]) -> str:
    """Tells whether a shard is asked for the same clips again."""
    return hashlib.sha256("\n".join(clip.key for clip in clips).encode()).hexdigest()


def _standing(output: Path, number: int, fingerprint: str, digest: str) -> ShardEntry | None:
    path = output / f"features-{number:05d}.json"
    if not path.is_file():
        return None
    entry = ShardEntry(**json.loads(path.read_text(encoding="utf-8")))
    if entry.encoder != fingerprint:
        raise ValueError(f"{output} holds features of {entry.encoder}, asked for is {fingerprint}; give another folder")
    tensors = path.with_suffix(".safetensors")
    whole = tensors.is_file() and tensors.stat().st_size == entry.bytes and file_facts(tensors)["sha256"] == entry.sha256
    return entry if whole and entry.digest == digest else None
