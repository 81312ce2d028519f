"""Random numbers for a whole batch, as tensors, out of a step's one NumPy generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Dice:
    """Random numbers for a batch, all from one NumPy generator."""

    def __init__(self, rng: np.random.Generator, count: int) -> None:
        self.count = count
        self._torch = torch.Generator().manual_seed(int(rng.integers(2**62)))

    def draw(self, low: float, high: float) -> Tensor:
        """(B,) uniform in [low, high)."""
        return torch.rand(self.count, generator=self._torch) * (high - low) + low

    def whole(self, end: int) -> Tensor:
        """(B,) whole numbers in [0, end)."""
        return torch.randint(end, (self.count,), generator=self._torch)

    def flutter(self, columns: int, mels: int) -> Tensor:
        """(B, columns, mels) with mean 1, as a band's short-time power of noise varies."""
        return 0.5 - 0.5 * torch.rand(self.count, columns, mels, generator=self._torch).clamp(min=1e-6).log()
