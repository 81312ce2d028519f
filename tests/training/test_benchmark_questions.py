"""The eighteen benchmarks ask of their own splits, in labels that the scorers know."""

from __future__ import annotations

import pytest

pytest.importorskip("pydantic")


from tests.training.instructed import clip
from training.datasets import find_set
from training.instructions import (
    evaluation_samples,
)
from training.instructions_tables import EVALUATIONS


def test_the_eighteen_benchmarks_ask_for_their_splits_and_labels() -> None:
    assert len(EVALUATIONS) == 18
    for name, plan in EVALUATIONS.items():
        inside, outside = clip(plan.set, split=plan.splits[0]), clip(plan.set, split="train")
        (sample,) = evaluation_samples(name, [outside, inside])
        assert sample.mode == (plan.mode or plan.splits[0]) and sample.task == plan.tag and sample.answer
    excited, fear = (clip("iemocap", {"emotion": (label,)}, split="Session5") for label in ("Excited", "Fear"))
    assert [sample.answer for sample in evaluation_samples("iemocap", [excited, fear])] == ["happiness"]
    assert list(evaluation_samples("mafw_multi", [clip("mafw", {"emotion": ("fear",)}, split="test")])) == []
    assert list(evaluation_samples("meld_emotion", [clip("meld", split="dev")], splits=("test",))) == []


def test_the_scorers_know_the_same_benchmarks_modes_and_labels() -> None:
    registry = pytest.importorskip("training.benchmarks.registry")
    assert set(registry.BENCHMARKS) == set(EVALUATIONS)
    for name, plan in EVALUATIONS.items():
        benchmark = registry.BENCHMARKS[name]
        asked = {plan.mode or split for split in plan.splits}
        assert set(benchmark.modes) <= asked
        for label in find_set(plan.set).tasks[plan.task].labels:
            scored = plan.labels.get(label, "") if plan.labels else label
            assert not scored or not benchmark.labels or benchmark.label(scored.lower())
