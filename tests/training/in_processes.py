"""Training on several processes of this machine: fresh interpreters, for a fork after OpenMP's threads were used waits for ever."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.curriculum.plan import Plan
from training.curriculum.teach import School, run_stage, without_dropout
from training.loop import make_optimizer
from training.state import load_state, save_state

from .curriculum_room import alone


def in_processes(world: int, work: Callable[..., None], *given: Any) -> None:
    """`work(*given)` in each, which find each other as under `accelerate launch`. Both must be known by name, to be found again there."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_process, args=(rank, world, port, work, given)) for rank in range(world)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * world, "None: still running, after 240 s"


def _process(rank: int, world: int, port: int, work: Callable[..., None], given: tuple[Any, ...]) -> None:
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()}, ACCELERATE_USE_CPU="true")
    torch.set_num_threads(1)
    work(*given)


def stage_without_dropout(plan: Plan) -> None:
    """A stage whose draws do not hang on the process."""
    student = School.student
    School.student = lambda self: without_dropout(student(self))  # type: ignore[method-assign]
    try:
        run_stage(plan, alone())
    finally:
        School.student = student  # type: ignore[method-assign]


def state_through_shards(plan: Plan, path: Path) -> None:
    """Take the state at `path` into a student in shards, as FSDP shards it, and keep it in the plan's folder."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    school = School(plan, alone())
    student = school.student()
    mesh = init_device_mesh("cpu", (2,))
    for layer in student.llama.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(student, mesh=mesh)
    optimizer = make_optimizer(student, plan.recipe)
    load_state(path, student, optimizer)
    save_state(plan.folder, 6, student, optimizer, school.accelerator.is_main_process, {})
