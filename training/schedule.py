"""How long, how fast and how carefully something is trained: what the loop asks of every schedule, and nano's own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Course(ABC):
    """What all schedules have; the curve of the learning rate is each one's own.

    batch          samples a step, over all processes
    learning_rate  the highest
    clip           largest norm of the gradients; 0: not clipped
    seed           of all that is drawn, together with the step
    """

    CURE: ClassVar[str]
    """What helps where the loss is no number any more."""

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    clip: float
    betas: tuple[float, float] = (0.9, 0.999)
    seed: int = 42

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps and batch must be at least 1, got {self.steps} and {self.batch}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"the learning rate must be in (0, 1), got {self.learning_rate}")

    @abstractmethod
    def rate(self, step: int) -> float:
        """Learning rate of a step."""


@dataclass(frozen=True)
class Schedule(Course):
    """nano's: one-cycle, a linear warm-up and a cosine to a hundredth.

    warmup  share of the steps
    ema     decay of the average of the weights, which is what is validated and kept
    """

    weight_decay: float = 0.02
    clip: float = 1.0
    warmup: float = 0.1
    ema: float = 0.998
    validate_every: int = 500
    checkpoint_every: int = 200

    CURE: ClassVar[str] = "lower learning_rate in the stage's Schedule"

    def rate(self, step: int) -> float:
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        progress = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
