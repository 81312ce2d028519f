"""A stage of nano, for the loop: a module, a loss of a step's own random generator, figures of the averaged weights.

The losses close over their module, which is on the CPU: one process trains a stage, and other stages beside it (fit.py).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from .average import Average
from .loop import Loop, Pace, make_optimizer, open_accelerator
from .schedule import Schedule

LossOf = Callable[[np.random.Generator, int], Tensor]
"""A step's own generator, and which step it is → the loss of a batch."""


class Drawn:
    """See `training.loop.Task`; a part is the step's generator and the step."""

    def __init__(self, loss_of: LossOf, seed: int) -> None:
        self._loss_of, self._seed = loss_of, seed

    def parts(self, step: int) -> Iterator[tuple[np.random.Generator, int]]:
        for place in itertools.count(step):
            yield np.random.default_rng((self._seed, place)), place

    def losses(self, model: nn.Module, part: tuple[np.random.Generator, int]) -> tuple[Tensor, Tensor]:
        loss = self._loss_of(*part)
        return loss, loss.detach().reshape(1)

    def figures(self, sums: Sequence[float]) -> dict[str, float]:
        return {"loss": sums[0]}


def fit(
    name: str,
    module: nn.Module,
    schedule: Schedule,
    loss_of: LossOf,
    validate: Callable[[nn.Module], dict[str, float]],
    run: Path,
) -> dict[str, float]:
    """Train `module` in place to its moving average; returns the last validation's figures.

    RUN/<name> has the log and the newest state, which stays: a finished stage is recognised by it. ValueError where several processes
    were started.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise ValueError(f"a stage of nano is trained by one process, got {processes}; start it without accelerate launch or torchrun")
    average = Average(module, schedule.ema, schedule.validate_every, validate)
    optimizer = make_optimizer(module, schedule, all_decay=True, fused=True)
    pace = Pace(run / name, save_every=schedule.checkpoint_every, log_every=0)
    return Loop(module, optimizer, schedule, Drawn(loss_of, schedule.seed), open_accelerator("no", cpu=True), pace, average).run().last


def recall_figures(predicted: Tensor, truth: Tensor, classes: int) -> dict[str, float]:
    """Accuracy and unweighted average recall over the classes that occur."""
    recalls = [float((predicted[truth == c] == c).float().mean()) for c in range(classes) if bool((truth == c).any())]
    return {"accuracy": float((predicted == truth).float().mean()), "uar": float(np.mean(recalls))}
