"""pyproject.toml's bounds, the pins that are tested, and package.xml's keys say the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import REPOSITORY

OLDEST = REPOSITORY / "tests" / "oldest.txt"


def bounds(*lists: str) -> dict[str, str]:
    """Name -> lower bound, from the named lists of pyproject.toml (without tomllib, which Python 3.10 lacks)."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for name in lists:
        match = re.search(rf"^{name} = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
        assert match, f"pyproject.toml has no list {name}"
        found |= dict(re.findall(r'^  "([\w.-]+)>=([\d.]+)"', match[1], re.MULTILINE))
    return found


def pins(path: Path = OLDEST) -> dict[str, tuple[str, str]]:
    """Name -> version and the reason behind it, if one is given."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {name: (version, reason) for name, version, reason in (_parts(line) for line in lines)}


def _parts(line: str) -> tuple[str, str, str]:
    match = re.fullmatch(r"([\w.-]+)==([\d.]+)(?:  # (.+))?", line)
    assert match, f"{OLDEST.name}: {line!r} is no pin"
    return match[1], match[2], match[3] or ""


def test_every_dependency_is_tested_at_its_lower_bound() -> None:
    allowed, tested = bounds("dependencies", "test"), pins()
    assert set(allowed) == set(tested), "tests/oldest.txt pins exactly what a robot and the tests need"


@pytest.mark.parametrize("name", sorted(pins()))
def test_a_pin_is_its_bound_or_says_why_not(name: str) -> None:
    version, reason = pins()[name]
    bound = bounds("dependencies", "test")[name]
    release = lambda text: [int(part) for part in text.split(".")]  # noqa: E731
    width = len(release(bound))
    is_bound = release(version)[:width] == release(bound) and not any(release(version)[width:][:1])
    wheel_number = version.startswith(f"{bound}.0.")  # OpenCV numbers its wheels in a fourth place
    assert release(version) >= release(bound)
    assert is_bound or wheel_number or reason, (
        f"{name} is tested at {version}, allowed from {bound}; say why in {OLDEST.name}, or raise the bound"
    )


ROSDEP_KEYS = {
    "python3-hypothesis", "python3-numpy", "python3-onnxruntime-pip", "python3-opencv", "python3-psutil", "python3-pytest",
    "python3-sounddevice-pip", "python3-tqdm", "python3-yaml",
}  # fmt: skip
"""Looked up in rosdistro's rosdep/python.yaml (November 2026). A key that is not there keeps `rosdep install` from installing anything."""

SOFT = {"audio_common_msgs", "foxglove_msgs", "hri_msgs", "emollama"}
"""Packages that are used where they are installed, and our own."""


def test_package_xml_names_every_ros_package_that_is_imported() -> None:
    package = ElementTree.parse(REPOSITORY / "package.xml").getroot()
    named = {element.text for element in package if element.tag in ("depend", "exec_depend")}
    imported: set[str] = set()
    for path in [*(REPOSITORY / "ros2_emollama" / "ros").glob("*.py"), *(REPOSITORY / "launch").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    ros = {
        name for name in imported - SOFT if name.endswith(("_msgs", "_srvs", "_interfaces")) or name in ("rclpy", "launch", "launch_ros")
    }
    assert ros <= named, f"package.xml lacks {', '.join(sorted(ros - named))}"


def test_package_xml_asks_rosdep_only_for_keys_it_has() -> None:
    package = ElementTree.parse(REPOSITORY / "package.xml").getroot()
    asked = {element.text for element in package if element.text and element.text.startswith("python3-")}
    assert asked <= ROSDEP_KEYS, f"not in rosdep: {', '.join(sorted(map(str, asked - ROSDEP_KEYS)))}"
