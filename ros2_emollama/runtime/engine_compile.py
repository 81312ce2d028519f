"""The process that builds one engine: a request as JSON on standard input, JSON lines as the answer. Started by engine_build.py.

Answers: {"share", "text"} while it works; then {"done", "peak_mb"}, or {"errors"}.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .engine_source import read_source
from .tensorrt_flavor import find_flavor

Tell = Callable[[dict[str, Any]], None]


def build(asked: dict[str, Any], tell: Tell) -> list[str]:
    """What TensorRT objects to; nothing where the engine lies at asked["output"]."""
    trt = find_flavor(asked["flavor"]).trt
    errors: list[str] = []
    builder = trt.Builder(_logger(trt, errors))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse(read_source(Path(asked["source"])), asked["source"]):
        return [str(parser.get_error(i)) for i in range(parser.num_errors)] or errors or ["the parser gave no reason"]
    config = builder.create_builder_config()
    config.progress_monitor = monitor = _monitor(trt, tell)  # held: the builder does not hold it
    for table in asked["profiles"]:
        profile = builder.create_optimization_profile()
        for name, shapes in table.items():
            profile.set_shape(name, *(tuple(shape) for shape in shapes))
        config.add_optimization_profile(profile)
    if asked["workspace_mb"]:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, asked["workspace_mb"] << 20)
    if asked["capability"] and asked["flavor"] == "tensorrt_rtx":
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{asked['capability'].replace('.', '')}"), 0)
    timings = _load_timings(config, asked)
    blob = builder.build_serialized_network(network, config)
    del monitor
    if blob is None:
        return errors or ["the builder gave no reason"]
    with Path(asked["output"]).open("wb") as stream:
        stream.write(blob)
        stream.flush()
        os.fsync(stream.fileno())
    if timings is not None:
        timings.write_bytes(bytes(config.get_timing_cache().serialize()))
    return []


def _logger(trt: Any, errors: list[str]) -> Any:
    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                errors.append(message)

    return Logger()


def _monitor(trt: Any, tell: Tell) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Steps of the outermost phase, each filled by the phase within it."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._outer, self._inner = "", ""
            self._steps = {"": 1}
            self._done = self._told = 0.0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = max(1, steps)
            if parent is None:
                self._outer, self._done = phase, 0.0
            elif parent == self._outer:
                self._inner = phase

        def step_complete(self, phase: str, step: int) -> bool:
            share = (step + 1) / self._steps.get(phase, 1)
            if phase == self._outer:
                self._done = share
            elif phase == self._inner:
                share = self._done + share / self._steps[self._outer]
            if share >= self._told + 0.01:
                self._told = share
                tell({"share": min(1.0, share), "text": phase})
            return True

        def phase_finish(self, phase: str) -> None:
            pass

    return Monitor()


def _load_timings(config: Any, asked: dict[str, Any]) -> Path | None:
    """Only the full one times kernels while it builds; in the other one these calls do nothing."""
    if asked["flavor"] == "tensorrt_rtx" or not asked["timing_cache"]:
        return None
    path = Path(asked["timing_cache"])
    held = path.read_bytes() if path.is_file() else b""
    config.set_timing_cache(config.create_timing_cache(held) or config.create_timing_cache(b""), False)
    return path


def main() -> int:
    asked = json.loads(sys.stdin.read())
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print; the channel is ours

    def tell(said: dict[str, Any]) -> None:
        print(json.dumps(said), file=channel, flush=True)

    try:
        errors = build(asked, tell)
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises it again
        errors = [f"our: {error}" if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tell({"errors": errors} if errors else {"done": True, "peak_mb": peak})
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
