"""What an engine is made for, kept beside it as JSON: an engine is only run where every word of it holds.

GRAPH.engine            what TensorRT loads
GRAPH.engine.json       this
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .gpu import Gpu
from .tensorrt_flavor import RTX_CAPABILITIES

FORMAT = 1
ENGINE, MANIFEST = ".engine", ".engine.json"
SHAPES = ("min", "opt", "max")

Profile = Mapping[str, Sequence[Sequence[int]]]
"""Input → its (min, opt, max) shape."""


class EngineError(RuntimeError):
    """An engine cannot be built or must not be run; the message says which, why, and ends with the cure."""


@dataclass(frozen=True)
class EngineManifest:
    """profiles     input → its least, likeliest and largest shape, one table a profile
    gpu, capability  what it was built on; empty where there was none: then TensorRT for RTX made it for all from Ampere on
    source_sha256    of the ONNX file; model_id stands for the weights beside it
    """

    graph: str
    flavor: str
    tensorrt: str
    gpu: str
    capability: str
    driver: str
    model_id: str
    source_sha256: str
    profiles: tuple[dict[str, list[list[int]]], ...]
    engine_sha256: str = ""
    engine_bytes: int = 0
    build_seconds: float = 0.0
    peak_mb: float = 0.0
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def read_manifest(path: Path) -> EngineManifest:
    """EngineError where it is missing, damaged or of another format."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        if content.get("format") != FORMAT:
            raise EngineError(f"{path} is of format {content.get('format')!r}, this version reads {FORMAT}; build the engine again")
        return EngineManifest(**{**content, "profiles": tuple(content["profiles"])})
    except FileNotFoundError as error:
        raise EngineError(f"{path} is missing, so nothing says what the engine is made for; build it again") from error
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise EngineError(f"{path} cannot be read ({error}); build the engine again") from error


def mismatch(found: EngineManifest, wanted: EngineManifest, gpu: Gpu | None) -> str:
    """Why an engine must not be run for what is wanted on that GPU, in words; empty where it may be."""
    if (found.flavor, found.tensorrt) != (wanted.flavor, wanted.tensorrt):
        return f"it is of {found.flavor} {found.tensorrt}, installed is {wanted.flavor} {wanted.tensorrt}"
    if found.model_id != wanted.model_id or found.source_sha256 != wanted.source_sha256:
        return f"it was built from {found.graph} of {found.model_id}, the model is {wanted.model_id}"
    if list(found.profiles) != list(wanted.profiles):
        return "it was built for other shapes"
    return _gpu_mismatch(found, gpu) if gpu is not None else ""


def _gpu_mismatch(found: EngineManifest, gpu: Gpu) -> str:
    if found.flavor == "tensorrt_rtx":
        fits = found.capability == gpu.capability if found.capability else float(gpu.capability) >= 8.0
        fits = fits and gpu.capability in RTX_CAPABILITIES
    else:
        fits = (found.gpu, found.capability) == (gpu.name, gpu.capability)
    made_for = f"{found.gpu or 'any GPU'} {found.capability or 'from Ampere on'}"
    return "" if fits else f"it was built for {made_for}, this machine has {gpu.name} {gpu.capability}"
