"""TensorRT in service: engines that are there run at once; while the others are built ONNX Runtime serves, and hands over.

An engine that does not load is built once more; one that fails at work gives its place back to ONNX Runtime. Each of it is said in the log.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..model.folder import ModelFolder
from ..types import Float32, Int64
from .base import Encoders, LlamaSession, RuntimeUnavailable, Tensors
from .cuda import Cuda, CudaError
from .engine_cache import LLAMA, EngineCache, default_root
from .engine_manifest import EngineError
from .engine_runner import Device, load_engine
from .gpu import find_gpu
from .onnx_runtime import embedding_table
from .tensorrt_flavor import INSTALL, RTX_CAPABILITIES, find_flavor
from .tensorrt_runtime import TensorRtEncoders, TensorRtLlama

logger = logging.getLogger(__name__)

Made = TypeVar("Made")
HOW = "write it: python -m export.quantize_llama --help"
FAULTS = (CudaError, EngineError)


class ServedEncoders:
    """Whoever serves at the moment."""

    def __init__(self, fallback: Callable[[], Encoders], first: Encoders | None = None) -> None:
        self._fallback = fallback
        self._serving = first or fallback()

    @property
    def name(self) -> str:
        return self._serving.name

    def hand_over(self, encoders: Encoders) -> None:
        self._serving = encoders

    def run(self, graph: str, inputs: Tensors) -> dict[str, Float32]:
        """See `base.Encoders.run`."""
        serving = self._serving
        try:
            return serving.run(graph, inputs)
        except FAULTS as error:
            logger.error("%s failed at %s: %s; ONNX Runtime takes over", serving.name, graph, error)
            self._serving = self._fallback()
            return self._serving.run(graph, inputs)


class ServedLlama:
    """Whoever serves at the moment. What the cache holds is remembered, so that another can be given it."""

    def __init__(self, fallback: Callable[[], LlamaSession], context: int, hidden: int, first: LlamaSession | None = None) -> None:
        self._fallback = fallback
        self._serving = first or fallback()
        self._next: LlamaSession | None = None
        self._held = np.zeros((context, hidden), np.float32)
        self._position = 0

    @property
    def name(self) -> str:
        return self._serving.name

    @property
    def position(self) -> int:
        return self._position

    def hand_over(self, session: LlamaSession) -> None:
        """From any thread; it takes over at the next `extend`."""
        self._next = session

    def embed(self, token_ids: Int64) -> Float32:
        """See `base.LlamaSession.embed`."""
        return self._serving.embed(token_ids)

    def extend(self, embeddings: Float32) -> Float32:
        """See `base.LlamaSession.extend`."""
        if self._next is not None:
            self._serving, self._next = self._next, None
            self._catch_up()
        try:
            logits = self._serving.extend(embeddings)
        except FAULTS as error:
            logger.error("%s failed: %s; ONNX Runtime takes over", self.name, error)
            self._serving = self._fallback()
            self._catch_up()
            logits = self._serving.extend(embeddings)
        length = embeddings.shape[0]
        self._held[self._position : self._position + length] = embeddings
        self._position += length
        return logits

    def _catch_up(self) -> None:
        self._serving.rewind(0)
        if self._position:
            self._serving.extend(self._held[: self._position])

    def rewind(self, position: int) -> None:
        """See `base.LlamaSession.rewind`."""
        if self._next is None:
            self._serving.rewind(position)
        elif not 0 <= position <= self._position:
            raise ValueError(f"cannot rewind to {position}: the cache holds {self._position} positions")
        self._position = position


def open_tensorrt(
    folder: ModelFolder,
    root: Path | None,
    open_encoders: Callable[[], Encoders] | None,
    open_llama: Callable[[], LlamaSession] | None,
) -> tuple[ServedEncoders | None, ServedLlama | None]:
    """Encoders and language model; engines that are missing are built on a thread meanwhile.

    root                       folder of engines; None: below the user's cache folder
    open_encoders, open_llama  what serves until then, or when an engine fails; None: that part is not wanted
    RuntimeUnavailable with the cure where there is no TensorRT, no GPU, or one that this TensorRT makes no engines for.
    """
    flavor, gpu = find_flavor(), find_gpu()
    if gpu is None:
        cure = "install its driver (see: nvidia-smi), or set model.runtime to onnxruntime"
        raise RuntimeUnavailable(f"{flavor.name} {flavor.version} is here and no NVIDIA GPU answers; {cure}")
    if flavor.is_rtx and gpu.capability not in RTX_CAPABILITIES:
        raise RuntimeUnavailable(f"TensorRT for RTX has no target for {gpu}; install the full one: {INSTALL['tensorrt']}")
    try:
        return serve(EngineCache(folder, flavor, gpu, root or default_root(folder, flavor, gpu)), Cuda, open_encoders, open_llama)
    except FAULTS as error:
        raise RuntimeUnavailable(str(error)) from error


def serve(
    cache: EngineCache,
    new_device: Callable[[], Device],
    open_encoders: Callable[[], Encoders] | None,
    open_llama: Callable[[], LlamaSession] | None,
) -> tuple[ServedEncoders | None, ServedLlama | None]:
    """What is ready serves at once; the rest is built on a thread of its own, encoders first.

    new_device  makes a device with a stream of its own: encoders and language model run on threads of their own
    """
    graphs, preset = [name for name in cache.graphs if name != LLAMA], cache.folder.preset.llama
    waiting = [name for name in cache.graphs if not cache.find(name) and (open_llama if name == LLAMA else open_encoders)]
    encoders = llama = None
    if open_encoders:
        first = None if set(waiting) & set(graphs) else _tried(lambda: encoders_of(cache, new_device()))
        encoders = ServedEncoders(open_encoders, first)
    if open_llama:
        speaks = LLAMA in cache.graphs
        if not speaks:
            logger.warning(
                "%s: ONNX Runtime runs the language model, it is not there in the form TensorRT takes; %s", cache.folder.root, HOW
            )
        session = _tried(lambda: llama_of(cache, new_device())) if speaks and LLAMA not in waiting else None
        llama = ServedLlama(open_llama, preset.context, preset.hidden, session)
    if waiting:
        logger.warning("building engines of %s in %s; ONNX Runtime serves meanwhile", ", ".join(waiting), cache.root)
        threading.Thread(target=_build, args=(cache, new_device, waiting, encoders, llama), name="engines", daemon=True).start()
    return encoders, llama


def _build(
    cache: EngineCache, new_device: Callable[[], Device], waiting: list[str], encoders: ServedEncoders | None, llama: ServedLlama | None
) -> None:
    if set(waiting) != {LLAMA} and encoders is not None and (made := _tried(lambda: encoders_of(cache, new_device()))):
        encoders.hand_over(made)
        logger.warning("encoders are handed over to %s", made.name)
    if LLAMA in waiting and llama is not None and (session := _tried(lambda: llama_of(cache, new_device()))):
        llama.hand_over(session)
        logger.warning("the language model is handed over to %s", session.name)


def _tried(make: Callable[[], Made]) -> Made | None:
    try:
        return make()
    except FAULTS as error:
        logger.error("TensorRT cannot serve, ONNX Runtime does: %s", error)
        return None


def encoders_of(cache: EngineCache, device: Device) -> TensorRtEncoders:
    """Every engine, found or built now. EngineError where one cannot be."""
    engines = {name: load(cache, name, device) for name in cache.graphs if name != LLAMA}
    return TensorRtEncoders(cache.folder, engines, cache.flavor, device)


def llama_of(cache: EngineCache, device: Device) -> TensorRtLlama:
    """As `encoders_of`."""
    preset = cache.folder.preset.llama
    table = embedding_table(cache.folder.language("embeddings"), preset.hidden)
    return TensorRtLlama(load(cache, LLAMA, device), table, preset, cache.flavor, device)


def load(cache: EngineCache, graph: str, device: Device) -> Any:
    """An engine, ready to run. One that was there and that TensorRT does not take is built again, once."""
    _, built = cache.obtain(graph)
    try:
        return load_engine(cache.engine(graph), cache.flavor, device)
    except EngineError as error:
        if built:
            raise
        cache.put_aside(graph, str(error))
    cache.obtain(graph)
    return load_engine(cache.engine(graph), cache.flavor, device)
