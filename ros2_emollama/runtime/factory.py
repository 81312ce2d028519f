"""Name of a runtime → the runtime, or an error that says what to install."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ..model.folder import ModelFolder
from .base import Encoders, LlamaSession, RuntimeUnavailable
from .gpu import find_gpu

logger = logging.getLogger(__name__)

Opened = tuple[Encoders, "LlamaSession | None"]

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
    wanted = with_language and bool(folder.manifest.language)
    if name == "auto":
        return _open_fastest(folder, threads, wanted, engines)
    openers: dict[str, Callable[[], Opened]] = {
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


def _open_fastest(folder: ModelFolder, threads: int, wanted: bool, engines: Path | None) -> Opened:
    """TensorRT, CUDA, CPU. With a GPU here, each that is passed over is a warning."""
    gpu = find_gpu()
    if gpu is not None:
        try:
            return open_runtime(folder, "tensorrt", threads, wanted, engines)
        except RuntimeUnavailable as error:
            logger.warning("TensorRT does not serve: %s", error)
    opened = open_runtime(folder, "onnxruntime", threads, wanted)
    if gpu is not None and opened[0].name.endswith(":CPUExecutionProvider"):
        logger.warning("there is a GPU, %s, and all runs on the CPU; %s", gpu, INSTALL["onnxruntime_cuda"])
    return opened


def _open_tensorrt(folder: ModelFolder, threads: int, wanted: bool, engines: Path | None) -> Opened:
    """ONNX Runtime serves while engines are built, and where one fails."""
    from .engine_serving import open_tensorrt
    from .onnx_runtime import OnnxEncoders, OnnxLlama

    open_llama = (lambda: OnnxLlama(folder, threads)) if wanted else None
    return open_tensorrt(folder, engines, lambda: OnnxEncoders(folder, threads), open_llama)


def _open_onnx(folder: ModelFolder, threads: int, wanted: bool, provider: str = "") -> Opened:
    """provider  what the encoders must run on; the language model too, but for TensorRT, which has no operators for its graph."""
    from .onnx_runtime import CPU, CUDA, PREFERRED, TENSORRT, OnnxEncoders, OnnxLlama, providers

    chain = {TENSORRT: (TENSORRT, CUDA, CPU), CUDA: (CUDA, CPU)}.get(provider, PREFERRED)
    if provider and provider not in providers(chain):
        raise RuntimeUnavailable(f"this ONNX Runtime has no {provider}; install one that has: {INSTALL['onnxruntime_cuda']}")
    encoders = OnnxEncoders(folder, threads, chain)
    if provider and not encoders.name.endswith(f":{provider}"):
        missing = "TensorRT 10, CUDA and cuDNN" if provider == TENSORRT else "CUDA and cuDNN"
        cure = f"see that the driver and {missing} are of the versions it was built for (emollama doctor), or set model.runtime to auto"
        raise RuntimeUnavailable(f"{provider} was asked for and the session runs on {encoders.name}; {cure}")
    return encoders, OnnxLlama(folder, threads, [entry for entry in chain if entry != TENSORRT]) if wanted else None


def _open_torch(folder: ModelFolder, threads: int, wanted: bool) -> Opened:
    from .torch_runtime import TorchEncoders, TorchLlama

    return TorchEncoders(folder, threads), TorchLlama(folder, threads) if wanted else None
