"""Parts of a batch side by side, each forwards and backwards on a thread of its own.

A small language model's step is many small products, which two OpenMP threads share out badly: they mostly wait for each other. Parts that
know nothing of each other lose nothing to waiting. Results do not hang on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

Part = Callable[[Tensor], tuple[Tensor, Tensor]]
"""An input → a loss (a number, differentiable), and something that is not differentiated."""


def abreast(parts: Sequence[Part], inputs: Sequence[Tensor], pool: ThreadPoolExecutor) -> tuple[Tensor, list[Tensor]]:
    """(parts,) losses, and what else each part told. Gradients reach the inputs, and whatever weights the parts use.

    Grad mode and autocast are those of the caller; nothing random may be drawn inside, since threads share torch's generator.
    """
    told: list[Tensor] = []
    losses: Tensor = _Abreast.apply(parts, pool, _Modes(), told, *inputs)  # type: ignore[no-untyped-call]
    return losses, told


class _Modes:
    """The calling thread's, for threads have their own. Casts are not cached: one thread's would be part of another one's graph."""

    def __init__(self) -> None:
        self.grad = torch.is_grad_enabled()
        self.autocast, self.dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def run(self, part: Part, given: Tensor) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(self.grad), torch.autocast("cpu", self.dtype, enabled=self.autocast, cache_enabled=False):
            return part(given)


class _Abreast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, parts: Sequence[Part], pool: ThreadPoolExecutor, modes: _Modes, told: list[Tensor], *inputs: Tensor) -> Tensor:
        leaves = [given.detach().requires_grad_(modes.grad) for given in inputs]
        results = list(pool.map(modes.run, parts, leaves))
        ctx.pool, ctx.leaves, ctx.losses = pool, leaves, [loss for loss, _ in results]
        told.extend(more for _, more in results)
        return torch.stack([loss.detach() for loss in ctx.losses])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        list(ctx.pool.map(torch.autograd.backward, ctx.losses, gradients[0].unbind()))
        return (None, None, None, None, *(leaf.grad for leaf in ctx.leaves))
