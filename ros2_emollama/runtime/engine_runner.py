"""One TensorRT engine at work: an execution context, a device buffer and a pinned buffer a tensor, numbers in, numbers out.

set_tensor_address and execute_async_v3 on a stream of our own: what TensorRT 10, 11 and TensorRT for RTX have in common.
"""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .base import Tensors
from .cuda import Bytes, CudaError
from .engine_manifest import EngineError
from .tensorrt_flavor import Flavor

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]


class Device(Protocol):
    """What of cuda.Cuda is used here."""

    stream: int

    def enter(self) -> None: ...
    def allocate(self, size: int) -> int: ...
    def pinned(self, size: int) -> Bytes: ...
    def copy(self, target: int, source: int, size: int) -> None: ...
    def copy_rows(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, rows: int) -> None: ...
    def clear(self, target: int, size: int) -> None: ...
    def wait(self) -> None: ...
    def capture(self) -> Any: ...
    def launch(self, graph: int) -> None: ...
    def forget(self, graph: int) -> None: ...
    def close(self) -> None: ...


def load_engine(path: Path, flavor: Flavor, device: Device) -> LoadedEngine:
    """Give TensorRT an engine whose manifest was checked. EngineError where it does not take it."""
    trt = flavor.trt
    device.enter()
    said: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                said.append(message)
                logger.error("TensorRT: %s", message)

    log = Logger()
    runtime = trt.Runtime(log)
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        why = said[0][:300] if said else "it gave no reason"
        raise EngineError(
            f"{flavor.name} {flavor.version} does not load {path}: {why}; update the NVIDIA driver, or use model.runtime onnxruntime"
        )
    return LoadedEngine(engine, path, runtime, log)


class LoadedEngine:
    """An engine, where it came from, and what must outlive it."""

    def __init__(self, engine: Any, path: Path, *others: Any) -> None:
        self.engine, self.path, self._others = engine, path, others


class Context:
    """An execution context on one optimisation profile, with a device address for each tensor.

    Buffers given in `shared` are used instead of new ones. EngineError where the GPU has no room.
    """

    def __init__(
        self, loaded: LoadedEngine, flavor: Flavor, device: Device, profile: int = 0, shared: dict[str, int] | None = None
    ) -> None:
        self.engine, self.device, self._trt = loaded.engine, device, flavor.trt
        self._loaded = loaded
        self._compiled = loaded.path.with_suffix(f".{profile}.compiled")
        self._kernels: Any = None
        device.enter()
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        mode = self._trt.TensorIOMode
        self.inputs = [name for name in names if self.engine.get_tensor_mode(name) == mode.INPUT]
        self.outputs = [name for name in names if self.engine.get_tensor_mode(name) == mode.OUTPUT]
        self.dtypes = {name: np.dtype(self._trt.nptype(self.engine.get_tensor_dtype(name))) for name in names}
        self.context = self._create_context() if flavor.is_rtx else self.engine.create_execution_context()
        if self.context is None:
            raise EngineError("the GPU has no room for the engine's activations; set reasoner.enabled to false, or use a smaller model")
        if profile and not self.context.set_optimization_profile_async(profile, device.stream):
            raise EngineError(f"the engine has no profile {profile}; build it again: python -m export.build_trt --again")
        self.largest = self._largest_shapes(profile)
        self.addresses: dict[str, int] = {}
        for name in names:
            address = (shared or {}).get(name) or self._room(name)
            self.addresses[name] = address
            self.context.set_tensor_address(name, address)

    def _create_context(self) -> Any:
        """TensorRT for RTX compiles kernels at the first run; what it kept of an earlier one is given back (it checks that it fits)."""
        config = self.engine.create_runtime_config()
        self._kernels = config.create_runtime_cache()
        if self._compiled.is_file():
            self._kernels.deserialize(self._compiled.read_bytes())
        config.set_runtime_cache(self._kernels)
        return self.engine.create_execution_context(config)

    def keep_kernels(self) -> None:
        """Keep what was compiled for the next start; once, after a first run. A folder that cannot be written costs only that."""
        if self._kernels is None:
            return
        blob, self._kernels = bytes(self._kernels.serialize()), None
        part = self._compiled.with_name(f"{self._compiled.name}.{os.getpid()}.part")
        try:
            part.write_bytes(blob)
            part.replace(self._compiled)
        except OSError as error:
            logger.warning("compiled kernels are not kept in %s: %s", self._compiled.parent, error)

    def _largest_shapes(self, profile: int) -> dict[str, tuple[int, ...]]:
        shapes = {}
        for name in self.inputs:
            shape = tuple(self.engine.get_tensor_shape(name))
            if -1 in shape:
                shape = tuple(self.engine.get_tensor_profile_shape(name, profile)[2])
            self.context.set_input_shape(name, shape)
            shapes[name] = shape
        return shapes | {name: tuple(self.context.get_tensor_shape(name)) for name in self.outputs}

    def _room(self, name: str) -> int:
        try:
            return self.device.allocate(self.size(name, self.largest[name]))
        except CudaError as error:
            raise EngineError(f"no room on the GPU for {name} {self.largest[name]} ({error}); close what else uses it") from error

    def size(self, name: str, shape: tuple[int, ...]) -> int:
        return int(math.prod(shape) * self.dtypes[name].itemsize)

    def shape_inputs(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            if not self.context.set_input_shape(name, shape):
                raise EngineError(f"the engine takes no {name} of {shape}; build it again: python -m export.build_trt --again")

    def shape_of(self, name: str) -> tuple[int, ...]:
        return tuple(self.context.get_tensor_shape(name))

    def execute(self) -> None:
        if not self.context.execute_async_v3(self.device.stream):
            raise EngineError("TensorRT could not enqueue the engine (its reason is in the log); use model.runtime onnxruntime")


class EngineRunner:
    """An engine as a function of arrays."""

    def __init__(self, loaded: LoadedEngine, flavor: Flavor, device: Device) -> None:
        self._context = Context(loaded, flavor, device)
        self._device = device
        context = self._context
        self._host = {name: device.pinned(context.size(name, shape)) for name, shape in context.largest.items()}

    def run(self, inputs: Tensors) -> dict[str, Array]:
        """Outputs by name, in the engine's own types."""
        context, device = self._context, self._device
        device.enter()
        for name, array in inputs.items():
            stage(self._host[name], array, context.dtypes[name])
            context.shape_inputs({name: array.shape})
            device.copy(context.addresses[name], address_of(self._host[name]), context.size(name, array.shape))
        context.execute()
        shapes = {name: context.shape_of(name) for name in context.outputs}
        for name, shape in shapes.items():
            device.copy(address_of(self._host[name]), context.addresses[name], context.size(name, shape))
        device.wait()
        context.keep_kernels()
        return {name: view(self._host[name], shape, context.dtypes[name]).copy() for name, shape in shapes.items()}


def stage(host: Bytes, array: Array, dtype: np.dtype[Any]) -> None:
    """Put an array into pinned memory, as the engine's type."""
    view(host, array.shape, dtype)[...] = array


def view(host: Bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    return host[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def address_of(host: Bytes) -> int:
    return int(host.ctypes.data)
