"""ONNX Runtime: the encoders' graphs, and the 4-bit LLaMA with one KV buffer that past and present share.

No torch. Threads never spin: on a robot the cores belong to others too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from safetensors.numpy import load_file

from ..model.folder import ModelFolder, ModelFolderError
from ..model.graphs import GraphSpec, graph_specs
from ..types import Float32, Int64
from .base import Tensors, cache_folder, check_inputs, check_room, sees

logger = logging.getLogger(__name__)

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
PREFERRED = (CUDA, CPU)
HIDDEN_SCORE = -30000.0  # added to what a position must not see; within float16


def providers(wanted: Sequence[str] = PREFERRED) -> list[str]:
    """What this build offers of what is wanted, in that order. What a session really got is in its `name`."""
    available = ort.get_available_providers()
    return [name for name in wanted if name in available]


def open_session(path: Path, threads: int, wanted: Sequence[str] = PREFERRED) -> ort.InferenceSession:
    """A session on one file. ModelFolderError when it cannot be loaded.

    Each provider of `wanted` stands in for what the ones before it cannot run. ONNX Runtime drops one that fails without an error: where
    the first that this build offers was not got, a warning says so.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    asked = providers(wanted)
    try:
        session = ort.InferenceSession(str(path), options, providers=[(name, provider_options(name)) for name in asked])
    except Exception as error:  # onnxruntime's own exception classes share no base but Exception
        raise ModelFolderError(f"{path} cannot be loaded by ONNX Runtime {ort.__version__}: {error}; export the model again") from error
    got = session.get_providers()[0]
    if got != asked[0]:
        logger.warning("%s: ONNX Runtime was asked for %s and gives %s; see: emollama doctor", path.name, asked[0], got)
    return session


def provider_options(name: str) -> dict[str, str]:
    """TensorRT's provider keeps its engines, or it would build them at every start."""
    if name != TENSORRT:
        return {}
    kept = cache_folder() / "onnxruntime-tensorrt"
    kept.mkdir(parents=True, exist_ok=True)
    return {
        "trt_engine_cache_enable": "1",
        "trt_timing_cache_enable": "1",
        "trt_engine_cache_path": str(kept),
        "trt_timing_cache_path": str(kept),
    }


class OnnxEncoders:
    """The encoder graphs of one folder."""

    def __init__(self, folder: ModelFolder, threads: int = 1, wanted: Sequence[str] = PREFERRED) -> None:
        self._specs = graph_specs(folder.preset)
        self._sessions = {name: open_session(folder.graph(name), threads, wanted) for name in self._specs}
        for name, spec in self._specs.items():
            check_graph(spec, self._sessions[name], folder.graph(name))
        self._outputs = {name: [output.name for output in session.get_outputs()] for name, session in self._sessions.items()}

    @property
    def name(self) -> str:
        got = {session.get_providers()[0] for session in self._sessions.values()}
        return "onnxruntime:" + "+".join(sorted(got))

    def run(self, graph: str, inputs: Tensors) -> dict[str, Float32]:
        """See `base.Encoders.run`."""
        check_inputs(self._specs[graph], inputs)
        outputs = self._sessions[graph].run(None, dict(inputs))
        return dict(zip(self._outputs[graph], outputs, strict=True))


def check_graph(spec: GraphSpec, session: ort.InferenceSession, path: Path) -> None:
    """ModelFolderError when a file is not the graph it stands for."""
    for what, tensors, found in (("inputs", spec.inputs, session.get_inputs()), ("outputs", spec.outputs, session.get_outputs())):
        names = [tensor.name for tensor in tensors]
        if sorted(names) != sorted(item.name for item in found):
            got, wanted = ", ".join(item.name for item in found), ", ".join(names)
            raise ModelFolderError(f"{path} is no {spec.name} of this preset: its {what} are {got}, not {wanted}; export the model again")


class OnnxLlama:
    """A LLaMA graph of export/llama_onnxruntime.py, or one of onnxruntime-genai's builder, which can extend but not branch.

    Past and present of a layer are ONE buffer of `context` positions, which GroupQueryAttention fills in place; going back is forgetting a
    number. Decoding binds each buffer once and changes only the inputs whose shape grows.
    """

    def __init__(self, folder: ModelFolder, threads: int = 1, wanted: Sequence[str] = PREFERRED) -> None:
        preset, path = folder.preset.llama, folder.language("graph")
        self._session = open_session(path, threads, wanted)
        self._inputs = {item.name: item for item in self._session.get_inputs()}
        self._table = embedding_table(folder.language("embeddings"), preset.hidden)
        self._context, self._hidden = preset.context, preset.hidden
        longest = self._session.get_modelmeta().custom_metadata_map.get("context", "")
        if longest.isdigit() and int(longest) < self._context:
            cure = f"quantise the language model again with --context {self._context}"
            raise ModelFolderError(f"{path} holds {longest} positions, its manifest says {self._context}; {cure}")
        self._device = "cuda" if self._session.get_providers()[0] == CUDA else "cpu"
        self._position = 0
        self._mask = np.ones((1, self._context), np.int64)
        self._places = np.arange(self._context, dtype=np.int64)[None]
        self._nothing_hidden = np.zeros((1, 1, 1, self._context), np.float32)
        self._binding = self._session.io_binding()
        self._buffers: list[Any] = []
        self._bind_cache(preset.kv_heads, preset.hidden // preset.heads)
        self._logits_place = len(self._buffers)  # bound after all caches

    def _bind_cache(self, heads: int, head_size: int) -> None:
        for name, item in self._inputs.items():
            if not name.startswith("past_key_values."):
                continue
            kind = np.float16 if "float16" in item.type else np.float32
            known = [size if isinstance(size, int) else preset for size, preset in zip(item.shape[1::2], (heads, head_size), strict=True)]
            buffer = ort.OrtValue.ortvalue_from_numpy(np.zeros((1, known[0], self._context, known[1]), kind), self._device, 0)
            self._buffers.append(buffer)
            self._binding.bind_ortvalue_input(name, buffer)
            self._binding.bind_ortvalue_output(name.replace("past_key_values", "present"), buffer)

    @property
    def name(self) -> str:
        return f"onnxruntime:{self._session.get_providers()[0]}"

    @property
    def position(self) -> int:
        return self._position

    @property
    def branches(self) -> bool:
        """See `base.BranchingLlama.branches`."""
        return {"attention_bias", "position_ids", "logits_to_keep"} <= self._inputs.keys()

    def embed(self, token_ids: Int64) -> Float32:
        """See `base.LlamaSession.embed`. IndexError for an id outside the vocabulary."""
        return self._table[token_ids].astype(np.float32, copy=False)

    def extend(self, embeddings: Float32) -> Float32:
        """See `base.LlamaSession.extend`."""
        length = self._checked_length(embeddings)
        if self.branches:
            total = self._position + length
            hidden = self._nothing_hidden[..., :total] if length == 1 else np.zeros((1, 1, length, total), np.float32)
            self._bind_tree(self._places[:, self._position : total], hidden, 1)
        last: Float32 = self._run(embeddings)[-1]
        return last

    def extend_tree(self, embeddings: Float32, parents: Sequence[int]) -> Float32:
        """See `base.BranchingLlama.extend_tree`."""
        length, seen = self._checked_length(embeddings), sees(parents)
        hidden = np.zeros((1, 1, length, self._position + length), np.float32)
        hidden[0, 0, :, self._position :][~seen] = HIDDEN_SCORE
        self._bind_tree(self._position + seen.sum(axis=1, dtype=np.int64)[None] - 1, hidden, length)
        return self._run(embeddings)

    def _checked_length(self, embeddings: Float32) -> int:
        length = int(embeddings.shape[0])
        if embeddings.shape[1:] != (self._hidden,) or length == 0:
            raise ValueError(f"extend takes (T, {self._hidden}) embeddings, T at least 1, got {embeddings.shape}")
        check_room(self._position, length, self._context)
        return length

    def _bind_tree(self, places: Int64, hidden: Float32, keep: int) -> None:
        self._binding.bind_cpu_input("position_ids", np.ascontiguousarray(places))
        self._binding.bind_cpu_input("attention_bias", np.ascontiguousarray(hidden))
        self._binding.bind_cpu_input("logits_to_keep", np.array([keep], np.int64))

    def _run(self, embeddings: Float32) -> Float32:
        """Logits of the positions that are kept, after all inputs but the two that every graph has are bound."""
        total = self._position + embeddings.shape[0]
        self._binding.bind_cpu_input("inputs_embeds", np.ascontiguousarray(embeddings[None], np.float32))
        self._binding.bind_cpu_input("attention_mask", self._mask[:, :total])
        self._binding.bind_output("logits", "cpu")
        self._session.run_with_iobinding(self._binding)
        self._position = total
        logits = self._binding.get_outputs()[self._logits_place].numpy()
        return np.asarray(logits[0], np.float32)

    def rewind(self, position: int) -> None:
        """See `base.LlamaSession.rewind`."""
        if not 0 <= position <= self._position:
            raise ValueError(f"cannot rewind to {position}: the cache holds {self._position} positions")
        self._position = position


def embedding_table(path: Path, hidden: int) -> npt.NDArray[np.generic]:
    """(vocabulary, hidden), as it is stored. ModelFolderError where the file holds anything else."""
    table: npt.NDArray[np.generic] | None = load_file(path).get("embeddings")
    if table is None or table.ndim != 2 or table.shape[1] != hidden:
        raise ModelFolderError(f"{path} must hold one tensor 'embeddings' of (vocabulary, {hidden}); export the language model again")
    return table
