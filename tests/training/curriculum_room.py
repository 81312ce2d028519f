"""What tests of the published presets' training read: a random start, two made-up sets, features; and one process alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from safetensors.torch import load_file

from ros2_emollama.model.folder import ModelFolder
from training.curriculum.plan import Plan
from training.curriculum.recipes import Lora, Recipe
from training.curriculum.start import TINY_V2, write_start
from training.datasets.index import Options, build, load
from training.fabricate import fabricate
from training.features import compute
from training.features_encoders import open_runtime_encoder
from training.state import newest

SMALL = Recipe(steps=6, batch=4, learning_rate=5e-3, warmup_steps=2, clip=1.0, lora=Lora(rank=4, alpha=8))
SETS = ("meld", "ch_sims_v2_s")


@dataclasses.dataclass(frozen=True)
class Room:
    """What a run reads: a start, an index, features."""

    start: ModelFolder
    index: Path
    features: Path

    def plan(self, run: Path, recipe: Recipe = SMALL, **more: object) -> Plan:
        given = {"stage": "1", "workers": 1, "save_every": 2, "log_every": 1, "features": str(self.features), "head": 8, **more}
        return Plan(run=run, start=self.start.root, recipe=recipe, index=self.index, **given)  # type: ignore[arg-type]


def make_room(root: Path) -> Room:
    torch.set_num_threads(1)
    start = write_start(TINY_V2, root / "start")
    for name in SETS:
        build(name, fabricate(name, root, "mmeverse"), root / "index", Options(look="exists"))
    clips = [clip for found in load(root / "index").values() for clip in found]
    encoder, fingerprint = open_runtime_encoder(str(start.root), "torch", sampling="uniform")
    compute(clips, lambda: encoder, fingerprint, root / "features", dtype="float32")
    return Room(start, root / "index", root / "features")


def alone(precision: str = "no") -> Accelerator:
    """One process, on the CPU, whatever was before it."""
    for state in (AcceleratorState, PartialState):
        state._reset_state()
    GradientState._reset_state()
    return Accelerator(cpu=True, mixed_precision=precision)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """The last state of a run's first stage."""
    state = newest(run / "stage1")
    assert state is not None
    return load_file(state / "trained.safetensors")
