"""Memory that is free goes back to the system, and the thread that sees to it ends with the node."""

from __future__ import annotations

import sys
import threading

import numpy as np
import psutil
import pytest

pytest.importorskip("rclpy")

from ros2_emollama.ros.memory import give_back, give_back_now_and_then


def resident_mb() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has glibc")
def test_free_memory_goes_back_although_other_pieces_lie_between() -> None:
    pieces = [np.ones(16_000, np.uint8) for _ in range(4000)]  # 64 MB, each too small for a mapping of its own
    kept = pieces[::40]
    del pieces
    before = resident_mb()
    assert give_back()
    assert before - resident_mb() > 40
    assert all(piece.all() for piece in kept)


def test_the_thread_ends_when_told() -> None:
    ended = threading.Event()
    thread = give_back_now_and_then(ended, period_seconds=0.01)
    assert thread.is_alive()
    ended.set()
    thread.join(5)
    assert not thread.is_alive()
