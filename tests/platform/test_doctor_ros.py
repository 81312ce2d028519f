"""doctor sees each fault of ROS and of Fast DDS where it is."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from ros2_emollama import __version__
from ros2_emollama.doctor import Machine, dds, ros
from ros2_emollama.share import share_file
from tests.platform.machines import by_subject, empty_machine, with_environ, with_modules


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return empty_machine(tmp_path)


def test_without_rclpy_the_nodes_are_a_note_and_with_a_broken_one_a_problem(machine: Machine, tmp_path: Path) -> None:
    [absent] = ros.examine(machine, {"rclpy_error": "ModuleNotFoundError: No module named 'rclpy'", "packages": {}})
    assert absent.grade == "note" and "setup.bash" in absent.cure
    broken = with_modules(machine, tmp_path, rclpy="raise ImportError('librcl.so: cannot open')")
    [finding] = ros.examine(broken, ros.probe(broken))
    assert finding.grade == "problem" and "librcl.so: cannot open" in finding.text


def test_a_probe_that_dies_or_says_nothing_is_told(machine: Machine) -> None:
    dead = Machine(machine.root, machine.environ, "/no/such/python")
    assert "No such file" in ros.probe(dead)["rclpy_error"]


@pytest.fixture
def facts() -> dict[str, object]:
    """What ros.probe finds where all is well."""
    names = ["AudioChunk", "EmotionReasoning", "EmotionState"]
    return {"rclpy": "/x/rclpy/__init__.py", "rmw": "rmw_fastrtps_cpp", "kilted": False, "arrays": 9, "messages": names, "packages": {}}


def test_messages_that_are_not_built_or_not_ours_are_problems(machine: Machine, facts: dict[str, object], tmp_path: Path) -> None:
    unbuilt = {key: value for key, value in facts.items() if key != "messages"} | {"messages_error": "No module named 'emollama'"}
    assert by_subject(ros.examine(machine, unbuilt))["messages"].cure == ros.BUILD_THEM
    share = tmp_path / "prefix" / "share" / "emollama"
    for kind in ("msg", "action", "srv"):
        shutil.copytree(share_file("package.xml").parent / kind, share / kind)
    shutil.copy(share_file("package.xml"), share)
    sourced = with_environ(machine, AMENT_PREFIX_PATH=str(tmp_path / "prefix"))
    assert ros.messages(sourced, facts).grade == "ok"
    (share / "msg" / "EmotionState.msg").write_text("string label\n", encoding="utf-8")
    assert "EmotionState.msg" in ros.messages(sourced, facts).text
    package = (share / "package.xml").read_text(encoding="utf-8")
    (share / "package.xml").write_text(package.replace(__version__, "0.0.1"), encoding="utf-8")
    assert "version 0.0.1" in ros.messages(sourced, facts).text and ros.messages(sourced, facts).grade == "problem"


def test_a_numpy_that_the_messages_were_not_built_for_is_seen(machine: Machine, facts: dict[str, object]) -> None:
    failed = {key: value for key, value in facts.items() if key != "arrays"} | {"arrays_error": "AttributeError: _ARRAY_API not found"}
    assert by_subject(ros.examine(machine, failed))["arrays"].cure == "pip install 'numpy<2'"


def test_optional_message_packages_are_told_and_which_of_two_kinds(machine: Machine, facts: dict[str, object]) -> None:
    humble = with_environ(machine, ROS_DISTRO="humble")
    without = by_subject(ros.examine(humble, facts))
    assert without["hri_msgs"].grade == "note" and "sudo apt install ros-humble-hri-msgs" in without["hri_msgs"].cure
    for names, kind in ((["Audio", "AudioStamped"], "mgonzs13"), (["AudioData", "AudioInfo"], "ros-drivers")):
        there = by_subject(ros.examine(humble, facts | {"packages": {"audio_common_msgs": names}}))
        assert there["audio_common_msgs"].grade == "ok" and kind in there["audio_common_msgs"].text


@pytest.mark.ros
def test_the_real_ros_here_is_well() -> None:
    pytest.importorskip("rclpy")
    pytest.importorskip("emollama.msg", reason="the messages are not built; run make setup")
    machine = Machine()
    found = by_subject(ros.examine(machine, ros.probe(machine)))
    assert {found[subject].grade for subject in ("rclpy", "rmw", "arrays", "messages")} == {"ok"}, found


def test_the_dds_profile_is_read_and_its_segment_measured(machine: Machine, tmp_path: Path) -> None:
    ours, small = share_file("config/fastdds.xml"), tmp_path / "small.xml"
    small.write_text("<profiles><segment_size>524288</segment_size></profiles>", encoding="utf-8")

    def grade(kilted: bool = False, **variables: str) -> str:
        return dds.profile(with_environ(machine, **variables), kilted).grade

    assert grade() == "note" and f"FASTRTPS_DEFAULT_PROFILES_FILE={ours}" in dds.profile(machine, False).cure
    assert grade(FASTRTPS_DEFAULT_PROFILES_FILE=str(ours)) == grade(True, FASTDDS_DEFAULT_PROFILES_FILE=str(ours)) == "ok"
    assert grade(True, FASTRTPS_DEFAULT_PROFILES_FILE=str(ours)) == "note", "the old name means nothing to Kilted"
    assert grade(FASTRTPS_DEFAULT_PROFILES_FILE=str(small)) == "note"
    assert grade(FASTRTPS_DEFAULT_PROFILES_FILE=str(tmp_path / "none.xml")) == "problem"


def test_segments_whose_owner_is_gone_are_counted(machine: Machine) -> None:
    for name in ("fastrtps_aa", "fastrtps_aa_el", "fastrtps_bb", "fastrtps_bb_el"):
        machine.path(f"/dev/shm/{name}").write_bytes(bytes(1 << 20))
    with machine.path("/dev/shm/fastrtps_aa_el").open("rb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        finding = dds.stale_segments(machine)
        assert finding.grade == "note" and finding.text.startswith("1 of Fast DDS (1 MiB)") and finding.cure == "fastdds shm clean"
    machine.path("/dev/shm/fastrtps_bb_el").unlink()
    with machine.path("/dev/shm/fastrtps_aa_el").open("rb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        assert dds.stale_segments(machine).grade == "ok"


def test_shared_memory_that_is_small_or_missing_is_told(machine: Machine) -> None:
    assert dds.judge_shared_memory(64 << 20, 64 << 20).grade == "note" and dds.judge_shared_memory(1 << 30, 1 << 29).grade == "ok"
    machine.path("/dev/shm").rmdir()
    assert dds.shared_memory(machine).grade == "problem"


@pytest.mark.parametrize(("given", "grade"), [("", "ok"), ("42", "ok"), ("232", "ok"), ("233", "problem"), ("robot", "problem")])
def test_a_domain_that_cannot_be_is_a_problem(machine: Machine, given: str, grade: str) -> None:
    assert dds.domain(with_environ(machine, ROS_DOMAIN_ID=given)).grade == grade


@pytest.mark.parametrize(
    ("variables", "grade"),
    [
        ({}, "note"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, "ok"),
        ({"ROS_LOCALHOST_ONLY": "1"}, "ok"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCAL"}, "problem"),
    ],
)
def test_who_may_listen_is_told(machine: Machine, variables: dict[str, str], grade: str) -> None:
    assert dds.discovery(with_environ(machine, **variables)).grade == grade


def test_security_that_is_on_without_keys_is_a_problem(machine: Machine, tmp_path: Path) -> None:
    on = with_environ(machine, ROS_SECURITY_ENABLE="true", ROS_SECURITY_KEYSTORE=str(tmp_path / "keys"))
    assert dds.security(machine).grade == "note" and dds.security(on).grade == "problem"
    (tmp_path / "keys" / "enclaves" / "emollama" / "perception").mkdir(parents=True)
    assert dds.security(on).grade == "note" and "permissive" in dds.security(on).text
    assert dds.security(with_environ(on, ROS_SECURITY_STRATEGY="Enforce")).grade == "ok"


@pytest.mark.ros
def test_keys_that_do_not_make_a_node_are_a_problem(machine: Machine, tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    (tmp_path / "keys" / "enclaves" / "emollama" / "perception").mkdir(parents=True)  # of no key
    variables = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce", "ROS_SECURITY_KEYSTORE": str(tmp_path / "keys")}
    found = by_subject(dds.examine(Machine(environ=dict(os.environ) | variables), {"rmw": "rmw_fastrtps_cpp"}))
    assert found["security"].grade == "ok" and found["secured node"].grade == "problem", found
