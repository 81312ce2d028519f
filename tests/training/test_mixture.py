"""Sets are drawn by their ratio, every clip once a pass, and a stream that stopped goes on exactly."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

pytest.importorskip("pydantic")


from tests.training.instructed import DRAWS, many
from training.instructions_mixture import Mixture


def test_sets_are_drawn_by_their_ratio_and_clips_once_a_pass() -> None:
    mixture = Mixture(many(("meld", "cmu_mosi", "e3"), 7), "stage1")
    samples = [sample for _, sample in itertools.islice(mixture.stream(), DRAWS)]
    counts = Counter(sample.set for sample in samples)
    total = 150 + 45 + 195
    for name, ratio in (("meld", 150), ("cmu_mosi", 45), ("e3", 195)):
        assert counts[name] / DRAWS == pytest.approx(ratio / total, abs=0.04)
    of_meld = [sample.id for sample in samples if sample.set == "meld"]
    passes = [of_meld[start : start + 7] for start in range(0, 70, 7)]
    assert all(sorted(lap) == [f"c{i}" for i in range(7)] for lap in passes) and len({tuple(lap) for lap in passes}) > 5
    with pytest.raises(ValueError, match="the ratios are of"):
        Mixture({"sims": []}, "stage1")


def test_a_stream_goes_on_exactly_and_processes_share_it() -> None:
    clips = many(("meld", "mafw"), 5)
    whole = dict(itertools.islice(Mixture(clips, "stage2").stream(), 60))
    assert dict(itertools.islice(Mixture(clips, "stage2").stream(start=40), 20)) == {n: whole[n] for n in range(40, 60)}
    parts = [dict(itertools.islice(Mixture(clips, "stage2").stream(rank=rank, world=3), 20)) for rank in range(3)]
    assert {number: sample for part in parts for number, sample in part.items()} == whole
    assert dict(itertools.islice(Mixture(clips, "stage2", seed=1).stream(), 60)) != whole
