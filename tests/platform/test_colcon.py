"""A workspace on a robot: `colcon build`, source, run. `make test-colcon` runs it, where nothing of this checkout is installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.domains import take_domain

COLCON = os.environ.get("EMOLLAMA_COLCON", "")
pytestmark = [pytest.mark.ros, pytest.mark.skipif(not COLCON, reason="make test-colcon runs it")]

NOT_SOURCE = shutil.ignore_patterns(
    ".git", ".venv*", "build", "install", "log", ".demo", "runs", "cache", "shared", "__pycache__", "*.egg-info", ".*_cache"
)
MODES = {"plain": (), "symlink": ("--symlink-install",)}

DOMAIN, _claim = take_domain()


def underlay() -> dict[str, str]:
    """What `source /opt/ros/…/setup.bash` does on a robot, for ROS from wheels."""
    prefix = Path(COLCON).parents[1]
    libraries = [str(prefix / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return os.environ | {
        "AMENT_PREFIX_PATH": str(prefix),
        "CMAKE_PREFIX_PATH": str(prefix),
        "VIRTUAL_ENV": str(prefix),
        "PATH": f"{prefix / 'bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
        "ROS_DOMAIN_ID": str(DOMAIN),
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": "",
    }


@pytest.fixture(scope="module", params=MODES)
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A built workspace. After a plain build its sources are gone: what runs is what was installed."""
    root = tmp_path_factory.mktemp(request.param)
    shutil.copytree(REPOSITORY, root / "src" / "emollama", ignore=NOT_SOURCE)
    command = [COLCON, "build", *MODES[request.param], "--packages-select", "emollama"]
    built = subprocess.run(command, cwd=root, env=underlay(), capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    if request.param == "plain":
        shutil.rmtree(root / "src")
        shutil.rmtree(root / "build")
    yield request.param, root
    shutil.rmtree(root)


def sourced(root: Path, command: str, **options: object) -> subprocess.Popen[str]:
    """The command in a shell that has sourced the workspace."""
    script = f". install/local_setup.bash && exec {command}"
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        ["bash", "-c", script], cwd=root, env=underlay(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def test_everything_a_robot_needs_is_installed(workspace: tuple[str, Path]) -> None:
    share = workspace[1] / "install" / "emollama" / "share" / "emollama"
    wanted = [
        "config/perception.yaml",
        "config/fastdds.xml",
        "launch/perception.launch.py",
        "models/nano/manifest.json",
        "msg/EmotionState.msg",
    ]
    assert [name for name in wanted if not (share / name).is_file()] == []
    assert not list((workspace[1] / "install").rglob("test_*.py")), "tests are not installed"


def test_the_installed_package_runs_with_the_installed_model(workspace: tuple[str, Path]) -> None:
    mode, root = workspace
    said, _ = sourced(root, "install/emollama/lib/emollama/emollama info").communicate(timeout=60)
    where, _ = sourced(root, "python3 -c 'import ros2_emollama, emollama; print(ros2_emollama.__file__, emollama.__file__)'").communicate(
        timeout=60
    )
    assert all(path.startswith(str(root / "install")) for path in where.split()), where
    folder = next(line for line in said.splitlines() if line.startswith("folder")).split()[1]
    assert folder.startswith(str(root / ("install" if mode == "plain" else "src"))), said
    assert str(REPOSITORY) not in said + where


def test_the_node_becomes_active_and_ends_cleanly(workspace: tuple[str, Path]) -> None:
    _, root = workspace
    node = sourced(root, "install/emollama/lib/emollama/perception")
    assert node.stdout is not None
    said = ""
    while "]: active" not in said:
        line = node.stdout.readline()
        said += line
        assert line and "cannot" not in line, said
    node.send_signal(signal.SIGINT)
    rest, _ = node.communicate(timeout=30)
    assert node.returncode == 0 and "Traceback" not in rest, said + rest


def test_a_wrong_parameter_is_refused_with_status_two(workspace: tuple[str, Path]) -> None:
    node = sourced(workspace[1], "install/emollama/lib/emollama/perception --ros-args -p model.pat:=nano")
    said, _ = node.communicate(timeout=30)
    assert node.returncode == 2 and "did you mean 'model.path'" in said
