"""The three nodes as processes, as `make demo` starts them: a clip in, states and explanations out, a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from ros2_emollama.config import Config
from ros2_emollama.options import load_yaml, to_yaml
from ros2_emollama.ros.share import share_file
from tests.conftest import REPOSITORY
from tests.core.clips import write_clip
from tests.domains import take_domain

DOMAIN, _claim = take_domain()
pytestmark = pytest.mark.ros


def environment() -> dict[str, str]:
    return os.environ | {"ROS_DOMAIN_ID": str(DOMAIN), "PYTHONUNBUFFERED": "1"}


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"ros2_emollama.ros.{module}", *arguments]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def with_model(folder: Path) -> tuple[str, ...]:
    return ("--ros-args", "-p", f"model.path:={folder}")


def test_a_clip_becomes_states_and_explanations_and_the_demo_ends_well(some_model_folder: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=4.0)
    demo = start("demo", "--clip", str(clip), "--", *with_model(some_model_folder))
    said, _ = demo.communicate(timeout=90)
    assert demo.returncode == 0, said
    summary = next(line for line in said.splitlines() if " states, " in line)
    assert 14 <= int(summary.split()[0]) <= 17 and "4.00 a second" in summary and " 0 explanations" not in summary, said
    assert "Traceback" not in said, said


def test_a_clip_that_is_not_there_is_said_at_once() -> None:
    demo = start("demo", "--clip", "no_such_clip.mp4")
    said, _ = demo.communicate(timeout=30)
    assert demo.returncode == 2 and "no such file: no_such_clip.mp4" in said


def test_a_player_that_nobody_hears_gives_up_and_says_why(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", seconds=1.0)
    player = start("player_node", "--clip", str(clip), "--wait", "0.5")
    said, _ = player.communicate(timeout=30)
    assert player.returncode == 2 and "nobody listened" in said


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_ends_the_node_cleanly(some_model_folder: Path, times: int) -> None:
    with start("perception_node", *with_model(some_model_folder)) as node:
        try:
            assert node.stdout is not None
            said = ""
            while "active" not in said:
                line = node.stdout.readline()
                said += line
                assert line and "cannot" not in line, said
            for _ in range(times):  # launch sends a second one
                node.send_signal(signal.SIGINT)
                time.sleep(0.05)
            rest, _ = node.communicate(timeout=30)
        finally:
            node.kill()  # a node that lives on would talk into later tests
    assert node.returncode == 0 and "Traceback" not in rest, said + rest


def test_an_unknown_parameter_ends_the_node_with_a_cure() -> None:
    node = start("perception_node", "--ros-args", "-p", "reasoner.max_token:=5")
    said, _ = node.communicate(timeout=30)
    assert node.returncode == 2 and "did you mean 'reasoner.max_tokens'" in said and "Traceback" not in said


def test_the_shipped_parameters_are_the_defaults() -> None:
    path = share_file("config/perception.yaml")
    assert path.read_text(encoding="utf-8") == to_yaml(Config()), "write config/perception.yaml again from options.to_yaml()"
    assert load_yaml(path, Config()) == Config()
