"""The little of CUDA that running an engine takes: device memory, pinned memory, one stream, copies, graphs. By the driver's own library.

No package and no toolkit: libcuda comes with every driver. TensorRT works in the same primary context, and its streams are these.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED: other threads go on allocating meanwhile
HOST, DEVICE = 1, 2  # CUmemorytype

Bytes = npt.NDArray[np.uint8]


class CudaError(RuntimeError):
    """A call of the driver failed; the message names it."""


class _Copy2D(ctypes.Structure):
    """CUDA_MEMCPY2D of the driver's interface, version 2."""

    _fields_ = [
        (f"{side}{what}", kind)
        for side in ("src", "dst")
        for what, kind in (
            ("XInBytes", ctypes.c_size_t),
            ("Y", ctypes.c_size_t),
            ("MemoryType", ctypes.c_uint),
            ("Host", ctypes.c_void_p),
            ("Device", ctypes.c_uint64),
            ("Array", ctypes.c_void_p),
            ("Pitch", ctypes.c_size_t),
        )
    ] + [("WidthInBytes", ctypes.c_size_t), ("Height", ctypes.c_size_t)]


class Cuda:
    """One device, one stream, for one thread at a time. What is asked of it is enqueued in order; `wait` waits for it. Freed with it."""

    def __init__(self, ordinal: int = 0, library: str = "libcuda.so.1") -> None:
        try:
            self._cuda: Any = ctypes.CDLL(library)
        except OSError as error:
            raise CudaError(f"{library} cannot be loaded ({error}); install the NVIDIA driver") from error
        self._context, stream, device = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
        self._device_memory: list[int] = []
        self._pinned: list[int] = []
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), ordinal)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self.enter()
        self._call("cuStreamCreate", ctypes.byref(stream), NON_BLOCKING)
        self.stream = int(stream.value or 0)
        held = (self._device_memory, self._pinned, self.stream)
        self._release = weakref.finalize(self, _release, self._cuda, self._context, *held)
        self._release.atexit = False  # then the driver takes all of it back by itself

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._cuda, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._cuda.cuGetErrorString(status, ctypes.byref(text))
            raise CudaError(f"{name} failed: {(text.value or b'').decode()} (CUDA error {status})")

    def enter(self) -> None:
        """Make the context this thread's; every thread that works with the device does so first."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """Address of `size` bytes on the device. CudaError where there is no room."""
        place = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(max(1, size)))
        self._device_memory.append(place.value)
        return place.value

    def pinned(self, size: int) -> Bytes:
        """Page-locked host memory, which is copied without a detour."""
        place = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(place), ctypes.c_size_t(max(1, size)), 0)
        assert place.value is not None
        self._pinned.append(place.value)
        return np.ctypeslib.as_array((ctypes.c_uint8 * max(1, size)).from_address(place.value))

    def copy(self, target: int, source: int, size: int) -> None:
        """Between any two addresses: the driver knows whose they are."""
        self._call("cuMemcpyAsync", ctypes.c_uint64(target), ctypes.c_uint64(source), ctypes.c_size_t(size), ctypes.c_void_p(self.stream))

    def copy_rows(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, rows: int) -> None:
        """`rows` rows of `width` bytes on the device, whose beginnings are a pitch apart."""
        copy = _Copy2D(
            srcMemoryType=DEVICE,
            srcDevice=source,
            srcPitch=source_pitch,
            dstMemoryType=DEVICE,
            dstDevice=target,
            dstPitch=target_pitch,
            WidthInBytes=width,
            Height=rows,
        )
        self._call("cuMemcpy2DAsync_v2", ctypes.byref(copy), ctypes.c_void_p(self.stream))

    def clear(self, target: int, size: int) -> None:
        self._call("cuMemsetD8Async", ctypes.c_uint64(target), ctypes.c_ubyte(0), ctypes.c_size_t(size), ctypes.c_void_p(self.stream))

    def wait(self) -> None:
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.stream))

    @contextmanager
    def capture(self) -> Iterator[list[int]]:
        """What is enqueued within is not run but kept; the list then holds its graph for `launch` and `forget`."""
        kept: list[int] = []
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(self.stream), RELAXED)
        try:
            yield kept
        finally:
            self._call("cuStreamEndCapture", ctypes.c_void_p(self.stream), ctypes.byref(graph))
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_uint64(0))
        self._call("cuGraphDestroy", graph)
        kept.append(int(ready.value or 0))

    def launch(self, graph: int) -> None:
        self._call("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(self.stream))

    def forget(self, graph: int) -> None:
        self._call("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def close(self) -> None:
        """Give all memory back, as happens when nobody holds this object any more."""
        self._release()


def _release(cuda: Any, context: ctypes.c_void_p, device_memory: list[int], pinned: list[int], stream: int) -> None:
    cuda.cuCtxSetCurrent(context)
    cuda.cuStreamSynchronize(ctypes.c_void_p(stream))
    for place in device_memory:
        cuda.cuMemFree_v2(ctypes.c_uint64(place))
    for place in pinned:
        cuda.cuMemFreeHost(ctypes.c_void_p(place))
    cuda.cuStreamDestroy_v2(ctypes.c_void_p(stream))
