"""Samples go into shards and lines and come out again, the same bytes each time, and damage is found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("pydantic")


from tests.training.instructed import clip, draws
from training.instructions_shards import key_of, read_shards, read_summary, write_shards
from training.records import Media, Sample, write_records


def shard_samples(folder: Path) -> list[Sample]:
    (folder / "a.mp4").write_bytes(b"not really a film")
    made = dataclasses.replace(clip("meld"), media=Media(str(folder), video="a.mp4", audio="gone.wav"))
    samples = draws(made, "stage1", count=25)
    return [dataclasses.replace(sample, id=f"x-6.{i}/ü") for i, sample in enumerate(samples)]


def test_shards_carry_records_and_media_and_webdataset_reads_them(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    samples = shard_samples(tmp_path)
    shards = write_shards(samples, tmp_path / "shards", per_shard=10)
    assert [shard.samples for shard in shards] == [10, 10, 5] and sum(shard.missing for shard in shards) == 25
    back = list(read_shards(tmp_path / "shards", check=True))
    assert [sample for sample, _ in back] == samples and {tuple(media.items()) for _, media in back} == {(("mp4", b"not really a film"),)}
    assert key_of(3, samples[3]) == "00000003-meld-x-6_3__"


def test_the_same_samples_give_the_same_bytes_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    samples = shard_samples(tmp_path)
    whole = write_shards(samples, tmp_path / "whole", per_shard=10)

    def stopped() -> object:
        yield from samples[:15]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(stopped(), tmp_path / "parts", per_shard=10)  # type: ignore[arg-type]
    assert len(read_summary(tmp_path / "parts")) == 1
    first = (tmp_path / "parts" / "samples-000000.tar").stat().st_mtime_ns
    assert write_shards(samples, tmp_path / "parts", per_shard=10) == whole
    assert (tmp_path / "parts" / "samples-000000.tar").stat().st_mtime_ns == first, "what stands is not written again"
    with pytest.raises(ValueError, match="holds other samples"):
        write_shards(samples[1:], tmp_path / "parts", per_shard=10)


def test_a_shard_that_was_damaged_is_found(tmp_path: Path) -> None:
    write_shards(shard_samples(tmp_path), tmp_path / "shards", per_shard=10)
    path = tmp_path / "shards" / "samples-000001.tar"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"samples-000001\.tar is not what was written"):
        next(read_shards(tmp_path / "shards", check=True))


def test_json_lines_hold_the_samples(tmp_path: Path) -> None:
    from training.records import read_records

    samples = draws(clip("bold"), "stage2", count=20)
    assert write_records(tmp_path / "samples.jsonl", samples) == 20
    assert list(read_records(tmp_path / "samples.jsonl", Sample)) == samples
