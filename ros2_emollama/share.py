"""Where the package's own files lie: in the checkout, or in share/emollama of an installed prefix."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def share_file(relative: str) -> Path:
    """Path of e.g. "config/fastdds.xml". FileNotFoundError with the places searched."""
    checkout = Path(__file__).resolve().parents[1]
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    places = [checkout / relative, *(Path(prefix) / "share" / "emollama" / relative for prefix in prefixes)]
    for place in places:
        if place.is_file():
            return place
    searched = ", ".join(map(str, places))
    raise FileNotFoundError(f"{relative} is in none of {searched}; install the package again (make setup, or colcon build)")
