"""Other people's messages, generated from their published definitions, in a real graph.

Two packages share the name audio_common_msgs, so each group of packages gets a process of its own; the cases are in foreign/cases_*.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")

from tests.ros.foreign.build import GROUPS, REPOSITORY, ToolMissing, environment

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("group", GROUPS)
def test_generated_messages_of_other_packages_are_understood(group: str) -> None:
    try:
        surroundings = environment(group)
    except ToolMissing as missing:
        pytest.skip(str(missing))
    cases = REPOSITORY / "tests" / "ros" / "foreign" / f"cases_{group}.py"
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", str(cases)]
    done = subprocess.run(command, env=surroundings, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    print(*re.findall(r"^PASSED .*::(\S+)", done.stdout, re.M), sep=os.linesep)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
