"""doctor says whether a model fits, of a folder or of a preset nobody has fetched yet."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ros2_emollama import cli
from ros2_emollama.config import Config
from ros2_emollama.doctor import Machine, memory
from ros2_emollama.model.folder import ModelFolderError
from ros2_emollama.options import from_flat
from ros2_emollama.runtime import gpu
from ros2_emollama.runtime.gpu import FreeMemory
from ros2_emollama.runtime.memory_plan import MB, Room
from tests.platform.machines import empty_machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return with_memory(empty_machine(tmp_path), 15000)


def with_memory(machine: Machine, megabytes: int, jetson: bool = False) -> Machine:
    machine.path("/proc/meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {megabytes * 1024} kB\n", encoding="ascii")
    if jetson:
        machine.path("/proc/device-tree").mkdir(parents=True)
        machine.path("/proc/device-tree/model").write_text("NVIDIA Jetson AGX Orin Developer Kit\0", encoding="ascii")
    return machine


def config(**values: object) -> Config:
    return from_flat({name.replace("__", "."): value for name, value in values.items()}, Config())


V2 = config(model__path="emotion_llama_v2")
CARD = FreeMemory("NVIDIA GeForce RTX 4070", 11000 * MB)


def test_memory_is_that_of_a_jetson_a_card_or_a_plain_machine(machine: Machine) -> None:
    assert memory.room_of(machine, lambda: None) == (Room(15000 * MB), "15000 MB of memory available, no NVIDIA GPU")
    room, text = memory.room_of(machine, lambda: CARD)
    assert room == Room(15000 * MB, 11000 * MB) and text.endswith("GPU NVIDIA GeForce RTX 4070: 11000 MB free")
    assert "nobody" not in text and "NVML does not say" in memory.room_of(machine, lambda: FreeMemory("x", MB, is_free=False))[1]
    room, text = memory.room_of(with_memory(machine, 60000, jetson=True), lambda: CARD)
    assert room == Room(60000 * MB, unified=True) and "Jetson" in text


def test_a_model_that_does_not_fit_is_a_problem_with_the_option_that_makes_it_fit(machine: Machine) -> None:
    [finding] = memory.examine(V2, with_memory(machine, 10000), lambda: None)
    assert finding.grade == "problem" and "onnxruntime takes about" in finding.text and "are missing" in finding.text
    assert "reasoner.mode remote" in finding.cure and "doctor --plan --model emotion_llama_v2" in finding.cure
    [finding] = memory.examine(V2, with_memory(machine, 64000), lambda: None)
    assert finding.grade == "ok"
    [finding] = memory.examine(V2, with_memory(machine, 3000), lambda: None)
    assert "no option alone suffices" in finding.cure


def test_what_fits_with_little_to_spare_is_a_note(machine: Machine) -> None:
    grades = {next(memory.examine(V2, with_memory(machine, size), lambda: None)).grade for size in range(9000, 30000, 500)}
    assert grades == {"problem", "note", "ok"}


def test_a_runtime_that_needs_a_gpu_is_a_problem_without_one(machine: Machine) -> None:
    [finding] = memory.examine(config(model__path="nano", model__runtime="tensorrt"), machine, lambda: None)
    assert finding.grade == "problem" and "needs a GPU" in finding.text and "model.runtime to auto" in finding.cure


@pytest.mark.parametrize(
    ("runtime", "room", "installed", "expected"),
    [
        ("auto", Room(MB), "tensorrt", "onnxruntime"),
        ("auto", Room(MB, MB), "tensorrt_rtx", "tensorrt"),
        ("auto", Room(MB, unified=True), "tensorrt", "tensorrt"),
        ("auto", Room(MB, MB), "", "onnxruntime_cuda"),
        ("onnxruntime_tensorrt", Room(MB), "", "onnxruntime_cuda"),
        ("torch", Room(MB), "", "torch"),
    ],
)
def test_the_runtime_is_the_one_that_would_serve(runtime: str, room: Room, installed: str, expected: str) -> None:
    assert memory.chosen(config(model__runtime=runtime), room, lambda name: name == installed) == expected


def test_a_language_model_that_runs_elsewhere_is_not_counted(nano: Path) -> None:
    assert memory.setup_of(Config()).language
    assert not memory.setup_of(config(reasoner__mode="remote")).language
    assert not memory.setup_of(config(reasoner__enabled=False)).language
    assert memory.setup_of(config(model__path="emotion_llama_v2", reasoner__enabled=False)).language  # its labels come from it


def test_the_block_size_is_read_off_the_manifest(nano: Path, tmp_path: Path) -> None:
    assert memory.setup_of(Config()).block_size == 32
    told = json.loads((nano / "manifest.json").read_text(encoding="utf-8"))
    for bits, half, block in ((4.25, False, 128), (4.25, True, 64), (4.5, True, 32), ("many", False, 32)):
        told["info"] |= {"language_bits_per_weight": bits, "language_half": half}
        (tmp_path / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
        setup = memory.setup_of(config(model__path=str(tmp_path)))
        assert (setup.block_size, setup.half) == (block, half)


def test_an_unknown_name_lists_models_and_presets() -> None:
    with pytest.raises(ModelFolderError, match=r"no model 'emotion_llama_v3'.*emotion_llama_v2"):
        memory.setup_of(config(model__path="emotion_llama_v3"))


def test_the_plan_of_a_preset_needs_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor", "--plan", "--model", "emotion_llama_v2", "--runtime", "torch", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["chosen"] == "torch" and set(told["runtimes"]) == {"tensorrt", "onnxruntime_cuda", "onnxruntime", "torch"}
    assert status == int(not told["runtimes"]["torch"]["fits"])
    whole = told["runtimes"]["onnxruntime"]
    assert whole["host_mb"] == pytest.approx(sum(sum(v for v in part.values() if isinstance(v, int)) for part in whole["parts"]), abs=20)
    cli.main(["doctor", "--plan", "--model", "emotion_llama_v2"])
    out = capsys.readouterr().out
    assert "language model of 6.6e9 weights in 4 bits" in out and "would serve here" in out
    assert cli.main(["doctor", "--plan", "--model", "no-such-model"]) == 1


def test_a_table_names_each_runtime_once_and_what_to_do(machine: Machine) -> None:
    setup, (room, told) = memory.setup_of(V2), memory.room_of(with_memory(machine, 15000, jetson=True), lambda: None)
    lines = memory.table(setup, room, told, "tensorrt").splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("tensorrt ", "onnx", "torch"))][:4] == [
        "tensorrt",
        "onnxruntime_cuda",
        "onnxruntime",
        "torch",
    ]
    assert any("MB are missing, and" in line for line in lines) and any("fits" in line and "reasoner.mode remote" in line for line in lines)


DRIVER = """
#include <string.h>
int cuInit(unsigned f) { return 0; }
int cuDeviceGet(int *d, int n) { *d = n; return n != 0; }
int cuDeviceGetName(char *name, int size, int d) { strcpy(name, "RTX of glass"); return 0; }
int cuDeviceGetAttribute(int *value, int what, int d) { *value = what == 75 ? 8 : 9; return 0; }
int cuDeviceTotalMem_v2(unsigned long *size, int d) { *size = 12000; return 0; }
int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned n, void **device) { *device = (void *)7; return n != 0; }
int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *m) { m[0] = 12000; m[1] = 9000; m[2] = 3000; return device != (void *)7; }
"""


def test_free_memory_of_a_gpu_is_asked_of_its_drivers_libraries(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a driver of glass with")
    (tmp_path / "driver.c").write_text(DRIVER, encoding="ascii")
    library = str(tmp_path / "libdriver.so")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, str(tmp_path / "driver.c")], check=True)
    assert gpu.free_memory(library=library, cuda=library) == FreeMemory("RTX of glass", 9000)
    assert gpu.free_memory(library="libnosuch.so.1", cuda=library) == FreeMemory("RTX of glass", 12000, is_free=False)
    assert gpu.free_memory(library=library, cuda="libnosuch.so.1") is None
    assert gpu.free_memory(1, library, library) is None
