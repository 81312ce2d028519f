"""ONNX file → TensorRT engine, in a process of its own that is watched: its memory is bounded, its progress told, its errors have cures.

No torch, and no GPU where TensorRT for RTX builds. What TensorRT says in a thousand ways is one `EngineError` here. The process itself is
engine_compile.py.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..memory_lines import megabytes_of
from ..model.folder import file_facts
from .engine_manifest import EngineError, EngineManifest
from .tensorrt_flavor import RTX_CAPABILITIES

COMPILE = "ros2_emollama.runtime.engine_compile"
POLL_SECONDS = 0.1
SPARE_MB = 256.0  # of the machine's memory that a build leaves: on a Jetson the GPU takes from the same
PACKAGE_ROOT = Path(__file__).resolve().parents[2]

Progress = Callable[[float, str], None]
"""Called with the share that is done, from 0 to 1, and what is being done."""

OTHER_GRAPH = "export the model again for TensorRT, or use model.runtime onnxruntime"
CURES = (
    (("whole blocks", "block_size"), "quantise it again with a block size that divides every matrix (--block-size)"),
    (("out of memory", "outofmemory"), "free GPU memory, or build with a smaller --workspace-mb"),
    (
        ("no kernel image", "compute capability", "sm version"),
        "take the other flavor: tensorrt for a Jetson, tensorrt_rtx for a desktop card",
    ),
)
"""Words of TensorRT's → what helps."""


@dataclass(frozen=True)
class BuildRequest:
    """wanted        what the engine is for; its hash, size and costs are filled in
    capability    the target of TensorRT for RTX, like "8.9"; empty: all from Ampere on
    workspace_mb  scratch memory TensorRT may use on the GPU; 0: its own choice
    timing_cache  a file in which the full TensorRT keeps what it timed, so that the next build is quicker
    """

    source: Path
    output: Path
    wanted: EngineManifest
    capability: str = ""
    workspace_mb: int = 0
    timing_cache: Path | None = None


def build_engine(request: BuildRequest, *, memory_mb: float | None = None, progress: Progress = lambda share, text: None) -> EngineManifest:
    """Build, and put engine and manifest in their place when both are whole. EngineError with the cure; nothing is left behind then.

    memory_mb  what the building process may take; None: what is available
    """
    _check_capability(request)
    limit = available_mb() - SPARE_MB if memory_mb is None else memory_mb
    weights = _weights_mb(request.source)
    if limit < weights:
        raise EngineError(_memory_text(request, weights, limit, "at least"))
    started = time.monotonic()
    part = request.output.with_name(f"{request.output.name}.{os.getpid()}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _child(request, part) as child:
            peak = _follow(child, request, limit, progress)
        digest = file_facts(part)["sha256"]
        seconds = round(time.monotonic() - started, 2)
        made = dataclasses.replace(
            request.wanted, engine_sha256=digest, engine_bytes=part.stat().st_size, build_seconds=seconds, peak_mb=round(peak, 1)
        )
        _put(part, request.output, made)
        return made
    finally:
        part.unlink(missing_ok=True)


def manifest_path(engine: Path) -> Path:
    return engine.with_name(f"{engine.name}.json")


def _put(part: Path, engine: Path, made: EngineManifest) -> None:
    """Engine first: one whose manifest is missing or of another is never run."""
    text = manifest_path(part)
    text.write_text(made.to_json(), encoding="utf-8")
    part.replace(engine)
    text.replace(manifest_path(engine))


def _check_capability(request: BuildRequest) -> None:
    if request.wanted.flavor != "tensorrt_rtx" or not request.capability or request.capability in RTX_CAPABILITIES:
        return
    known = ", ".join(RTX_CAPABILITIES)
    raise EngineError(
        f"TensorRT for RTX makes no engines for compute capability {request.capability} (it does for {known}); "
        "use --flavor tensorrt, which a Jetson has from JetPack"
    )


def _weights_mb(source: Path) -> float:
    beside = [path for path in source.parent.glob(f"{source.name}*") if path.is_file()] if source.parent.is_dir() else []
    return sum(path.stat().st_size for path in beside) / 1e6


def available_mb() -> float:
    """MemAvailable; infinite where the kernel does not say."""
    return megabytes_of(Path("/proc/meminfo")).get("MemAvailable", float("inf"))


def _memory_text(request: BuildRequest, needed: float, limit: float, how: str) -> str:
    cure = "close other programs, raise --memory-mb, or add swap; an engine for another machine can be built there only"
    return f"building {request.output.name} takes {how} {needed:.0f} MB, {limit:.0f} MB may be taken; {cure}"


@contextmanager
def _child(request: BuildRequest, part: Path) -> Iterator[subprocess.Popen[str]]:
    """The building process; ended, whatever happens."""
    asked = {
        "flavor": request.wanted.flavor,
        "source": str(request.source),
        "output": str(part),
        "profiles": request.wanted.profiles,
        "capability": request.capability,
        "workspace_mb": request.workspace_mb,
        "timing_cache": str(request.timing_cache or ""),
    }
    search = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH", "")]))
    environ = {**os.environ, "PYTHONPATH": search}
    command, pipe = [sys.executable, "-m", COMPILE], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environ) as child:
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(asked))
            child.stdin.close()
            yield child
        finally:
            child.kill()


def _follow(child: subprocess.Popen[str], request: BuildRequest, limit: float, progress: Progress) -> float:
    """Wait for the child, telling its progress; its largest memory in MB. EngineError where it fails or takes too much."""
    answer: dict[str, Any] = {}

    def listen() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            said = json.loads(line)
            if "share" in said:
                progress(said["share"], said["text"])
            else:
                answer.update(said)

    listener = threading.Thread(target=listen, name="engine-build", daemon=True)
    listener.start()
    peak = 0.0
    while child.poll() is None:
        listener.join(POLL_SECONDS) if listener.is_alive() else time.sleep(POLL_SECONDS)
        peak = max(peak, _taken_mb(child.pid))
        if peak > limit or available_mb() < SPARE_MB / 2:
            child.kill()
            raise EngineError(_memory_text(request, peak, limit, "more than"))
    listener.join()
    if answer.get("done"):
        return max(peak, float(answer["peak_mb"]))
    raise EngineError(refusal(request.output.name, request.wanted, answer.get("errors") or [f"the process ended with {child.returncode}"]))


def _taken_mb(pid: int) -> float:
    """Resident and swapped memory of a process."""
    told = megabytes_of(Path(f"/proc/{pid}/status"))
    return told.get("VmRSS", 0.0) + told.get("VmSwap", 0.0)


def refusal(what: str, wanted: EngineManifest, errors: list[str]) -> str:
    """What TensorRT said, and the cure."""
    said = " | ".join(dict.fromkeys(" ".join(error.split())[:300] for error in errors[:3]))
    if len(errors) == 1 and errors[0].startswith("our: "):
        return f"{what} cannot be built: {errors[0][5:]}"
    low = said.lower()
    cure = next((cure for words, cure in CURES if any(word in low for word in words)), OTHER_GRAPH)
    return f"{what} cannot be built: {wanted.flavor} {wanted.tensorrt} refuses its graph: {said}; {cure}"
