"""Name of a runtime → the runtime, or an error that says what to install."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..model.folder import ModelFolder
from .base import Encoders, LlamaSession, RuntimeUnavailable
from .gpu import find_gpu

logger = logging.getLogger(__name__)

Opened = tuple[Encoders, "LlamaSession | None"]
_Parts = tuple["Encoders | None", "LlamaSession | None"]


class Wanted(NamedTuple):
    """Which parts of a model are to be opened."""

    encoders: bool
    language: bool


RUNTIMES = ("tensorrt", "onnxruntime_tensorrt", "onnxruntime_cuda", "onnxruntime", "torch")
INSTALL = {
    "torch": "pip install torch transformers",
    "onnxruntime_tensorrt": "pip uninstall onnxruntime && pip install onnxruntime-gpu",
    "onnxruntime_cuda": "pip uninstall onnxruntime && pip install onnxruntime-gpu",
}


def open_runtime(
    folder: ModelFolder, name: str = "auto", threads: int = 1, with_language: bool = True, engines: Path | None = None
) -> Opened:
    """Encoders, and the language model where it is wanted and the folder has one.

    name     one of RUNTIMES, or "auto": TensorRT where it is installed and there is a GPU, else ONNX Runtime on the GPU, else on the CPU
    engines  folder of TensorRT engines; None: below the user's cache folder
    RuntimeUnavailable with the cure. A runtime asked for by name is got or refused, never replaced in silence.
    """
    encoders, session = _open(folder, name, threads, Wanted(True, with_language and bool(folder.manifest.language)), engines)
    assert encoders is not None
    return encoders, session


def open_language(folder: ModelFolder, name: str = "auto", threads: int = 1, engines: Path | None = None) -> LlamaSession:
    """The language model alone, as `open_runtime` opens it; the folder need not hold the encoders' files. RuntimeUnavailable too where
    the folder has none."""
    if not folder.manifest.language:
        raise RuntimeUnavailable(f"{folder.root} has no language model; make it: python -m export.quantize_llama --help")
    _, session = _open(folder, name, threads, Wanted(False, True), engines)
    assert session is not None
    return session


def _open(folder: ModelFolder, name: str, threads: int, wanted: Wanted, engines: Path | None) -> _Parts:
    if name == "auto":
        return _open_fastest(folder, threads, wanted, engines)
    openers: dict[str, Callable[[], _Parts]] = {
        "tensorrt": lambda: _open_tensorrt(folder, threads, wanted, engines),
        "onnxruntime_tensorrt": lambda: _open_onnx(folder, threads, wanted, "TensorrtExecutionProvider"),
        "onnxruntime_cuda": lambda: _open_onnx(folder, threads, wanted, "CUDAExecutionProvider"),
        "onnxruntime": lambda: _open_onnx(folder, threads, wanted),
        "torch": lambda: _open_torch(folder, threads, wanted),
    }
    if name not in openers:
        raise RuntimeUnavailable(f"no runtime {name!r}; choose auto, {', '.join(RUNTIMES[:-1])} or {RUNTIMES[-1]}")
    try:
        return openers[name]()
    except ImportError as error:
        cure = INSTALL.get(name, "pip install onnxruntime safetensors")
        raise RuntimeUnavailable(f"runtime {name} cannot be loaded ({error}); install it: {cure}") from error


def _open_fastest(folder: ModelFolder, threads: int, wanted: Wanted, engines: Path | None) -> _Parts:
    """TensorRT, CUDA, CPU. With a GPU here, each that is passed over is a warning."""
    gpu = find_gpu()
    if gpu is not None:
        try:
            return _open(folder, "tensorrt", threads, wanted, engines)
        except RuntimeUnavailable as error:
            logger.warning("TensorRT does not serve: %s", error)
    opened = _open(folder, "onnxruntime", threads, wanted, engines)
    if gpu is not None and _got(opened).endswith(":CPUExecutionProvider"):
        logger.warning("there is a GPU, %s, and all runs on the CPU; %s", gpu, INSTALL["onnxruntime_cuda"])
    return opened


def _got(opened: _Parts) -> str:
    """What really runs."""
    part = opened[0] or opened[1]
    assert part is not None
    return part.name


def _open_tensorrt(folder: ModelFolder, threads: int, wanted: Wanted, engines: Path | None) -> _Parts:
    """ONNX Runtime serves while engines are built, and where one fails."""
    from .engine_serving import open_tensorrt
    from .onnx_runtime import OnnxEncoders, OnnxLlama

    open_encoders = (lambda: OnnxEncoders(folder, threads)) if wanted.encoders else None
    open_llama = (lambda: OnnxLlama(folder, threads)) if wanted.language else None
    return open_tensorrt(folder, engines, open_encoders, open_llama)


def _open_onnx(folder: ModelFolder, threads: int, wanted: Wanted, provider: str = "") -> _Parts:
    """provider  what the model must run on. TensorRT has no operators for the language model's graph: CUDA runs that one."""
    from .onnx_runtime import CPU, CUDA, PREFERRED, TENSORRT, OnnxEncoders, OnnxLlama, providers

    chain = {TENSORRT: (TENSORRT, CUDA, CPU), CUDA: (CUDA, CPU)}.get(provider, PREFERRED)
    if provider and provider not in providers(chain):
        raise RuntimeUnavailable(f"this ONNX Runtime has no {provider}; install one that has: {INSTALL['onnxruntime_cuda']}")
    encoders = OnnxEncoders(folder, threads, chain) if wanted.encoders else None
    _insist(encoders, provider, "TensorRT 10, CUDA and cuDNN" if provider == TENSORRT else "CUDA and cuDNN")
    llama = OnnxLlama(folder, threads, [entry for entry in chain if entry != TENSORRT]) if wanted.language else None
    _insist(llama, CUDA if provider else "", "CUDA and cuDNN")
    return encoders, llama


def _insist(part: Encoders | LlamaSession | None, provider: str, needs: str) -> None:
    """RuntimeUnavailable where a part runs on something else than was asked for; `provider` empty: anything is good."""
    if part is not None and provider and not part.name.endswith(f":{provider}"):
        cure = f"see that the driver and {needs} are of the versions it was built for (emollama doctor), or set model.runtime to auto"
        raise RuntimeUnavailable(f"{provider} was asked for and the session runs on {part.name}; {cure}")


def _open_torch(folder: ModelFolder, threads: int, wanted: Wanted) -> _Parts:
    from .torch_runtime import TorchEncoders, TorchLlama

    encoders = TorchEncoders(folder, threads) if wanted.encoders else None
    return encoders, TorchLlama(folder, threads) if wanted.language else None
