"""Engines against ONNX Runtime on the CPU, on the same drawn inputs. Needs the GPU.

Inputs are drawn from a fixed seed, so two machines compare the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..model.graphs import GraphSpec, free_sizes
from ..model.presets import Preset
from ..types import Float32
from .base import Encoders, LlamaSession
from .onnx_runtime import CPU, OnnxEncoders, open_session

LIMIT = 0.02  # of an output's largest value: what halves and TF32 products leave of it
PROMPT, DECODED = 40, 4  # positions


@dataclass(frozen=True)
class Checked:
    """`share`: the largest difference, as a share of the output's largest value."""

    graph: str
    output: str
    share: float

    @property
    def good(self) -> bool:
        return self.share <= LIMIT

    @property
    def text(self) -> str:
        return f"{self.graph}.{self.output}: differs by {self.share:.2e} of its range{'' if self.good else f', MORE than {LIMIT:g}'}"


def drawn_inputs(spec: GraphSpec, preset: Preset, seed: int = 0) -> dict[str, Any]:
    """Inputs of a graph; its free sizes are two, or the least that an engine of it takes."""
    rng, sizes = np.random.default_rng(seed), free_sizes(preset)
    made: dict[str, Any] = {}
    for tensor in spec.inputs:
        shape = [max(sizes[size][0], min(2, sizes[size][2])) if isinstance(size, str) else size for size in tensor.shape]
        made[tensor.name] = rng.integers(0, 256, shape, np.uint8) if tensor.dtype == "uint8" else rng.random(shape, np.float32)
    return made


def difference(found: Float32, expected: Float32) -> float:
    """Infinite where a value is not finite."""
    apart = float(np.abs(found - expected).max())
    return apart / max(1e-6, float(np.abs(expected).max())) if np.isfinite(apart) else float("inf")


def check_encoders(encoders: Encoders, reference: OnnxEncoders, specs: Mapping[str, GraphSpec], preset: Preset) -> Iterator[Checked]:
    for name, spec in specs.items():
        inputs = drawn_inputs(spec, preset)
        found, expected = encoders.run(name, inputs), reference.run(name, inputs)
        for output, value in expected.items():
            yield Checked(name, output, difference(found[output], value))


def check_llama(session: LlamaSession, graph: Path, hidden: int, threads: int = 1) -> Iterator[Checked]:
    """A prompt, and words after it one by one, against the same graph given all of it at once."""
    rows = np.random.default_rng(0).standard_normal((PROMPT + DECODED, hidden)).astype(np.float32) * 0.02
    reference = open_session(graph, threads, (CPU,))
    session.rewind(0)
    found = session.extend(rows[:PROMPT])
    yield Checked("llama", "prompt", difference(found, _at_once(reference, rows[:PROMPT])))
    for place in range(PROMPT, PROMPT + DECODED):
        found = session.extend(rows[place : place + 1])
    yield Checked("llama", "decoded", difference(found, _at_once(reference, rows)))
    session.rewind(0)


def _at_once(reference: Any, rows: Float32) -> Float32:
    count = rows.shape[0]
    feeds: dict[str, Any] = {
        "inputs_embeds": rows[None].astype(np.float16),
        "position_ids": np.arange(count, dtype=np.int64)[None],
        "attention_mask": np.ones((1, count), np.int64),
    }
    for item in reference.get_inputs():
        if item.name.startswith("past_key_values."):
            feeds[item.name] = np.zeros([0 if isinstance(size, str) else size for size in item.shape], np.float16)
    logits: Float32 = reference.run(["logits"], feeds)[0][0, -1].astype(np.float32)
    return logits
