"""The NVIDIA GPU of this machine, asked of its driver's own libraries (libcuda, NVML): no CUDA toolkit, no package is needed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
DRIVER_FILES = ("/sys/module/nvidia/version", "/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Gpu:
    """`capability` like "8.7"; `driver` the kernel module's version, or the CUDA version it brings where that is not told (Jetson)."""

    name: str
    capability: str
    driver: str
    memory_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability}, driver {self.driver})"


def find_gpu(ordinal: int = 0, library: str = "libcuda.so.1") -> Gpu | None:
    """The GPU, or None: no driver, no device, or a driver that does not answer."""
    try:
        cuda: Any = ctypes.CDLL(library)
    except OSError:
        return None
    device, major, minor, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    memory, name = ctypes.c_size_t(), ctypes.create_string_buffer(256)
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), ordinal):
        return None
    failed = [
        cuda.cuDeviceGetName(name, len(name), device),
        cuda.cuDeviceGetAttribute(ctypes.byref(major), CAPABILITY_MAJOR, device),
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), CAPABILITY_MINOR, device),
        cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device),
        cuda.cuDriverGetVersion(ctypes.byref(version)),
    ]
    if any(failed):
        return None
    cuda_version = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), f"{major.value}.{minor.value}", _driver() or cuda_version, memory.value)


@dataclass(frozen=True)
class FreeMemory:
    """`is_free`: these bytes are free; else they are all that the GPU has, for nobody says what of it is free."""

    name: str
    bytes: int
    is_free: bool = True


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


def free_memory(ordinal: int = 0, library: str = "libnvidia-ml.so.1", cuda: str = "libcuda.so.1") -> FreeMemory | None:
    """Free memory of the GPU by NVML, which needs no context on it; all of it where NVML does not answer; None without a GPU."""
    gpu = find_gpu(ordinal, cuda)
    if gpu is None:
        return None
    free = _nvml_free(ordinal, library)
    return FreeMemory(gpu.name, gpu.memory_bytes, is_free=False) if free is None else FreeMemory(gpu.name, free)


def _nvml_free(ordinal: int, library: str) -> int | None:
    try:
        nvml: Any = ctypes.CDLL(library)
    except OSError:
        return None
    device, memory = ctypes.c_void_p(), _Memory()
    if nvml.nvmlInit_v2():
        return None
    try:
        if nvml.nvmlDeviceGetHandleByIndex_v2(ordinal, ctypes.byref(device)) or nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)):
            return None
        return int(memory.free)
    finally:
        nvml.nvmlShutdown()


def _driver() -> str:
    for path in DRIVER_FILES:
        try:
            words = Path(path).read_text(encoding="ascii", errors="replace").split()
        except OSError:
            continue
        found = next((word for word in words if word[:1].isdigit()), "")
        if found:
            return found
    return ""
