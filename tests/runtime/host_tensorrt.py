"""TensorRT's interface and CUDA's, over ONNX Runtime and this process's own memory: what our side of them does, it does here byte by byte.

Addresses are real, work waits in the stream until somebody waits for it, and a captured graph does again what was enqueued in it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort

from ros2_emollama.runtime.tensorrt_flavor import Flavor

TYPES = {"float": np.float32, "float16": np.float16, "int64": np.int64, "uint8": np.uint8}


class HostDevice:
    """cuda.Cuda without CUDA."""

    stream = 7

    def __init__(self) -> None:
        self._held: list[Any] = []
        self._waiting: list[Callable[[], object]] = []
        self._graphs: dict[int, list[Callable[[], object]]] = {}
        self._capturing = False
        self.launched = self.captured = 0

    def enter(self) -> None: ...

    def close(self) -> None: ...

    def pinned(self, size: int) -> np.ndarray:
        self._held.append(np.full(max(1, size), 0xFF, np.uint8))  # NaN in every float: nothing may be read before it is written
        return self._held[-1]

    def allocate(self, size: int) -> int:
        return int(self.pinned(size).ctypes.data)

    def enqueue(self, work: Callable[[], object]) -> None:
        self._waiting.append(work)

    def copy(self, target: int, source: int, size: int) -> None:
        self.enqueue(lambda: ctypes.memmove(target, source, size))

    def copy_rows(self, target: int, target_pitch: int, source: int, source_pitch: int, width: int, rows: int) -> None:
        assert width <= min(target_pitch, source_pitch)
        self.enqueue(lambda: [ctypes.memmove(target + row * target_pitch, source + row * source_pitch, width) for row in range(rows)])

    def clear(self, target: int, size: int) -> None:
        self.enqueue(lambda: ctypes.memset(target, 0, size))

    def wait(self) -> None:
        assert not self._capturing, "a wait within a capture ends it with an error"
        work, self._waiting = self._waiting, []
        for step in work:
            step()

    @contextmanager
    def capture(self) -> Iterator[list[int]]:
        kept: list[int] = []
        before, self._waiting, self._capturing = self._waiting, [], True
        yield kept
        self.captured += 1
        self._graphs[self.captured] = self._waiting
        self._waiting, self._capturing = before, False
        kept.append(self.captured)

    def launch(self, graph: int) -> None:
        self.launched += 1
        self._waiting += self._graphs[graph]

    def forget(self, graph: int) -> None:
        del self._graphs[graph]


class _Context:
    def __init__(self, engine: HostEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._profile = 0

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self._profile = index
        return index < len(self._engine.profiles)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        if not self._engine.profiles or name not in self._engine.profiles[self._profile]:
            return tuple(shape) == self._engine.get_tensor_shape(name)
        least, _, most = self._engine.profiles[self._profile][name]
        return all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """Of an output: its free sizes are those of inputs by that name, or what the engine's caller says they add up to."""
        sizes = {
            symbol: size
            for entry, shape in self._shapes.items()
            for symbol, size in zip(self._engine.symbols[entry], shape, strict=True)
            if isinstance(symbol, str)
        }
        return tuple(sizes[size] if isinstance(size, str) else size for size in self._engine.symbols[name])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        shapes, engine = dict(self._shapes), self._engine
        assert stream == HostDevice.stream

        def work() -> None:
            feeds = {name: self._at(name, shapes[name]).copy() for name in shapes}
            for output, value in zip(engine.session.get_outputs(), engine.session.run(None, feeds), strict=True):
                self._at(output.name, value.shape)[...] = value

        engine.device.enqueue(work)
        return not engine.broken

    def _at(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        dtype = np.dtype(self._engine.get_tensor_dtype(name))
        size = int(np.prod(shape)) * dtype.itemsize
        raw = (ctypes.c_uint8 * size).from_address(self._addresses[name])
        return np.frombuffer(raw, dtype).reshape(shape)


class HostEngine:
    """ICudaEngine over an ONNX file."""

    def __init__(self, path: Path, profiles: Any, device: HostDevice) -> None:
        options = ort.SessionOptions()
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # 4, its default, rounds activations to 8 bits
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.profiles, self.device, self.broken = profiles, device, False
        tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self._inputs = {item.name for item in self.session.get_inputs()}
        self.symbols = {item.name: tuple(item.shape) for item in tensors}
        self._dtypes = {item.name: TYPES[item.type[7:-1]] for item in tensors}  # tensor(float16)
        self._names = list(self.symbols)
        self.num_io_tensors = len(self._names)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self._inputs else "output"

    def get_tensor_dtype(self, name: str) -> Any:
        return self._dtypes[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if isinstance(size, str) else size for size in self.symbols[name])

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return self.profiles[profile][name]

    def create_execution_context(self) -> _Context:
        return _Context(self)


def host_flavor(engines: dict[bytes, HostEngine], version: str = "1.0") -> Flavor:
    """A TensorRT that loads the engines of these bytes and refuses all others."""

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, blob: bytes) -> HostEngine | None:
            if blob not in engines:
                self._logger.log(1, "not an engine of mine")
            return engines.get(blob)

    class ILogger:
        ERROR = 1

    modes = SimpleNamespace(INPUT="input", OUTPUT="output")
    trt = SimpleNamespace(Runtime=Runtime, ILogger=ILogger, TensorIOMode=modes, nptype=lambda dtype: dtype)
    return Flavor("tensorrt", version, trt)
