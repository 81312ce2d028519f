"""One way to run a model, in a process of its own: what it says to drawn inputs, and how long it takes. Started by gpu_check.py.

Prints one line of JSON: {"had": false, "why"} where this machine cannot, else the figures; outputs lie in an .npz file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ros2_emollama.model.folder import ModelFolder, ModelFolderError, open_folder
from ros2_emollama.model.graphs import graph_specs
from ros2_emollama.model.sizes import prompt_positions
from ros2_emollama.runtime.base import Encoders, LlamaSession, RuntimeUnavailable
from ros2_emollama.runtime.engine_check import drawn_inputs
from ros2_emollama.runtime.factory import open_runtime
from ros2_emollama.runtime.gpu import free_memory

from .memory import run_language, run_window

HALF_ROLE = "half"  # of the language model's graph in float16, among a manifest's language files
Opened = tuple[Encoders, "LlamaSession | None"]


def with_half(folder: ModelFolder) -> ModelFolder:
    """The same folder, its language graph the one in half floats. RuntimeUnavailable where there is none."""
    language = folder.manifest.language
    if folder.manifest.info.get("language_half"):
        return folder
    if HALF_ROLE not in language:
        raise RuntimeUnavailable(
            f"{folder.root} has no language graph in half floats, which CUDA's kernels need, and no weights to make one of; "
            "quantise it anew: python -m export.quantize_llama --half"
        )
    return ModelFolder(folder.root, dataclasses.replace(folder.manifest, language={**language, "graph": language[HALF_ROLE]}))


def open_reference(folder: ModelFolder) -> Opened:
    """ONNX Runtime on the CPU, whatever else there is."""
    from ros2_emollama.runtime.onnx_runtime import CPU, OnnxEncoders, OnnxLlama

    return OnnxEncoders(folder, wanted=(CPU,)), OnnxLlama(folder, wanted=(CPU,)) if "graph" in folder.manifest.language else None


def open_cuda(folder: ModelFolder) -> Opened:
    speaks = "graph" in folder.manifest.language
    return open_runtime(with_half(folder) if speaks else folder, "onnxruntime_cuda", with_language=speaks)


def open_engines(folder: ModelFolder) -> Opened:
    """Engines alone, built now where they are missing: nobody stands in for them."""
    from ros2_emollama.runtime.cuda import Cuda
    from ros2_emollama.runtime.engine_cache import LLAMA, EngineCache, default_root
    from ros2_emollama.runtime.engine_serving import encoders_of, llama_of
    from ros2_emollama.runtime.gpu import find_gpu
    from ros2_emollama.runtime.tensorrt_flavor import find_flavor

    flavor, gpu = find_flavor(), find_gpu()
    if gpu is None:
        raise RuntimeUnavailable(f"{flavor.name} {flavor.version} is here and no NVIDIA GPU answers; install its driver (see: nvidia-smi)")
    cache, device = EngineCache(folder, flavor, gpu, default_root(folder, flavor, gpu)), Cuda()
    return encoders_of(cache, device), llama_of(cache, Cuda()) if LLAMA in cache.graphs else None


def open_torch(folder: ModelFolder, device: str = "cpu", half: bool = False) -> Opened:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailable(f"torch {torch.__version__} sees no GPU; install a build for CUDA, see pytorch.org")
    from ros2_emollama.runtime.torch_runtime import TorchEncoders, TorchLlama

    encoders = TorchEncoders(folder, device=device, half=half)
    return encoders, TorchLlama(folder, device=device, half=half) if "weights" in folder.manifest.language else None


OPENERS: dict[str, Callable[[ModelFolder], Opened]] = {
    "cpu": open_reference,
    "cpu_half": lambda folder: open_reference(with_half(folder)),
    "cuda": open_cuda,
    "tensorrt": open_engines,
    "torch": lambda folder: open_torch(folder, "cuda"),
    "torch_half": lambda folder: open_torch(folder, "cuda", half=True),
    "torch_cpu": lambda folder: open_torch(folder),
}
"""cpu is what all others are compared with, cpu_half the graph that CUDA gets; torch runs the network itself."""


def outputs_of(folder: ModelFolder, encoders: Encoders, session: LlamaSession | None) -> dict[str, Any]:
    """GRAPH.OUTPUT of every graph for drawn inputs, and llama.logits after a window's prompt of noise."""
    preset, found = folder.preset, {}
    for name, spec in graph_specs(preset).items():
        found |= {f"{name}.{output}": value for output, value in encoders.run(name, drawn_inputs(spec, preset)).items()}
    if session is not None:
        shape = (prompt_positions(preset), preset.llama.hidden)
        rows = 0.02 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        session.rewind(0)
        found["llama.logits"] = session.extend(rows)
        session.rewind(0)
    return found


def _median_ms(what: Callable[[], float], rounds: int) -> dict[str, float]:
    times = sorted(1e3 * what() for _ in range(rounds))
    return {"median": times[len(times) // 2], "most": times[-1]}


def figures(folder: ModelFolder, encoders: Encoders, session: LlamaSession | None, rounds: int, tokens: int) -> dict[str, Any]:
    """Times, after one round that warms up."""
    run_window(folder, encoders)
    told: dict[str, Any] = {
        "window_ms": _median_ms(lambda: run_window(folder, encoders), rounds),
        "hop_ms": _median_ms(lambda: run_window(folder, encoders, new_frames=1), rounds),
    }
    if session is not None:
        run_language(folder, session, 2)
        said = [run_language(folder, session, tokens) for _ in range(rounds)]
        told["first_token_ms"] = sorted(1e3 * one["first_token_seconds"] for one in said)[rounds // 2]
        told["tokens_per_second"] = sorted(one["tokens_per_second"] for one in said)[rounds // 2]
    return told


def work(provider: str, model: Path, outputs: Path, rounds: int, tokens: int) -> dict[str, Any]:
    """The line that is printed."""
    folder = open_folder(model)
    before, begun = free_memory(), time.perf_counter()
    try:
        encoders, session = OPENERS[provider](folder)
    except (ImportError, RuntimeError) as error:  # each of ours and of CUDA's; the text says what is lacking
        return {"had": False, "why": " ".join(str(error).split())}
    loaded = time.perf_counter() - begun
    np.savez(outputs, **outputs_of(folder, encoders, session))
    told = figures(folder, encoders, session, rounds, tokens)
    after = free_memory()
    taken = (before.bytes - after.bytes) / 2**20 if before and after and before.is_free else None
    runs_on = {"encoders": encoders.name, "language": session.name if session else None}
    return {"had": True, "runs_on": runs_on, "load_seconds": loaded, "gpu_mb": taken, **told}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_worker", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--provider", choices=OPENERS, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--outputs", type=Path, required=True, help=".npz to write")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32)
    arguments = parser.parse_args()
    try:
        told = work(arguments.provider, arguments.model, arguments.outputs, arguments.rounds, arguments.tokens)
    except (ModelFolderError, OSError, ValueError) as error:
        print(f"gpu_worker: {error}", file=sys.stderr)
        return 2
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
