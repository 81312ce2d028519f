"""Pictures come and go a megabyte at a time, and the C library keeps the room of the fullest moment, in ever more pieces."""

from __future__ import annotations

import ctypes
import sys
import threading

PERIOD_SECONDS = 60.0


def give_back() -> bool:
    """Return to the system what is free in the C library's heaps. False where there is no glibc to ask. Tens of milliseconds on a busy
    core, without the interpreter's lock."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:  # musl
        return False
    trim(ctypes.c_size_t(0))
    return True


def give_back_now_and_then(ended: threading.Event, period_seconds: float = PERIOD_SECONDS) -> threading.Thread:
    """A thread that does so every `period_seconds` until `ended` is set: on the executor's a window would wait for it."""

    def work() -> None:
        while not ended.wait(period_seconds) and give_back():
            pass

    thread = threading.Thread(target=work, name="memory", daemon=True)
    thread.start()
    return thread
