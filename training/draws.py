"""Which rows a batch takes, and which of them are mixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def balanced(keys: npt.NDArray[np.int64], rng: np.random.Generator, batch: int, power: float = 0.5) -> npt.NDArray[np.int64]:
    """(batch,) places, drawn so that rare keys come more often: a row weighs its key's count ** -power (1: all keys equally often)."""
    _, compact = np.unique(keys, return_inverse=True)
    weight = (np.bincount(compact).astype(np.float64) ** -power)[compact]
    return rng.choice(keys.size, batch, p=weight / weight.sum())


@dataclass(frozen=True)
class Mixup:
    """Each row with another of its batch, all in one proportion (arXiv 1710.09412)."""

    share: float
    order: Tensor

    @staticmethod
    def draw(rng: np.random.Generator, batch: int, alpha: float) -> Mixup:
        return Mixup(float(rng.beta(alpha, alpha)), torch.from_numpy(rng.permutation(batch)))

    def __call__(self, rows: Tensor) -> Tensor:
        return self.share * rows + (1 - self.share) * rows[self.order]
