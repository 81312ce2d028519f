"""Runs targets on inputs without number and counts what became of them.

A target makes an input from a random generator and tries it. What comes back is ACCEPTED, HELD (part of something that is not whole yet) or
the cause of a refusal. Anything else fails: an exception (crash), no answer (silent drop), more than a second of work (hang).
Each target works in a process of its own: a native crash costs that process, and tells which input it was. Input i of a target depends on
the seed and on i alone, so it can be made again: --only TARGET --seed SEED --at I.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ACCEPTED, HELD = "accepted", "held"
HANG_SECONDS = 1.0  # of work, not of waiting: the machine may be busy with something else
STUCK_SECONDS = 30.0  # after which the process is ended
DEATHS = 3  # after so many a target is given up: each costs a process, and the first ones say enough
MEMORY_BYTES = 4 << 30  # address space, of which libraries reserve one or two GiB
FAILURES_KEPT = 5
SILENCE = "silent drop"


@dataclass(frozen=True)
class Target:
    """One parser. `share`: its part of all inputs, relative to the others'."""

    name: str
    share: float
    make: Callable[[random.Random], Any]
    attempt: Callable[[Any], str | None]


@dataclass
class Report:
    """What became of one target's inputs. `failures`: index and text of the first few."""

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    hangs: int = 0
    silent: int = 0
    slowest_ms: float = 0.0
    slowest_index: int = -1
    seconds: float = 0.0
    failures: list[tuple[int, str]] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        return sum(self.outcomes.values()) + self.crashes + self.silent

    @property
    def failed(self) -> bool:
        return bool(self.crashes or self.hangs or self.silent)

    def note(self, index: int, text: str) -> None:
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append((index, text))


@contextmanager
def workplace() -> Iterator[None]:
    """A folder for targets that read files, in memory where there is one: `folder()` inside. It outlives processes that die."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as made:
        _folders.append(Path(made))
        yield
        _folders.pop()


_folders: list[Path] = []


def folder() -> Path:
    """Of the process that asks, made anew for it."""
    own = _folders[-1] / str(os.getpid())
    own.mkdir(exist_ok=True)
    return own


def generator(seed: int, target: str, index: int) -> random.Random:
    return random.Random(f"{seed}/{target}/{index}")


def try_one(target: Target, report: Report, seed: int, index: int) -> None:
    """Make one input and count what becomes of it."""
    made = target.make(generator(seed, target.name, index))
    began = time.process_time()
    try:
        outcome = target.attempt(made)
    except Exception:  # noqa: BLE001 whatever comes out of a parser that is not its own refusal is what we look for
        report.crashes += 1
        report.note(index, traceback.format_exc(limit=-6))
    else:
        if outcome:
            report.outcomes[outcome] += 1
        else:
            report.silent += 1
            report.note(index, SILENCE)
    spent_ms = (time.process_time() - began) * 1e3
    if spent_ms > report.slowest_ms:
        report.slowest_ms, report.slowest_index = spent_ms, index
    if spent_ms > HANG_SECONDS * 1e3:
        report.hangs += 1
        report.note(index, f"hang: {spent_ms:.0f} ms")


def _work(target: Target, seed: int, first: int, last: int, deadline: float, place: Any, answers: Connection) -> None:
    """In the child: inputs [first, last) until the deadline."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders talk to stderr about every broken byte
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    report, began = Report(target.name), time.monotonic()
    for index in range(first, last):
        if time.monotonic() > deadline:
            break
        place.value = index
        try_one(target, report, seed, index)
        if report.hangs > FAILURES_KEPT:
            break
    report.seconds = time.monotonic() - began
    answers.send(report)


def run(target: Target, inputs: int, seed: int, seconds: float = 1e9, on_progress: Callable[[int], None] = lambda done: None) -> Report:
    """Try `inputs` inputs, or as many as `seconds` allow. `on_progress` is told how many are done."""
    with workplace():
        return _run(target, inputs, seed, time.monotonic() + seconds, on_progress)


def _run(target: Target, inputs: int, seed: int, deadline: float, on_progress: Callable[[int], None]) -> Report:
    context = multiprocessing.get_context("fork")
    total, first, deaths = Report(target.name), 0, 0
    while first < inputs and time.monotonic() < deadline and deaths < DEATHS:
        place = context.Value("q", first - 1, lock=False)
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(target, seed, first, inputs, deadline, place, sender), daemon=True)
        child.start()
        sender.close()
        report, end = _watch(child, receiver, place, on_progress)
        if report is not None:
            _add(total, report)
            break
        _add_death(total, child, first, place.value, end)
        first, deaths = place.value + 1, deaths + 1
    return total


def _watch(child: Any, receiver: Connection, place: Any, on_progress: Callable[[int], None]) -> tuple[Report | None, str]:
    """The child's report; None where it died or got stuck, and how."""
    moved, at = time.monotonic(), place.value
    while not receiver.poll(0.2):
        on_progress(place.value)
        if place.value != at:
            moved, at = time.monotonic(), place.value
        elif time.monotonic() - moved > STUCK_SECONDS:
            child.kill()
            child.join()
            return None, "hang"
    try:
        report: Report = receiver.recv()
    except EOFError:  # it died without a word
        child.join()
        return None, "crash"
    child.join()
    on_progress(place.value + 1)
    return report, ""


def _add(total: Report, part: Report) -> None:
    total.outcomes += part.outcomes
    total.crashes, total.hangs, total.silent = total.crashes + part.crashes, total.hangs + part.hangs, total.silent + part.silent
    total.seconds += part.seconds
    if part.slowest_ms > total.slowest_ms:
        total.slowest_ms, total.slowest_index = part.slowest_ms, part.slowest_index
    for index, text in part.failures:
        total.note(index, text)


def _add_death(total: Report, child: Any, first: int, at: int, end: str) -> None:
    """A process that ended took the counts of its inputs with it: they were tried, what became of them is not known."""
    total.outcomes["tried, count lost with the process"] += max(0, at - first)
    total.crashes += 1
    total.hangs += end == "hang"
    total.note(at, f"{end}: the process ended with status {child.exitcode}" if end == "crash" else f"hang: stuck for {STUCK_SECONDS:.0f} s")
