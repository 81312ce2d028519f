"""nano's stages by the one loop: gone on with exactly, and the same as plain steps. Published presets by it: test_curriculum.py."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from training import loop  # noqa: E402
from training.loop import Diverged, make_optimizer, read_log  # noqa: E402
from training.schedule import Schedule  # noqa: E402
from training.stage import fit  # noqa: E402
from training.state import load_state, newest, save_state  # noqa: E402

SCHEDULE = Schedule(steps=20, batch=8, learning_rate=0.01, weight_decay=0.1, validate_every=10, checkpoint_every=5)


class Stopped(Exception):
    """Stands for a kill in the middle of a run."""


class Reader(torch.nn.Module):
    """What nano's stages are made of: dropout, running means, channels last."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        look = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        self.layers = torch.nn.Sequential(look, torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(16, 1))

    def loss(self, rng: np.random.Generator, batch: int) -> torch.Tensor:
        x = torch.from_numpy(rng.standard_normal((batch, 3, 4, 4)).astype(np.float32)).contiguous(memory_format=torch.channels_last)
        return (self.layers(x).squeeze(1) - x.mean((1, 2, 3))).square().mean()


def fit_reader(run: Path, stop_at: int | None = None, loss: Callable[[torch.Tensor], torch.Tensor] = lambda loss: loss) -> Reader:
    model, steps = Reader(), iter(range(1000))

    def loss_of(rng: np.random.Generator, _: int) -> torch.Tensor:
        if next(steps) == stop_at:
            raise Stopped
        return loss(model.loss(rng, SCHEDULE.batch))

    fit("reader", model, SCHEDULE, loss_of, lambda module: {"weight": float(module.layers[0].weight.sum())}, run)
    return model


def assert_same(first: torch.nn.Module, second: torch.nn.Module) -> None:
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=0)


def test_a_stage_that_was_killed_ends_with_the_same_weights_and_log(tmp_path: Path) -> None:
    whole = fit_reader(tmp_path / "whole")
    with pytest.raises(Stopped):
        fit_reader(tmp_path / "killed", stop_at=13)
    assert [line["step"] for line in read_log(tmp_path / "killed" / "reader")] == [10]
    assert_same(whole, fit_reader(tmp_path / "killed"))
    logs = [[{**line, "seconds": 0} for line in read_log(tmp_path / name / "reader")] for name in ("whole", "killed")]
    assert logs[0] == logs[1] and [line["step"] for line in logs[0]] == [10, 20]
    assert logs[0][-1].keys() == {"step", "loss", "seconds", "weight"}


def test_lines_of_steps_that_are_made_again_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the validation of step 10, before its state."""

    def stopped(folder: Path, step: int, *given: object) -> None:
        if step == 10:
            raise Stopped
        save_state(folder, step, *given)

    monkeypatch.setattr(loop, "save_state", stopped)
    with pytest.raises(Stopped):
        fit_reader(tmp_path)
    monkeypatch.undo()
    fit_reader(tmp_path)
    assert [line["step"] for line in read_log(tmp_path / "reader")] == [10, 20]


def test_a_finished_stage_is_only_loaded(tmp_path: Path) -> None:
    assert_same(fit_reader(tmp_path), fit_reader(tmp_path, stop_at=0))


def stepped() -> Reader:
    """The same stage without loop or accelerate."""
    model = Reader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=SCHEDULE.learning_rate, weight_decay=SCHEDULE.weight_decay, fused=True)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(SCHEDULE.steps):
        torch.manual_seed(42 * 1_000_003 + step)
        optimizer.param_groups[0]["lr"] = SCHEDULE.rate(step)
        model.loss(np.random.default_rng((42, step)), SCHEDULE.batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), SCHEDULE.clip)
        optimizer.step()
        optimizer.zero_grad()
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                average[name].lerp_(value, 1 - min(SCHEDULE.ema, (1 + step) / (10 + step)))
            else:
                average[name].copy_(value)
    model.load_state_dict(average)
    return model


def test_the_loop_makes_the_steps_that_one_would_write_down(tmp_path: Path) -> None:
    found = fit_reader(tmp_path)
    assert_same(stepped(), found)
    assert not found.training


def test_a_loss_that_is_no_number_ends_a_stage_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"the loss is nan at step 1; lower learning_rate in the stage's Schedule, and the same command"):
        fit_reader(tmp_path, loss=lambda loss: loss * math.nan)


def test_a_state_of_another_module_is_refused(tmp_path: Path) -> None:
    fit_reader(tmp_path)
    state, other = newest(tmp_path / "reader"), torch.nn.Linear(2, 2)
    assert state is not None
    with pytest.raises(ValueError, match=r"is of another model: .*; delete it to begin anew"):
        load_state(state, other, make_optimizer(other, SCHEDULE))


def test_a_stage_is_for_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="trained by one process, got 2; start it without accelerate launch"):
        fit_reader(tmp_path)


def test_a_stage_without_accelerate_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"training needs accelerate.*pip install 'ros2-emollama\[train\]'"):
        fit_reader(tmp_path)


def test_tensorboard_has_a_stages_log_too(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit_reader(tmp_path)
    events = EventAccumulator(str(tmp_path / "reader" / "tensorboard")).Reload()
    told = [(event.step, pytest.approx(event.value)) for event in events.Scalars("weight")]
    assert told == [(line["step"], line["weight"]) for line in read_log(tmp_path / "reader")]
