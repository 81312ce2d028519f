"""One plain, resumable training loop for every stage.

A stage gives a module, a function from a step's own random generator to a loss, and what to measure. Randomness depends on (seed, step)
only and the checkpoint holds everything else, so a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from .schedule import Schedule
from .whole import whole

BAR_POSITION = "EMOLLAMA_BAR_POSITION"
"""Environment variable: the line of this process's progress bar, where several trainings share a terminal."""


class Average:
    """Exponential moving average of a module's state; what is validated and kept."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[name].lerp_(value.detach(), 1 - decay)
            else:
                self.state[name].copy_(value)


def fit(
    name: str,
    module: nn.Module,
    schedule: Schedule,
    loss_of: Callable[[np.random.Generator, int], Tensor],
    validate: Callable[[nn.Module], dict[str, float]],
    run: Path,
) -> dict[str, float]:
    """Train `module` in place to its moving average; returns the last validation's figures.

    Writes RUN/<name>.state.pt while it runs (removed at the end by nobody: a finished run is recognised by it) and RUN/<name>.log.jsonl.
    """
    run.mkdir(parents=True, exist_ok=True)
    state_path, log_path = run / f"{name}.state.pt", run / f"{name}.log.jsonl"
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)
    average = Average(module, schedule.ema)
    start, figures = 0, {}
    if state_path.is_file():
        saved = torch.load(state_path, weights_only=True)
        module.load_state_dict(saved["module"])
        average.state = saved["average"]
        optimizer.load_state_dict(saved["optimizer"])
        start, figures = saved["step"], saved["figures"]
    place = int(os.environ.get(BAR_POSITION, "0"))
    bar = tqdm(range(start, schedule.steps), initial=start, total=schedule.steps, desc=name, mininterval=2.0, position=place)
    smooth, began = 0.0, time.monotonic()
    for step in bar:
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        module.train()
        loss = loss_of(np.random.default_rng((schedule.seed, step)), schedule.batch)
        loss.backward()
        value = float(loss.detach())
        torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(module, step)
        smooth = value if step == start else 0.98 * smooth + 0.02 * value
        bar.set_postfix(loss=f"{smooth:.3f}", refresh=False)
        done = step + 1
        if done % schedule.validate_every == 0 or done == schedule.steps:
            figures = _validated(module, average, validate)
            line = {"step": done, "loss": round(smooth, 4), "seconds": round(time.monotonic() - began, 1), **figures}
            with log_path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            tqdm.write(f"{name} {line}")
        if done % schedule.checkpoint_every == 0 or done == schedule.steps:
            _save(state_path, module, average, optimizer, done, figures)
    module.load_state_dict(average.state)
    module.eval()
    return figures


def _validated(module: nn.Module, average: Average, validate: Callable[[nn.Module], dict[str, float]]) -> dict[str, float]:
    """Figures of the averaged weights; the module's own are put back."""
    own = {key: value.detach().clone() for key, value in module.state_dict().items()}
    module.load_state_dict(average.state)
    module.eval()
    with torch.inference_mode():
        figures = {key: round(float(value), 4) for key, value in validate(module).items()}
    module.load_state_dict(own)
    return figures


def _save(path: Path, module: nn.Module, average: Average, optimizer: torch.optim.Optimizer, step: int, figures: dict[str, float]) -> None:
    content = {
        "module": module.state_dict(),
        "average": average.state,
        "optimizer": optimizer.state_dict(),
        "step": step,
        "figures": figures,
    }
    with whole(path) as partial:
        torch.save(content, partial)


def recall_figures(predicted: Tensor, truth: Tensor, classes: int) -> dict[str, float]:
    """Accuracy and unweighted average recall over the classes that occur."""
    recalls = [float((predicted[truth == c] == c).float().mean()) for c in range(classes) if bool((truth == c).any())]
    return {"accuracy": float((predicted == truth).float().mean()), "uar": float(np.mean(recalls))}
