"""TensorRT: the encoders' engines, and LLaMA with a KV cache whose room grows in steps so that decoding is one CUDA graph. No torch.

The cache of a layer holds `room` positions, a whole number of steps, of which the mask calls the first `position` real. An engine answers
with past and new ones together; the new rows are copied behind the past ones, wherever that is, so going back is forgetting a number.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..model.folder import ModelFolder
from ..model.graphs import graph_specs
from ..model.streams import LlamaPreset
from ..types import Float32, Int64
from .base import Tensors, check_inputs, check_room
from .cuda import CudaError
from .engine_manifest import EngineError
from .engine_profiles import LONGEST_CHUNK, past_room
from .engine_runner import Context, Device, EngineRunner, LoadedEngine, address_of, stage, view
from .tensorrt_flavor import Flavor

logger = logging.getLogger(__name__)

PREFILL, DECODE = 0, 1  # optimisation profiles, as engine_profiles.language_profiles has them


class TensorRtEncoders:
    """The encoder graphs of one folder, an engine each."""

    def __init__(self, folder: ModelFolder, engines: Mapping[str, LoadedEngine], flavor: Flavor, device: Device) -> None:
        self._specs = graph_specs(folder.preset)
        self._runners = {name: EngineRunner(engines[name], flavor, device) for name in self._specs}
        self._name = f"{flavor.name}:{flavor.version}"

    @property
    def name(self) -> str:
        return self._name

    def run(self, graph: str, inputs: Tensors) -> dict[str, Float32]:
        """See `base.Encoders.run`."""
        check_inputs(self._specs[graph], inputs)
        found = self._runners[graph].run(inputs)
        return {name: np.asarray(value, np.float32) for name, value in found.items()}


class TensorRtLlama:
    """An engine of the graph that engine_profiles.py describes. EngineError where the GPU has no room for its cache."""

    def __init__(self, engine: LoadedEngine, table: npt.NDArray[Any], preset: LlamaPreset, flavor: Flavor, device: Device) -> None:
        self._table, self._preset, self._device = table, preset, device
        self._prefill = Context(engine, flavor, device, PREFILL)
        self._decode = Context(engine, flavor, device, DECODE, shared=self._prefill.addresses)
        self._caches = [name for name in self._prefill.inputs if name.startswith("past_key_values.")]
        _, self._heads, _, self._head = self._prefill.largest[self._caches[0]]
        self._row = self._head * self._prefill.dtypes[self._caches[0]].itemsize  # bytes of one position of one head
        fed = ("inputs_embeds", "position_ids", "attention_mask")
        sizes = {name: self._prefill.size(name, self._prefill.largest[name]) for name in fed}
        self._host = {name: device.pinned(size) for name, size in sizes.items()}
        self._logits = device.pinned(preset.vocab * 4)
        self._position, self._room = 0, past_room(0)
        self._graph: tuple[int, int] | None = None  # room, captured graph
        self._can_capture = True
        for name in self._caches:  # what the mask hides must still be numbers: 0 · NaN is NaN
            device.clear(self._prefill.addresses[name], self._prefill.size(name, self._prefill.largest[name]))
        self._name = f"{flavor.name}:{flavor.version}"

    @property
    def name(self) -> str:
        return self._name

    @property
    def position(self) -> int:
        return self._position

    def embed(self, token_ids: Int64) -> Float32:
        """See `base.LlamaSession.embed`. IndexError for an id outside the vocabulary."""
        return np.asarray(self._table[token_ids], np.float32)

    def extend(self, embeddings: Float32) -> Float32:
        """See `base.LlamaSession.extend`."""
        if embeddings.shape[1:] != (self._preset.hidden,) or embeddings.shape[0] == 0:
            raise ValueError(f"extend takes (T, {self._preset.hidden}) embeddings, T at least 1, got {embeddings.shape}")
        check_room(self._position, embeddings.shape[0], self._preset.context)
        self._device.enter()
        longest = min(LONGEST_CHUNK, self._preset.context)
        for start in range(0, embeddings.shape[0], longest):
            self._step(embeddings[start : start + longest])
        return self._read_logits()

    def rewind(self, position: int) -> None:
        """See `base.LlamaSession.rewind`."""
        if not 0 <= position <= self._position:
            raise ValueError(f"cannot rewind to {position}: the cache holds {self._position} positions")
        self._position = position

    def _step(self, embeddings: Float32) -> None:
        """One pass: up to LONGEST_CHUNK new positions."""
        new = embeddings.shape[0]
        self._make_room(past_room(self._position + new))
        mask = np.zeros((1, self._room + new), np.int64)
        mask[0, : self._position] = mask[0, self._room :] = 1
        places = np.arange(self._position, self._position + new, dtype=np.int64)[None]
        self._feed({"inputs_embeds": embeddings[None], "position_ids": places, "attention_mask": mask})
        self._run(new)
        for name in self._caches:
            self._keep(name, new)
        self._position += new

    def _feed(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        self._device.wait()  # the piece before may still be copied from the same pinned memory
        for name, array in arrays.items():
            stage(self._host[name], array, self._prefill.dtypes[name])
            self._device.copy(self._prefill.addresses[name], address_of(self._host[name]), self._prefill.size(name, array.shape))

    def _run(self, new: int) -> None:
        self._used = self._decode if new == 1 else self._prefill
        if new == 1 and self._graph and self._graph[0] == self._room:
            self._device.launch(self._graph[1])
            return
        cache = (1, self._heads, self._room, self._head)
        shapes = {"inputs_embeds": (1, new, self._preset.hidden), "position_ids": (1, new), "attention_mask": (1, self._room + new)}
        self._used.shape_inputs({**shapes, **dict.fromkeys(self._caches, cache)})
        self._used.execute()
        if new == 1 and self._can_capture:
            self._capture()

    def _capture(self) -> None:
        """Keep decoding at this room as a graph; what was just run stands. An engine that cannot be captured is enqueued each time."""
        self._device.wait()
        self._decode.keep_kernels()
        if self._graph:
            self._device.forget(self._graph[1])
            self._graph = None
        try:
            with self._device.capture() as kept:
                self._decode.execute()
            self._graph = (self._room, kept[0])
        except (CudaError, EngineError) as error:
            self._can_capture = False
            logger.warning("decoding goes on without a CUDA graph: %s", error)

    def _keep(self, name: str, new: int) -> None:
        """Copy the new rows of every head behind the past ones."""
        past, present = self._used.addresses[name], self._used.addresses[name.replace("past_key_values", "present")]
        row, total = self._row, self._room + new
        target, source = past + self._position * row, present + self._room * row
        self._device.copy_rows(target, self._room * row, source, total * row, new * row, self._heads)

    def _make_room(self, room: int) -> None:
        """Lay the caches out for another number of positions; by way of the answer's buffer, which is free between two passes."""
        if room == self._room:
            return
        row, held, heads = self._row, min(self._position, room), self._heads
        for name in self._caches:
            past = self._prefill.addresses[name]
            other = self._prefill.addresses[name.replace("past_key_values", "present")]
            if held:
                self._device.copy_rows(other, held * row, past, self._room * row, held * row, heads)
            self._device.clear(past, room * row * heads)
            if held:
                self._device.copy_rows(past, room * row, other, held * row, held * row, heads)
        self._room = room

    def _read_logits(self) -> Float32:
        """Of the last position, however many the engine gives."""
        dtype, shape = self._used.dtypes["logits"], self._used.shape_of("logits")
        size = shape[-1] * dtype.itemsize
        source = self._used.addresses["logits"] + (shape[1] - 1) * size
        self._device.copy(address_of(self._logits), source, size)
        self._device.wait()
        return view(self._logits, (shape[-1],), dtype).astype(np.float32)
