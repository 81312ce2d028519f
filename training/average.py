"""The exponential moving average of what is trained: it is validated, and kept in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


class Average:
    """Of a module's whole state, buffers included.

    every    steps between two validations
    measure  the module with averaged weights, in inference mode → figures
    """

    def __init__(self, module: nn.Module, decay: float, every: int, measure: Callable[[nn.Module], dict[str, float]]) -> None:
        self.every = every
        self._module, self._decay, self._measure = module, decay, measure
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, step: int) -> None:
        """After a step; early ones weigh more, or the start's random weights would stay for long."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for name, value in self._module.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value.detach(), 1 - decay)
            else:
                self.state[name].copy_(value)

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from a `state` that was kept."""
        for name, value in self.state.items():
            value.copy_(saved[name])

    def figures(self) -> dict[str, float]:
        """Figures of the averaged weights; the module's own are put back."""
        own = {name: value.detach().clone() for name, value in self._module.state_dict().items()}
        self._module.load_state_dict(self.state)
        self._module.eval()
        with torch.inference_mode():
            figures = {name: round(float(value), 4) for name, value in self._measure(self._module).items()}
        self._module.load_state_dict(own)
        return figures

    def settle(self) -> None:
        """The module takes the averaged weights for good."""
        self._module.load_state_dict(self.state)
        self._module.eval()
