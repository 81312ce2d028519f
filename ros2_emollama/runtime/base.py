"""What every runtime offers: graphs for the encoders, a session for the language model.

A runtime is a way to run a model folder (see model/folder.py). The names and shapes of the tensors are the graphs' own,
given once in model/graphs.py; typed calls on top of them are the pipeline's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ..model.graphs import GraphSpec
from ..types import Float32, Int64

Tensors = Mapping[str, npt.NDArray[np.generic]]


class RuntimeUnavailable(RuntimeError):
    """This machine cannot run that runtime; the message ends with the cure."""


def cache_folder() -> Path:
    """Where what can be made again is kept: $XDG_CACHE_HOME/emollama, by default ~/.cache/emollama."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emollama"


class Encoders(Protocol):
    """Runs the graphs frame_encoder, scene_encoder, audio_encoder and fusion."""

    @property
    def name(self) -> str:
        """What really runs, e.g. "onnxruntime:CPUExecutionProvider"."""

    def run(self, graph: str, inputs: Tensors) -> dict[str, Float32]:
        """Outputs of one graph by name. KeyError for an unknown graph, ValueError for a wrong shape or type."""


class LlamaSession(Protocol):
    """A LLaMA with one KV cache that grows at the end and can be cut back.

    Positions are absolute: after `extend` of T embeddings `position` has grown by T.
    """

    @property
    def name(self) -> str: ...

    @property
    def position(self) -> int:
        """Number of positions held in the KV cache."""

    def embed(self, token_ids: Int64) -> Float32:
        """(T,) token ids -> (T, hidden) embeddings."""

    def extend(self, embeddings: Float32) -> Float32:
        """Append (T, hidden) to the context; (vocab,) logits after the last. ValueError when the context would overflow."""

    def rewind(self, position: int) -> None:
        """Forget everything from `position` on. ValueError when it lies ahead."""


@runtime_checkable
class BranchingLlama(LlamaSession, Protocol):
    """A session that can also answer at several positions in one pass; a runtime that cannot lacks it, or says so in `branches`."""

    @property
    def branches(self) -> bool:
        """Whether this model's graph can; where not, `extend_tree` must not be called."""

    def extend_tree(self, embeddings: Float32, parents: Sequence[int]) -> Float32:
        """Append (T, hidden) of which each sees the context and its own ancestors only; (T, vocab) logits after each.

        parents  which of these T each one follows, always an earlier one; -1 for the context's end
        All T lie in the cache afterwards, in this order. Of a chain (-1, 0, 1, …) a first part may be kept with `rewind`; any other tree
        must be forgotten whole. ValueError when the context would overflow.
        """


def branching(session: LlamaSession) -> BranchingLlama | None:
    """The session as one that branches, or None."""
    return session if isinstance(session, BranchingLlama) and session.branches else None


def sees(parents: Sequence[int]) -> npt.NDArray[np.bool_]:
    """(T, T): which positions of a tree each one sees, that is itself and its ancestors. ValueError unless parents come first."""
    seen = np.eye(len(parents), dtype=np.bool_)
    for place, parent in enumerate(parents):
        if not -1 <= parent < place:
            raise ValueError(f"position {place} of a tree must follow an earlier one or -1, got {parent}")
        if parent >= 0:
            seen[place] |= seen[parent]
    return seen


def check_room(position: int, length: int, context: int) -> None:
    """ValueError with the cure unless `length` more positions fit into the context."""
    if position + length > context:
        cure = "shorten the transcript or reasoner.max_tokens"
        raise ValueError(f"the context holds {context} positions, {position + length} are asked for; {cure}")


def check_inputs(spec: GraphSpec, inputs: Tensors) -> None:
    """ValueError naming graph, tensor, what was expected and what came."""
    expected = {tensor.name: tensor for tensor in spec.inputs}
    if set(inputs) != set(expected):
        raise ValueError(f"graph {spec.name} takes {', '.join(sorted(expected))}, got {', '.join(sorted(inputs))}")
    for name, array in inputs.items():
        want = expected[name]
        fits = len(array.shape) == len(want.shape)
        fits = fits and all(isinstance(size, str) or size == got for size, got in zip(want.shape, array.shape, strict=True))
        if not fits or str(array.dtype) != want.dtype:
            raise ValueError(f"graph {spec.name}: {name} must be {want.shape} {want.dtype}, got {array.shape} {array.dtype}")
