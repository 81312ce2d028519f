"""Name of a runtime → the runtime, or an error that says what to install."""

from __future__ import annotations

from ..model.folder import ModelFolder
from .base import Encoders, LlamaSession, RuntimeUnavailable

RUNTIMES = ("onnxruntime", "torch")


def open_runtime(
    folder: ModelFolder, name: str = "auto", threads: int = 1, with_language: bool = True
) -> tuple[Encoders, LlamaSession | None]:
    """Encoders, and the language model where it is wanted and the folder has one.

    name  "auto" (ONNX Runtime), "onnxruntime" or "torch". RuntimeUnavailable with the cure.
    """
    wanted = with_language and bool(folder.manifest.language)
    try:
        if name in ("auto", "onnxruntime"):
            from .onnx_runtime import OnnxEncoders, OnnxLlama

            return OnnxEncoders(folder, threads), OnnxLlama(folder, threads) if wanted else None
        if name == "torch":
            from .torch_runtime import TorchEncoders, TorchLlama

            return TorchEncoders(folder, threads), TorchLlama(folder, threads) if wanted else None
    except ImportError as error:
        cure = {"torch": "pip install torch transformers"}.get(name, "pip install onnxruntime safetensors")
        raise RuntimeUnavailable(f"runtime {name} cannot be loaded ({error}); install it: {cure}") from error
    raise RuntimeUnavailable(f"no runtime {name!r}; choose auto, {' or '.join(RUNTIMES)}")
