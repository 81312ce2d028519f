"""The published schedules as data, and those of the tiny presets.

Sources: Emotion-LLaMAv2's two training configurations (ooochen-30/Emotion-LLaMA-v2 at 5f0a408: 4 GPUs, one sample each an iteration, 10
epochs of 5000 iterations in either stage, AdamW, learning rate 1e-6 → 1e-4 in 1000 iterations, then a cosine to 1e-6) and Emotion-LLaMA's
(ZebangCheng/Emotion-LLaMA at 4ee28d2: 30 epochs of 1000, 1e-5, the second stage flat at 1e-6). Neither clips gradients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ..schedule import Course

StageName = Literal["1", "2", "joint", "own"]
STAGES: Mapping[StageName, tuple[str, ...]] = {"1": ("stage1",), "2": ("stage2",), "joint": ("stage1", "stage2"), "own": ()}
"""Stage → whose samples it is trained on: perception, cognition, both at once (the paper's ablation), or a CSV of one's own."""


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters of the language model; the published ones."""

    rank: int = 64
    alpha: float = 16.0
    dropout: float = 0.05
    targets: tuple[str, ...] = ("q_proj", "v_proj")


@dataclass(frozen=True)
class Recipe(Course):
    """One stage.

    warmup_rate   where the learning rate begins
    least_rate    where it ends
    """

    steps: int = 50_000
    batch: int = 4
    learning_rate: float = 1e-4
    least_rate: float = 1e-6
    warmup_rate: float = 1e-6
    warmup_steps: int = 1000
    weight_decay: float = 0.05
    clip: float = 0.0
    lora: Lora = field(default_factory=Lora)

    CURE: ClassVar[str] = "lower --learning-rate, clip gradients (--clip 1), or take --precision bf16 instead of fp16"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {self.warmup_steps}")
        if not 0 <= self.least_rate <= self.learning_rate:
            raise ValueError(f"the learning rate must not be below its least, got {self.learning_rate}, {self.least_rate}")

    def rate(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, then the cosine over all steps, as the published code has it."""
        if step < self.warmup_steps:
            return self.warmup_rate + (self.learning_rate - self.warmup_rate) * step / self.warmup_steps
        return self.least_rate + (self.learning_rate - self.least_rate) * 0.5 * (1 + math.cos(math.pi * step / self.steps))


V2 = Recipe()
V1 = Recipe(steps=30_000, learning_rate=1e-5)
V1_SECOND = Recipe(steps=30_000, learning_rate=1e-6, warmup_steps=0)
OWN = Recipe(steps=2000, warmup_steps=100)
TINY = Recipe(
    steps=600,
    batch=8,
    learning_rate=1e-2,
    least_rate=1e-4,
    warmup_rate=1e-3,
    warmup_steps=20,
    weight_decay=0.0,
    clip=1.0,
    lora=Lora(alpha=64.0),  # random weights below have further to go
)

RECIPES: Mapping[str, Mapping[StageName, Recipe]] = {
    "emotion_llama_v2": {"1": V2, "2": V2, "joint": V2, "own": OWN},
    "emotion_llama": {"1": V1, "2": V1_SECOND, "joint": V1, "own": OWN},
    "emotion_llama_v2_tiny": {"1": TINY, "2": TINY, "joint": TINY, "own": TINY},
    "emotion_llama_tiny": {"1": TINY, "2": TINY, "joint": TINY, "own": TINY},
}
"""Preset → stage → recipe."""
