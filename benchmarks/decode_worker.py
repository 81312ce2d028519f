"""One engine in a process of its own, asked line by line in JSON, so that engines can take turns.

    {"prefill": [ids], "decode": n} → {"prefill_seconds", "token_seconds": [n], "logits_sum"}
    {"logits": [ids]} → {"logits": [vocabulary]}        nothing → it ends
Greedy decoding, the likeliest token of each step goes into the next, as a user's loop does it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Engine(Protocol):
    def start(self, ids: Sequence[int]) -> np.ndarray:
        """Forget everything, take these ids in; logits after the last."""

    def step(self, token: int) -> np.ndarray:
        """Logits after one more."""


class OnnxRuntimeEngine:
    """Our own session on a model folder."""

    def __init__(self, model: Path, threads: int, context: int) -> None:
        from ros2_emollama.model.folder import open_folder
        from ros2_emollama.runtime.onnx_runtime import OnnxLlama

        self._session = OnnxLlama(open_folder(model), threads)

    def start(self, ids: Sequence[int]) -> np.ndarray:
        self._session.rewind(0)
        return self._session.extend(self._session.embed(np.array(ids)))

    def step(self, token: int) -> np.ndarray:
        return self._session.extend(self._session.embed(np.array([token])))


class LlamaCppEngine:
    """llama.cpp through llama-cpp-python's own bindings."""

    def __init__(self, model: Path, threads: int, context: int) -> None:
        import llama_cpp

        self._lib: Any = llama_cpp
        self._quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)  # must outlive every call
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(str(model).encode(), llama_cpp.llama_model_default_params())
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = context, 512, 512
        settings.n_threads = settings.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._model or not self._context:
            raise SystemExit(f"llama.cpp cannot load {model}; write it again: python -m benchmarks.gguf_llama")
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._batch = llama_cpp.llama_batch_init(512, 0, 1)
        self._position = 0

    def start(self, ids: Sequence[int]) -> np.ndarray:
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), True)
        self._position = 0
        return self._decode(ids)

    def step(self, token: int) -> np.ndarray:
        return self._decode([token])

    def _decode(self, ids: Sequence[int]) -> np.ndarray:
        batch = self._batch
        batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            batch.token[place], batch.pos[place] = token, self._position + place
            batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, int(place == len(ids) - 1)
        if code := self._lib.llama_decode(self._context, batch):
            raise SystemExit(f"llama.cpp stopped with {code}")
        self._position += len(ids)
        row = self._lib.llama_get_logits_ith(self._context, len(ids) - 1)
        return np.ctypeslib.as_array(row, (self._vocabulary,)).copy()


ENGINES = {"onnxruntime": OnnxRuntimeEngine, "llama.cpp": LlamaCppEngine}


def answer(engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
    if "logits" in asked:
        return {"logits": engine.start(asked["logits"]).tolist()}
    begun = time.perf_counter()
    logits = engine.start(asked["prefill"])
    prefill, seconds = time.perf_counter() - begun, []
    for _ in range(asked["decode"]):
        begun = time.perf_counter()
        logits = engine.step(int(logits.argmax()))
        seconds.append(time.perf_counter() - begun)
    return {"prefill_seconds": prefill, "token_seconds": seconds, "logits_sum": float(logits.sum())}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode_worker", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, default=1024)
    arguments = parser.parse_args()
    begun = time.perf_counter()
    engine = ENGINES[arguments.engine](arguments.model, arguments.threads, arguments.context)
    print(json.dumps({"load_seconds": time.perf_counter() - begun}), flush=True)
    for line in sys.stdin:
        found = answer(engine, json.loads(line))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kilobytes on Linux
        print(json.dumps({**found, "peak_gb": peak}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
