"""A stage's state on disk: what is trained, the optimizer, the step, and which run it belongs to. Plain, DDP and FSDP alike.

    STAGE/run.json                       what the run is; another one does not go on from it (published presets)
    STAGE/state-00001000/trained.safetensors, optimizer.pt     written whole, then named; the newest counts
Randomness hangs on seed and step alone, so there is none to keep.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from .whole import write_whole

WHOLE = {"full_state_dict": True, "cpu_offload": True}
FREE = ("micro_batch", "workers", "save_every", "log_every", "processes", "checkpointing")
"""What may differ when a run goes on: it changes nothing but speed and memory."""


def claim(folder: Path, mine: Mapping[str, Any]) -> None:
    """Say whose folder it is. ValueError naming what differs where it is another run's."""
    path = folder / "run.json"
    mine = json.loads(json.dumps(mine))
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        differ = [key for key in sorted({*mine, *found} - set(FREE)) if mine.get(key) != found.get(key)]
        if differ and any(folder.glob("state-*")):
            told = "; ".join(f"{key} {found.get(key)!r:.60}, now {mine.get(key)!r:.60}" for key in differ)
            raise ValueError(f"{folder} was begun otherwise: {told}; give another --run, or delete the folder to begin anew")
    write_whole(path, json.dumps(mine, indent=1) + "\n")


def newest(folder: Path) -> Path | None:
    """The newest whole state of a stage."""
    found = sorted(path for path in folder.glob("state-*") if path.suffix != ".part" and (path / "optimizer.pt").is_file())
    return found[-1] if found else None


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Whole tensors on the CPU of all that is trained, and of buffers beside it. Every process calls it; the first gets them."""
    options = StateDictOptions(**WHOLE, ignore_frozen_params=True)
    state: dict[str, Tensor] = get_model_state_dict(model, options=options)
    return {name: value.detach().contiguous() for name, value in state.items()}


def save_state(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, first: bool, extra: Mapping[str, Any]) -> None:
    """Every process calls it; `first` writes. Older states go once the new one is whole."""
    tensors = trained_tensors(model)
    told = get_optimizer_state_dict(model, optimizer, options=StateDictOptions(**WHOLE))
    if not first:
        return
    path = folder / f"state-{step:08d}"
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(tensors, part / "trained.safetensors", {"format": "pt"})
    torch.save({"step": step, "optimizer": told, **extra}, part / "optimizer.pt")
    shutil.rmtree(path, ignore_errors=True)
    part.rename(path)
    for old in sorted(folder.glob("state-*")):
        if old != path:
            shutil.rmtree(old, ignore_errors=True)


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put a state back in place; returns what it says beside. Every process calls it."""
    tensors = load_file(path / "trained.safetensors")
    saved: dict[str, Any] = torch.load(path / "optimizer.pt", weights_only=True, map_location="cpu")
    options = StateDictOptions(full_state_dict=True, strict=False)
    found = set_model_state_dict(model, tensors, options=options)
    if found.unexpected_keys:
        raise ValueError(f"{path} is of another model: {', '.join(found.unexpected_keys[:5])}; delete it to begin anew")
    set_optimizer_state_dict(model, optimizer, saved.pop("optimizer"), options=StateDictOptions(full_state_dict=True))
    return saved
