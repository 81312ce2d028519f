"""accelerate keeps device and precision for the whole process: no test goes on with another's."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def no_accelerator() -> None:
    state = sys.modules.get("accelerate.state")
    if state is not None:
        for kept in (state.AcceleratorState, state.PartialState, state.GradientState):
            kept._reset_state()
