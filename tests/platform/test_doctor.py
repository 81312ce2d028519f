"""doctor sees each fault where it is: in a machine laid out in a folder, in an environment, in a model that was altered."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ros2_emollama import __version__, cli
from ros2_emollama.config import Config
from ros2_emollama.doctor import Finding, Machine, dds, devices, examine, model, packages, ros, runtimes
from ros2_emollama.doctor.about import TOPICS
from ros2_emollama.options import from_flat
from ros2_emollama.share import share_file
from tests.platform.test_dependencies import bounds

USER = 1000


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """An empty machine, and somebody on it who is not root."""
    for folder in ("dev/shm", "dev/snd", "proc", "sys"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    return Machine(root=tmp_path / "root", environ={"PATH": os.environ["PATH"]}, user_id=USER, group_ids=frozenset({USER}))


def with_environ(machine: Machine, **variables: str) -> Machine:
    return Machine(
        machine.root, dict(machine.environ) | variables, machine.python, machine.architecture, machine.user_id, machine.group_ids
    )


def device(machine: Machine, name: str, mode: int) -> Path:
    path = machine.path(f"/dev/{name}")
    path.touch()
    path.chmod(mode)
    return path


def with_modules(machine: Machine, tmp_path: Path, **modules: str) -> Machine:
    """Its Python finds these modules first."""
    folder = tmp_path / "modules"
    folder.mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return with_environ(machine, PYTHONPATH=str(folder))


def test_the_needed_packages_are_those_of_pyproject() -> None:
    needed = {names[0].lower(): oldest for oldest, names in packages.NEEDED.values()}
    assert needed == bounds("dependencies")


def test_a_package_that_is_missing_or_too_old_is_a_problem_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(packages.NEEDED, "no_such_module", ("1.2", ("no-such-dist",)))
    monkeypatch.setitem(packages.NEEDED, "numpy", ("99", ("numpy",)))
    missing, old = packages.package("no_such_module"), packages.package("numpy")
    assert (missing.grade, missing.cure) == ("problem", "pip install 'no-such-dist>=1.2'")
    assert (old.grade, old.cure) == ("problem", "pip install --upgrade 'numpy>=99'")


@pytest.mark.parametrize(("version", "grade"), [((3, 9), "problem"), ((3, 10), "ok"), ((3, 12), "ok"), ((3, 13), "problem")])
def test_the_pythons_that_are_tested_are_told(version: tuple[int, int], grade: str) -> None:
    assert packages.python(version).grade == grade


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


def by_subject(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


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


def test_a_camera_is_missing_closed_or_there(machine: Machine) -> None:
    assert devices.cameras(machine).grade == "note"
    path = device(machine, "video0", 0o660)
    closed = devices.cameras(machine)
    assert closed.grade == "problem" and closed.cure.startswith("sudo usermod -aG video $USER")
    path.chmod(0o666)
    name = machine.path("/sys/class/video4linux/video0/name")
    name.parent.mkdir(parents=True)
    name.write_text("UVC Camera\n", encoding="utf-8")
    assert devices.cameras(machine) == Finding("ok", "camera", "video0 UVC Camera")


def test_the_group_opens_a_camera(machine: Machine) -> None:
    path = device(machine, "video0", 0o660)
    member = Machine(machine.root, machine.environ, user_id=USER, group_ids=frozenset({USER, path.stat().st_gid}))
    assert devices.cameras(member).grade == "ok"


def test_the_second_node_of_a_camera_is_no_camera(machine: Machine) -> None:
    device(machine, "video1", 0o666)
    index = machine.path("/sys/class/video4linux/video1/index")
    index.parent.mkdir(parents=True)
    index.write_text("1\n", encoding="utf-8")
    assert devices.cameras(machine).grade == "note"


def test_a_sound_card_is_missing_closed_or_there(machine: Machine) -> None:
    assert devices.sound_nodes(machine).grade == "note"
    path = device(machine, "snd/pcmC0D0c", 0o660)
    assert devices.sound_nodes(machine).cure.startswith("sudo usermod -aG audio $USER")
    path.chmod(0o666)
    assert devices.sound_nodes(machine).grade == "ok"


FAKE_SOUNDDEVICE = """
def query_devices():
    names = {"USB mic": 2, "speaker": 0}
    return [dict(name=name, max_input_channels=inputs, default_samplerate=48000.0) for name, inputs in names.items()]
"""


@pytest.mark.parametrize(
    ("module", "grade", "told"),
    [
        ("raise ImportError('none')", "note", "pip install sounddevice"),
        ("raise OSError('PortAudio library not found')", "note", "sudo apt install libportaudio2"),
        ("def query_devices(): return []", "note", "python -m sounddevice"),
        (FAKE_SOUNDDEVICE, "ok", "USB mic: 2 channels at 48000 Hz"),
        ("import os; os._exit(3)", "note", "status 3"),
    ],
    ids=["no package", "no library", "no input", "an input", "a crash"],
)
def test_what_a_microphone_lacks_is_named(machine: Machine, tmp_path: Path, module: str, grade: str, told: str) -> None:
    finding = devices.microphones(with_modules(machine, tmp_path, sounddevice=module))
    assert finding.grade == grade and told in finding.line, finding


def test_memory_and_cores_that_are_too_few_are_told(machine: Machine) -> None:
    assert runtimes.memory(machine).grade == "note"
    for available, grade in ((300_000, "problem"), (3_000_000, "ok")):
        machine.path("/proc/meminfo").write_text(f"MemTotal: 4000000 kB\nMemAvailable: {available} kB\n", encoding="utf-8")
        assert runtimes.memory(machine).grade == grade
    assert runtimes.cores(1).grade == "note" and runtimes.cores(2).grade == "ok"


def test_a_jetson_whose_gpu_is_not_used_is_told(machine: Machine, tmp_path: Path) -> None:
    board = machine.path("/proc/device-tree/model")
    board.parent.mkdir()
    board.write_text("NVIDIA Jetson AGX Orin Developer Kit\0", encoding="utf-8")
    code = "def get_available_providers(): return ['CPUExecutionProvider']"
    jetson = with_modules(Machine(machine.root, machine.environ, architecture="aarch64"), tmp_path, onnxruntime=code)
    jetson = Machine(jetson.root, jetson.environ, architecture="aarch64")
    gpu = runtimes.gpu(jetson)
    assert gpu.grade == "ok" and gpu.text == "NVIDIA Jetson AGX Orin Developer Kit"
    finding = runtimes.providers(jetson, gpu)
    assert finding.grade == "note" and "onnxruntime-gpu" in finding.cure and "JetPack" in finding.cure


def test_a_driver_that_does_not_answer_is_a_problem(machine: Machine, tmp_path: Path) -> None:
    device(machine, "nvidia0", 0o666)
    tools = tmp_path / "tools"
    tools.mkdir()
    tool = tools / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'driver mismatch' >&2\nexit 9\n", encoding="utf-8")
    tool.chmod(0o755)
    broken = with_environ(machine, PATH=f"{tools}:/usr/bin:/bin")
    assert runtimes.gpu(broken).grade == "problem" and "driver mismatch" in runtimes.gpu(broken).text
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA RTX (UUID: x)'\n", encoding="utf-8")
    assert runtimes.gpu(broken) == Finding("ok", "gpu", "GPU 0: NVIDIA RTX")


def test_an_onnxruntime_that_cannot_be_loaded_is_a_problem(machine: Machine, tmp_path: Path) -> None:
    broken = with_modules(machine, tmp_path, onnxruntime="raise ImportError('libcudart.so.12')")
    assert "libcudart.so.12" in runtimes.providers(broken, runtimes.gpu(broken)).text


def test_an_altered_model_is_a_problem_that_says_how_to_restore_it(nano: Path, tmp_path: Path) -> None:
    altered = Path(shutil.copytree(nano, tmp_path / "nano"))
    graph = altered / "fusion.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    [finding] = model.examine(from_flat({"model.path": str(altered)}, Config()), quick=False)
    assert finding.grade == "problem" and "fusion.onnx" in finding.text and "git checkout -- models/nano" in finding.cure


def test_the_shipped_model_is_timed(nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "TEST_SECONDS", 0.3)
    hashes, hop = model.examine(Config(), quick=False)
    assert hashes.grade == "ok" and hop.subject == "self-test" and "ms are there; encoders onnxruntime" in hop.text
    assert [finding.subject for finding in model.examine(Config(), quick=True)] == ["model"]


@pytest.mark.parametrize(("took", "grade", "cure"), [(0.02, "ok", ""), (0.2, "note", "hop_ticks to 2"), (0.6, "problem", "hop_ticks to 3")])
def test_a_machine_too_slow_for_the_hop_is_told_which_hop_it_can_keep(took: float, grade: str, cure: str) -> None:
    finding = model.judge_hops([took] * 5, 0.25, 1, "encoders x")
    assert finding.grade == grade and cure in finding.cure


def test_whatever_is_not_ok_has_a_cure() -> None:
    with pytest.raises(ValueError, match="has a cure"):
        Finding("problem", "x", "broken")
    with pytest.raises(ValueError, match="has no cure"):
        Finding("ok", "x", "fine", "do nothing")


def test_doctor_reads_for_programs_and_fails_on_problems_only(nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor", "--json", "--quick"])
    found = json.loads(capsys.readouterr().out)
    assert set(found[0]) == {"grade", "subject", "text", "cure", "section"}
    assert {entry["section"] for entry in found} >= {"python", "ros", "devices", "runtimes", "model"}
    assert status == int(any(entry["grade"] == "problem" for entry in found))
    assert cli.main(["doctor", "--json", "--quick", "--model", "none-such"]) == 1


def test_doctor_imports_nothing_of_ros(nano: Path) -> None:
    code = "import sys; from ros2_emollama.cli import main; main(['doctor', '--quick']); assert 'rclpy' not in sys.modules"
    Machine().say([sys.executable, "-c", code])


def test_info_tells_what_the_node_would_be_set_to(nano: Path, tmp_path: Path) -> None:
    given = tmp_path / "p.yaml"
    given.write_text("perception: {ros__parameters: {reasoner: {max_tokens: 20}}}", encoding="utf-8")
    command = [sys.executable, "-m", "ros2_emollama.cli", "info", "--params-file", str(given), "--json"]  # alone: memory is measured
    told = json.loads(Machine().say(command))
    assert told["parameters"]["reasoner.max_tokens"] == "20 tokens  * default 80" and told["parameters"]["perception.enabled"] == "true"
    assert set(told["topics"]) == {name for _, name, _ in TOPICS}
    assert 5 < float(told["model"]["memory"].split(" MB")[0]) < 500


def test_examine_goes_through_every_section_of_an_empty_machine(machine: Machine, tmp_path: Path) -> None:
    empty = with_modules(machine, tmp_path, onnxruntime="def get_available_providers(): return ['CPUExecutionProvider']")
    found = list(examine(Config(), empty, quick=True))
    assert [finding.section for finding in found] == sorted(
        (f.section for f in found), key=["python", "ros", "dds", "devices", "runtimes", "model"].index
    )
    assert {finding.subject for finding in found if finding.section == "devices"} == {"sound card", "microphone", "camera"}
