"""A short run of every fuzz target, and proof that the engine sees what it looks for. The long run: make fuzz."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.fuzz import engine
from tests.fuzz.__main__ import all_targets, main
from tests.fuzz.engine import ACCEPTED, Target, generator, run
from tests.fuzz.guided import Fed
from tests.fuzz.mutation import spoiled, spoiled_tree

INPUTS = 25_000
SEED = 20


@pytest.fixture(scope="module")
def said() -> str:
    """What the program says of a short run. In a process of its own: it forks, and here threads of other tests may hold locks."""
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", str(INPUTS), "--seed", str(SEED)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [target.name for target in all_targets()])
def test_no_hostile_input_crashes_hangs_or_vanishes(said: str, name: str) -> None:
    [row] = [line for line in said.splitlines() if line.startswith(f"{name} ")]
    figures = row.removeprefix(name).split()
    assert figures[1:4] == ["0", "0", "0"], said
    assert int(figures[0].replace(",", "")) >= 100 and row.count(",") >= 1  # some are good, some are not


def planted(attempt: Any) -> engine.Report:
    return run(Target("planted", 1, lambda rng: rng.randrange(100), attempt), 50, 0)


def test_an_exception_is_a_crash_and_its_input_is_named() -> None:
    report = planted(lambda number: ACCEPTED if number != 6 else 1 / 0)
    index = next(i for i in range(50) if generator(0, "planted", i).randrange(100) == 6)
    assert report.crashes == 1 and report.failures[0][0] == index and "ZeroDivisionError" in report.failures[0][1]
    assert report.failed and report.inputs == 50


def test_no_answer_is_a_silent_drop() -> None:
    report = planted(lambda number: None if number > 90 else ACCEPTED)
    assert report.silent > 0 and report.failed and report.inputs == 50


def test_work_without_end_is_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "HANG_SECONDS", 0.05)

    def work(number: int) -> str:
        until = time.process_time() + (0.1 if number == 6 else 0.0)
        while time.process_time() < until:
            pass
        return ACCEPTED

    report = planted(work)
    assert report.hangs == 1 and report.slowest_ms > 50 and report.failed


def test_a_process_that_is_stuck_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "STUCK_SECONDS", 0.5)
    report = planted(lambda number: time.sleep(60) if number == 6 else ACCEPTED)
    assert report.hangs == 1 and report.failed and "stuck" in report.failures[0][1]


def test_a_native_crash_costs_its_process_and_the_run_goes_on() -> None:
    def attempt(number: int) -> str:
        if number == 6:
            faulthandler.disable()  # pytest's own report would look like a failure
            os.kill(os.getpid(), signal.SIGSEGV)
        return ACCEPTED

    report = planted(attempt)
    assert report.crashes == 1 and "status -11" in report.failures[0][1] and report.inputs == 50


def test_the_program_says_so_with_its_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = (
        Target("good", 1, random.Random.random, lambda made: ACCEPTED),
        Target("bad", 1, random.Random.random, lambda made: "" or None),
    )
    monkeypatch.setattr("tests.fuzz.__main__.all_targets", lambda: [good, bad])
    assert main(["--inputs", "20", "--only", "good"]) == 0
    assert main(["--inputs", "20"]) == 1
    said = capsys.readouterr().out
    assert "accepted 10" in said and "bad, seed 0, input 0:\nsilent drop" in said


def test_the_same_seed_makes_the_same_inputs() -> None:
    tree = {"a": [1, {"b": "c"}], "d": 2.0}
    for index in range(20):
        first, second = generator(3, "x", index), generator(3, "x", index)
        assert spoiled(first, b"abcdef" * 9) == spoiled(second, b"abcdef" * 9)
        assert repr(spoiled_tree(first, tree)) == repr(spoiled_tree(second, tree))


@pytest.mark.parametrize("data", [b"", b"\xff" * 400, bytes(range(256)) * 8])
def test_bytes_lead_every_target_as_a_generator_does(data: bytes) -> None:
    assert Fed(data).random() == Fed(data).random()
    with engine.workplace():
        for target in all_targets():
            assert target.attempt(target.make(Fed(data))), target.name
