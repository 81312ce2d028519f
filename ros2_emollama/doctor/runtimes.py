"""What can run a model here: cores, memory, GPU, Jetson, and the runtimes that are installed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from .finding import OK, Finding, note, ok, problem
from .machine import Machine, ProbeError
from .packages import found, version_of

NEEDED_MB = 400.0  # the perception process with the shipped model takes 220 MB
CORES = 2
NO_GPU = "none of NVIDIA's: all runs on the CPU, which is enough for the shipped model"


def examine(machine: Machine) -> Iterator[Finding]:
    yield cores(len(os.sched_getaffinity(0)))
    yield memory(machine)
    device = gpu(machine)
    yield device
    yield providers(machine, device)
    for module, cure in (("tensorrt", "pip install tensorrt"), ("torch", "pip install torch")):
        if found(module):
            yield ok(module, version_of(module) or "found")
        elif _is_gpu(device) and module == "tensorrt":
            yield note(module, "is not installed: the GPU is used without it", cure)


def cores(count: int) -> Finding:
    if count < CORES:
        return note("cores", f"{count}: explanations will slow the rest of the robot", "set reasoner.enabled to false for labels only")
    return ok("cores", str(count))


def memory(machine: Machine) -> Finding:
    total, available = machine.memory_mb("MemTotal"), machine.memory_mb("MemAvailable")
    if total is None or available is None:
        return note("memory", "/proc/meminfo cannot be read", "look yourself: free -m")
    text = f"{available:.0f} of {total:.0f} MB available"
    if available < NEEDED_MB:
        return problem("memory", f"{text}, {NEEDED_MB:.0f} MB are needed", "see what takes it and end it: ps aux --sort=-rss | head")
    return ok("memory", text)


def gpu(machine: Machine) -> Finding:
    """An NVIDIA GPU, or a Jetson by its device tree."""
    board = machine.text("/proc/device-tree/model")
    if machine.is_jetson:
        return ok("gpu", f"{board or 'a Jetson'} {machine.text('/etc/nv_tegra_release').partition(',')[0]}".strip())
    if not machine.glob("/dev/nvidia[0-9]*"):
        return note(
            "gpu",
            "none: all runs on the CPU, which is enough for the shipped model",
            "nothing to do; with an NVIDIA GPU: install its driver",
        )
    try:
        listed = machine.say([machine.finds("nvidia-smi") or "nvidia-smi", "-L"]).strip()
    except ProbeError as error:
        return problem("gpu", f"there is one, and its driver does not answer ({error})", "reinstall the driver; see: nvidia-smi")
    return ok("gpu", "; ".join(line.partition(" (")[0] for line in listed.splitlines()))


def _is_gpu(device: Finding) -> bool:
    return device.grade == OK and device.text != NO_GPU


def providers(machine: Machine, device: Finding) -> Finding:
    """ONNX Runtime's, as this Python loads it."""
    try:
        listed: list[str] = machine.ask("import json, onnxruntime; print(json.dumps(onnxruntime.get_available_providers()))")
    except ProbeError as error:
        return problem("providers", f"onnxruntime cannot be loaded ({error})", "pip install --force-reinstall onnxruntime")
    text = ", ".join(listed)
    if _is_gpu(device) and not any("CUDA" in name or "Tensorrt" in name for name in listed):
        cure = "pip uninstall onnxruntime && pip install onnxruntime-gpu"
        if machine.architecture == "aarch64":
            cure += " (on a Jetson: the wheel made for its JetPack)"
        return note("providers", f"{text}: the GPU is not used", cure)
    return ok("providers", text)
