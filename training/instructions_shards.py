"""Samples on disk: JSON Lines, or WebDataset tars that carry the media with them.

    DIR/samples-000000.tar   KEY.json (a `Sample`), KEY.mp4, KEY.wav, KEY.jpg … (read with webdataset, written plainly)
    DIR/shards.json          what was asked for; per shard: samples, bytes, SHA-256
A shard stands only when it is whole; the same samples give the same bytes. A run that was stopped goes on after its last shard. Media that
are a part of a long file (a dialogue, a whole video) are named in the record and not packed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ros2_emollama.model.folder import file_facts

from .records import Sample, from_json, to_json
from .whole import whole, write_whole

SUMMARY = "shards.json"
KINDS = ("video", "audio", "image")


@dataclass(frozen=True)
class Shard:
    """One tar. `digest` is of the records, to see whether the same samples are asked for again."""

    name: str
    samples: int
    bytes: int
    sha256: str
    digest: str
    missing: int


def write_shards(samples: Iterable[Sample], folder: Path, per_shard: int = 1000, media: bool = True) -> list[Shard]:
    """Write tars of `per_shard` samples; returns all shards. ValueError for a folder that holds other samples.

    A file that cannot be read is left out, counted in its shard, and the record stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    standing = read_summary(folder)
    shards: list[Shard] = []
    numbered = iter(samples)
    with tqdm(desc=folder.name, unit=" samples") as bar:
        for number in itertools.count():
            batch = list(itertools.islice(numbered, per_shard))
            if not batch:
                break
            digest = hashlib.sha256("\n".join(map(to_json, batch)).encode()).hexdigest()
            if number < len(standing) and not (folder / standing[number].name).is_file():
                standing = standing[:number]
            if number < len(standing):
                if standing[number].digest != digest:
                    raise ValueError(f"{folder} holds other samples from {standing[number].name} on; give another folder, or delete it")
                shards.append(standing[number])
            else:
                shards.append(_write_shard(batch, number * per_shard, folder / f"samples-{number:06d}.tar", digest, media))
                _write_summary(folder, shards)
            bar.update(len(batch))
    if len(standing) > len(shards):
        raise ValueError(f"{folder} holds more samples than are asked for now; give another folder, or delete it")
    return shards


def read_shards(folder: Path, check: bool = False) -> Iterator[tuple[Sample, dict[str, bytes]]]:
    """Samples and their media ("mp4" → bytes), in order. ValueError naming a shard that is not what was written, where `check`."""
    import webdataset

    shards = read_summary(folder)
    if not shards:
        raise FileNotFoundError(f"no shards in {folder}; make them: python -m training instruct --format webdataset --output {folder}")
    for shard in shards if check else ():
        if not (folder / shard.name).is_file() or file_facts(folder / shard.name)["sha256"] != shard.sha256:
            raise ValueError(f"{folder / shard.name} is not what was written; delete it and run python -m training instruct again")
    names = [str(folder / shard.name) for shard in shards]
    for item in webdataset.WebDataset(names, shardshuffle=False, empty_check=False):
        record = from_json(Sample, item["json"], item["__key__"])
        yield record, {kind: content for kind, content in item.items() if kind != "json" and not kind.startswith("__")}


def read_summary(folder: Path) -> list[Shard]:
    path = folder / SUMMARY
    if not path.is_file():
        return []
    try:
        return [Shard(**shard) for shard in json.loads(path.read_text(encoding="utf-8"))]
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete the folder and write it again") from None


def key_of(number: int, sample: Sample) -> str:
    """A name that WebDataset does not take apart: it has no dot and no slash, and sorts by number."""
    return f"{number:08d}-" + re.sub(r"[^A-Za-z0-9_+-]", "_", f"{sample.set}-{sample.id}")[:80]


def _write_shard(batch: list[Sample], first: int, path: Path, digest: str, media: bool) -> Shard:
    missing = 0
    with whole(path) as partial, tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, sample in enumerate(batch, first):
            key = key_of(number, sample)
            _add(tar, f"{key}.json", to_json(sample).encode())
            for kind in KINDS if media and sample.media.end_seconds is None else ():
                content = _read(sample, kind)
                if content is not None:
                    _add(tar, key + Path(getattr(sample.media, kind)).suffix.lower(), content)
                elif getattr(sample.media, kind):
                    missing += 1
    facts = file_facts(path)
    return Shard(path.name, len(batch), facts["bytes"], facts["sha256"], digest, missing)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no owner, no time: the same samples give the same bytes
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _read(sample: Sample, kind: Any) -> bytes | None:
    path = sample.media.path(kind)
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        tqdm.write(f"{sample.key}: {kind} left out: {error}")
        return None


def _write_summary(folder: Path, shards: list[Shard]) -> None:
    write_whole(folder / SUMMARY, json.dumps([dataclasses.asdict(shard) for shard in shards], indent=1) + "\n")
