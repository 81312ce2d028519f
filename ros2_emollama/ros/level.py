"""A level meter: how loud the sound since the last look was, in dB below full scale, and whether it said anything at all. Pure."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int16 = npt.NDArray[np.int16]
FULL_SCALE = 32768.0


@dataclass(frozen=True)
class Level:
    """rms_dbfs and peak_dbfs are -inf for silence, NaN where nothing came. `still`: sound came, and no channel's value ever changed."""

    rms_dbfs: float = math.nan
    peak_dbfs: float = math.nan
    still: bool = False


class LevelMeter:
    """`add` and `take` may be called from different threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._squares = 0.0
        self._count = 0
        self._lowest: Int16 | None = None
        self._highest: Int16 | None = None

    def add(self, samples: Int16) -> None:
        """(S, channels) int16."""
        lowest, highest = samples.min(axis=0), samples.max(axis=0)
        squares = float(np.square(samples, dtype=np.float64).sum())
        with self._lock:
            self._squares += squares
            self._count += samples.size
            self._lowest = lowest if self._lowest is None else np.minimum(self._lowest, lowest)
            self._highest = highest if self._highest is None else np.maximum(self._highest, highest)

    def take(self) -> Level:
        """The level since the last `take`."""
        with self._lock:
            lowest, highest, squares, count = self._lowest, self._highest, self._squares, self._count
            self._reset()
        if lowest is None or highest is None:
            return Level()
        peak = max(-int(lowest.min()), int(highest.max()), 0)
        return Level(_dbfs(math.sqrt(squares / count)), _dbfs(peak), bool((lowest == highest).all()))


def _dbfs(value: float) -> float:
    return 20.0 * math.log10(value / FULL_SCALE) if value > 0.0 else -math.inf
