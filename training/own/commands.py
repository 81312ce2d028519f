"""What `fit --preset nano --csv FILE` makes of its options. Modules are imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..curriculum.options import refuse_published

SERVED = ("start", "csv", "strict", "steps", "batch", "learning_rate", "clip", "seed")
"""Of the options that the published presets have."""


def run_own(arguments: argparse.Namespace) -> int:
    """ValueError naming an option that has no place here."""
    import dataclasses

    from .run import OwnSchedule, Plan, teach

    _refuse_others(arguments)
    names = ("steps", "batch", "learning_rate", "clip", "seed")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    course = dataclasses.replace(OwnSchedule(), **given)
    start, run = arguments.start or arguments.preset, Path(arguments.run or f"runs/{arguments.preset}-own")
    for line in teach(Plan(Path(arguments.csv), start, run, course, strict=arguments.strict, threads=arguments.threads)):
        print(line)
    return 0


def _refuse_others(arguments: argparse.Namespace) -> None:
    if arguments.stage not in (["all"], ["own"]):
        raise ValueError(f"a CSV of your own is one stage; leave out --stage {' '.join(arguments.stage)}")
    refuse_published(arguments, SERVED)
