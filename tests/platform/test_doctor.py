"""doctor sees each fault where it is: in a machine laid out in a folder, in an environment, in a model that was altered."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from ros2_emollama import cli
from ros2_emollama.config import Config
from ros2_emollama.doctor import Finding, Machine, devices, examine, model, packages, runtimes
from ros2_emollama.doctor.about import TOPICS
from ros2_emollama.options import from_flat
from tests.platform.machines import USER, device, empty_machine, with_environ, with_modules
from tests.platform.test_dependencies import bounds


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return empty_machine(tmp_path)


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
    assert {entry["section"] for entry in found} >= {"python", "ros", "devices", "runtimes", "model", "memory"}
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
        (f.section for f in found), key=["python", "ros", "dds", "devices", "runtimes", "memory", "model"].index
    )
    assert {finding.subject for finding in found if finding.section == "devices"} == {"sound card", "microphone", "camera"}
