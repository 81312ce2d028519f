"""What each part is worth: the paper's two ablations and streams alone, on the frozen tokens of a finished run, all for equally many steps.

    fusion      what stands between the streams (FUSIONS), perception stage
    streams     perception on windows with both streams and with either; on windows with one alone
    curriculum  describe then cognition, against both at once

In:  RUN with the encoders' weights. Out: RUN/ablation_* with log and state (each goes on after a stop), RUN/ablations.json, and a table.
Every row has the same seed and the same windows; what differs is said in its name. Figures are on val people.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache

import torch

from ros2_emollama.model.fusion import FUSIONS
from ros2_emollama.model.presets import Preset

from .ablation_rows import kept_rows
from .fit import assemble
from .language import (
    COGNITION_SCHEDULE,
    COGNITION_TASKS,
    DESCRIBE_SCHEDULE,
    DESCRIBE_TASKS,
    make_llama,
    make_tokenizer,
    train_stage,
)
from .paths import Paths
from .perception import PERCEPTION_SCHEDULE, train_perception, window_makers
from .schedule import Schedule
from .windows_of import KINDS, WindowMaker

STREAMS = {
    "both": KINDS,
    "face alone": {"face": 0.85, "nobody": 0.15},
    "voice alone": {"voice": 0.85, "nobody": 0.15},
}
DESCRIBE_SHARE = 1 / 3  # of the steps of a curriculum
Row = dict[str, float]
Makers = Callable[[], tuple[WindowMaker, WindowMaker]]


def ablate(groups: Sequence[str], preset: Preset, paths: Paths, steps: int) -> dict[str, dict[str, Row]]:
    """Run the groups that are asked for; group → row → figures. What stands in RUN/ablations.json for as many steps is not made again."""
    path = paths.run / "ablations.json"
    makers = cache(lambda: window_makers(assemble(preset, paths, fused=False), paths))  # every row's: the encoders are the same
    return {group: kept_rows(path, steps, group, GROUPS[group](preset, paths, makers, steps)) for group in groups}


def _perception(preset: Preset, paths: Paths, makers: Makers, steps: int, name: str, kinds: dict[str, float]) -> Row:
    network = assemble(preset, paths, fused=False)
    schedule = dataclasses.replace(PERCEPTION_SCHEDULE, steps=steps, validate_every=steps)
    figures = train_perception(network, makers(), paths.run, schedule, f"ablation_{name}_{steps}", kinds)
    return {"parameters": float(sum(p.numel() for p in network.conv_pro_module.parameters())), **figures}


def _fusions(preset: Preset, paths: Paths, makers: Makers, steps: int) -> dict[str, Callable[[], Row]]:
    def row(kind: str) -> Callable[[], Row]:
        changed = dataclasses.replace(preset, fusion=dataclasses.replace(preset.fusion, method=kind))
        return lambda: _perception(changed, paths, makers, steps, kind, KINDS)

    return {kind: row(kind) for kind in FUSIONS}


def _streams(preset: Preset, paths: Paths, makers: Makers, steps: int) -> dict[str, Callable[[], Row]]:
    def row(name: str) -> Callable[[], Row]:
        return lambda: _perception(preset, paths, makers, steps, name.replace(" ", "_"), STREAMS[name])

    return {name: row(name) for name in STREAMS}


def _curricula(preset: Preset, paths: Paths, makers: Makers, steps: int) -> dict[str, Callable[[], Row]]:
    first = round(DESCRIBE_SHARE * steps)
    share = first / steps
    names = {*DESCRIBE_TASKS, *COGNITION_TASKS}
    mixed = {name: share * DESCRIBE_TASKS.get(name, 0) + (1 - share) * COGNITION_TASKS.get(name, 0) for name in sorted(names)}

    def language(stages: Sequence[tuple[str, dict[str, float], Schedule]]) -> Row:
        network = assemble(preset, paths, fused=True)
        torch.manual_seed(0)
        llama, tokenizer = make_llama(preset.llama), make_tokenizer(preset.llama, paths)
        figures: Row = {}
        for name, tasks, schedule in stages:
            whole = dataclasses.replace(schedule, validate_every=schedule.steps)
            figures = train_stage(f"ablation_{name}_{steps}", network, llama, tokenizer, makers(), tasks, whole, paths)
        return figures

    describe = dataclasses.replace(DESCRIBE_SCHEDULE, steps=first)
    cognition = dataclasses.replace(COGNITION_SCHEDULE, steps=steps - first)
    joint = dataclasses.replace(COGNITION_SCHEDULE, steps=steps)
    return {
        "describe, then cognition": lambda: language(
            [("curriculum_first", DESCRIBE_TASKS, describe), ("curriculum_second", COGNITION_TASKS, cognition)]
        ),
        "both at once": lambda: language([("joint", mixed, joint)]),
        "cognition alone": lambda: language([("cognition_alone", COGNITION_TASKS, joint)]),
    }


GROUPS: dict[str, Callable[[Preset, Paths, Makers, int], dict[str, Callable[[], Row]]]] = {
    "fusion": _fusions,
    "streams": _streams,
    "curriculum": _curricula,
}


def table(found: dict[str, dict[str, Row]]) -> str:
    """A Markdown table a group."""
    parts = []
    for group, rows in found.items():
        shown = [key for key in next(iter(rows.values())) if not key.startswith(("temperature", "nll"))]
        lines = [f"| {group} | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
        lines += [
            f"| {name} | " + " | ".join(f"{row[key]:,.0f}" if key == "parameters" else f"{row[key]:.3f}" for key in shown) + " |"
            for name, row in rows.items()
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
