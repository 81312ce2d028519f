"""The launch files with ROS's own `ros2 launch`: skipped where launch is not installed (it has no wheels)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("launch.actions", reason="ROS's launch is not here; from the checkout's root `launch` is our folder")
pytest.importorskip("launch_ros.actions")
from tests.core.clips import write_clip
from tests.domains import take_domain

DOMAIN, _claim = take_domain()
pytestmark = [pytest.mark.ros, pytest.mark.skipif(shutil.which("ros2") is None, reason="no ros2 command; source ROS and the workspace")]


class Launched:
    """`ros2 launch emollama FILE …` in a process group of its own, and what it has said so far."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self._log = log
        environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN), "PYTHONUNBUFFERED": "1"}
        with log.open("w", encoding="utf-8") as stream:
            command = ["ros2", "launch", "emollama", *arguments]
            self.process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def await_words(self, words: str, times: int = 1, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while self.said.count(words) < times:
            assert self.process.poll() is None and time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def end(self) -> int:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)  # as Ctrl-C on a terminal: launch and its children
        return self.process.wait(30.0)


@pytest.fixture
def perception(tmp_path: Path) -> Iterator[Launched]:
    launched = Launched(tmp_path / "log", "perception.launch.py")
    yield launched
    launched.end()


def test_perception_becomes_active_and_an_interrupt_ends_it_cleanly(perception: Launched) -> None:
    perception.await_words("]: active")
    assert perception.end() == 0
    assert "process has finished cleanly" in perception.said and "Traceback" not in perception.said, perception.said


def test_a_killed_node_comes_back_to_active(perception: Launched) -> None:
    perception.await_words("]: active")
    [pid] = [line.split("pid [")[1].rstrip("]") for line in perception.said.splitlines() if "process started with pid" in line]
    os.kill(int(pid), signal.SIGKILL)
    perception.await_words("]: active", times=2)


def test_the_demo_plays_a_clip_and_leaves(tmp_path: Path) -> None:
    demo = Launched(tmp_path / "log", "demo.launch.py", f"clip:={write_clip(tmp_path / 'clip.mp4', seconds=3.0)}")
    assert demo.process.wait(60.0) == 0
    assert " states, 4.00 a second" in demo.said and "Traceback" not in demo.said, demo.said
