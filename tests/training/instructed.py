"""Clips that have all a plan may ask for, and the samples drawn from them."""

from __future__ import annotations

import dataclasses
import random

from training.datasets import find_set
from training.instructions import (
    DEFAULT,
    Behaviour,
    training_sample,
)
from training.records import Clip, Media, Provenance, Sample

DRAWS = 2000


REASON = "A raised voice and a frown."


def clip(name: str, labels: dict[str, tuple[str, ...]] | None = None, texts: dict[str, str] | None = None, **more: object) -> Clip:
    """A clip with every text that agents write, unless told otherwise."""
    if labels is None:
        labels = {task: space.labels[: 2 if space.several else 1] or ("happy",) for task, space in find_set(name).tasks.items()}
    if texts is None:
        columns = ("response_AudioReasoner", "response_Qwen2Audio", "response_Qwen25vl_72B")
        texts = dict.fromkeys(
            (*columns, *(f"gpt-4o-mini_{kind}" for kind in ("Emotion", "Sentiment", "Single", "Multi", "intent"))), REASON
        )
    fields: dict[str, object] = {"transcript": "Why not?", "split": "train", **more}
    return Clip(
        id="a",
        set=name,
        media=Media("/data", video="a.mp4", has_audio=True),
        provenance=Provenance("fabricated", "a.csv", 2),
        labels=labels,
        texts={key: (value,) for key, value in texts.items()},
        **fields,  # type: ignore[arg-type]
    )


def draws(made: Clip, stage: str, behaviour: Behaviour = DEFAULT, count: int = DRAWS) -> list[Sample]:
    samples = [training_sample(made, stage, random.Random(f"{seed}"), behaviour) for seed in range(count)]  # type: ignore[arg-type]
    return [sample for sample in samples if sample is not None]


def share(found: list[bool]) -> float:
    return sum(found) / len(found)


def many(names: tuple[str, ...], each: int) -> dict[str, list[Clip]]:
    return {name: [dataclasses.replace(clip(name), id=f"c{i}") for i in range(each)] for name in names}
