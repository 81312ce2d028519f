"""What all tests share: where real data lies, and no ROS traffic beyond this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips, from DATA; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("DATA", REPOSITORY / "../shared/data")).resolve()
    if not (folder / "clips").is_dir():
        pytest.skip(f"no clips in {folder}; set DATA to a folder that has them")
    return folder


@pytest.fixture(scope="session")
def nano() -> Path:
    """The shipped model."""
    folder = REPOSITORY / "models" / "nano"
    if not (folder / "manifest.json").is_file():
        pytest.skip("models/nano is not in this checkout; train and export it: make train-nano")
    return folder
