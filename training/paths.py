"""Where a run reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """data: the tars (read only); cache: decoded arrays; run: weights, logs and states of one training run."""

    data: Path
    cache: Path
    run: Path
