"""The LLaMA graph that ONNX Runtime decodes with: MatMulNBits and GroupQueryAttention, 11 nodes a layer.

    inputs_embeds (1, S, hidden) float32        attention_mask (1, T) int64, T positions in all, these S included
    position_ids (1, S) int64                   attention_bias (1, 1, S, T) float32, added to each head's scores
    logits_to_keep (1,) int64, of the last      past_key_values.N.key|value (1, key heads, P, head size)
    → logits (1, kept, vocabulary) float32, present.N.key|value
The first two and the caches are those of onnxruntime-genai's graphs; past and present may be one buffer. With position_ids and
attention_bias several continuations share one pass over the context: those that do not follow each other hide each other's positions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from .graph_writer import GraphWriter
from .int4 import Int4Matrix
from .llama_checkpoint import LAST_NORM, LlamaCheckpoint

OPSET, CONTRIB = 21, "com.microsoft"
ACCURACY_LEVEL = 4  # activations as int8 in blocks while they are multiplied: the fast kernels of a CPU
LAST = np.iinfo(np.int64).max
Count = Callable[[Int4Matrix], None]
Done = Callable[[int], None]


class _Graph:
    def __init__(self, graph: GraphWriter, checkpoint: LlamaCheckpoint, block_size: int, kind: type[np.floating], count: Count) -> None:
        self.graph, self.checkpoint, self.config = graph, checkpoint, checkpoint.config
        self.block_size, self.kind, self.count = block_size, kind, count  # 0: not quantised
        self.float = helper.np_dtype_to_tensor_dtype(np.dtype(kind))

    def floats(self, name: str, values: npt.NDArray[np.float32]) -> str:
        return self.graph.weight(name, values.astype(self.kind))

    def linear(self, at: str, name: str, parts: tuple[str, ...], bias: npt.NDArray[np.float32] | None = None) -> str:
        graph = self.graph
        if self.block_size:
            matrix = self.checkpoint.int4(parts, self.block_size)
            self.count(matrix)
            inputs = [at, graph.weight(f"{name}.weight_Q4", matrix.packed), self.floats(f"{name}.weight_scales", matrix.scales)]
            shape = {"K": matrix.inputs, "N": matrix.outputs, "bits": 4, "block_size": self.block_size, "accuracy_level": ACCURACY_LEVEL}
            product = graph.node("MatMulNBits", inputs, domain=CONTRIB, **shape)
        else:
            product = graph.node("MatMul", [at, self.floats(f"{name}.weight", np.ascontiguousarray(self.checkpoint.matrix(*parts).T))])
        return product if bias is None else graph.node("Add", [product, self.floats(f"{name}.bias", bias)])

    def joined(self, at: str, name: str, parts: tuple[str, ...], biased: bool) -> str:
        """One product for matrices that take the same input."""
        return self.linear(at, name, parts, self.checkpoint.bias(*parts) if biased else None)

    def attention(self, at: str, layer: int, lengths: list[str]) -> str:
        graph, config, place = self.graph, self.config, f"model.layers.{layer}.self_attn"
        parts = tuple(f"{place}.{letter}_proj" for letter in "qkv")
        mixed = self.joined(at, f"{place}.qkv_proj", parts, config.attention_bias)
        shape = (1, config.kv_heads, "past_length", config.head_size)
        past = [graph.input(f"past_key_values.{layer}.{what}", self.float, shape) for what in ("key", "value")]
        shape = (1, config.kv_heads, "total_length", config.head_size)
        present = [graph.output(f"present.{layer}.{what}", self.float, shape) for what in ("key", "value")]
        inputs = [mixed, "", "", *past, *lengths, "cos_cache", "sin_cache", "position_ids", "attention_bias_typed"]
        sizes = {"num_heads": config.heads, "kv_num_heads": config.kv_heads, "do_rotary": 1, "rotary_interleaved": 0}
        scale = float(config.head_size**-0.5)
        seen = graph.node("GroupQueryAttention", inputs, f"{place}.seen", *present, domain=CONTRIB, scale=scale, **sizes)
        return self.joined(seen, f"{place}.o_proj", (f"{place}.o_proj",), config.attention_bias)

    def feed_forward(self, at: str, layer: int) -> str:
        graph, place, biased = self.graph, f"model.layers.{layer}.mlp", self.config.mlp_bias
        mixed = self.joined(at, f"{place}.gate_up_proj", (f"{place}.gate_proj", f"{place}.up_proj"), biased)
        gate, up = f"{place}.gate", f"{place}.up"
        graph.node("Split", [mixed], gate, up, axis=-1, num_outputs=2)
        opened = graph.node("Mul", [graph.node("Mul", [gate, graph.node("Sigmoid", [gate])]), up])
        return self.joined(opened, f"{place}.down_proj", (f"{place}.down_proj",), biased)

    def added_norm(self, residual: str, update: str, name: str) -> tuple[str, str]:
        """(normalised, sum) of a residual stream and what a block adds to it."""
        weight = self.floats(name, self.checkpoint.tensor(name))
        names = (f"{name}/normalised", "", "", f"{name}/sum")
        self.graph.node(
            "SkipSimplifiedLayerNormalization", [residual, update, weight], *names, domain=CONTRIB, epsilon=self.config.rms_norm_eps
        )
        return names[0], names[3]

    def lengths(self) -> list[str]:
        """[index of the last position (1,), number of positions ()] int32, as GroupQueryAttention wants them."""
        graph = self.graph
        total = graph.node("ReduceSum", ["attention_mask", graph.constant(1)], keepdims=0)
        last = graph.node("Cast", [graph.node("Sub", [total, graph.constant(1)])], to=TensorProto.INT32)
        size = graph.node("Gather", [graph.node("Shape", ["attention_mask"]), graph.constant(1, scalar=True)], axis=0)
        return [last, graph.node("Cast", [size], to=TensorProto.INT32)]

    def build(self, done: Done) -> None:
        graph, config = self.graph, self.config
        embedded = graph.input("inputs_embeds", TensorProto.FLOAT, (1, "length", config.hidden))
        graph.input("attention_mask", TensorProto.INT64, (1, "total_length"))
        graph.input("position_ids", TensorProto.INT64, (1, "length"))
        graph.input("attention_bias", TensorProto.FLOAT, (1, 1, "length", "total_length"))
        graph.input("logits_to_keep", TensorProto.INT64, (1,))
        stream, bias = (self.typed(name) for name in (embedded, "attention_bias"))
        graph.node("Identity", [bias], "attention_bias_typed")
        for name, table in zip(("cos_cache", "sin_cache"), config.rotary(), strict=True):
            self.floats(name, table)
        lengths = self.lengths()
        first = "model.layers.0.input_layernorm.weight"
        weight = self.floats(first, self.checkpoint.tensor(first))
        normal = graph.node("SimplifiedLayerNormalization", [stream, weight], axis=-1, epsilon=config.rms_norm_eps, stash_type=1)
        for layer in range(config.layers):
            place = f"model.layers.{layer}."
            normal, stream = self.added_norm(stream, self.attention(normal, layer, lengths), place + "post_attention_layernorm.weight")
            following = f"model.layers.{layer + 1}.input_layernorm.weight" if layer + 1 < config.layers else LAST_NORM
            normal, stream = self.added_norm(stream, self.feed_forward(normal, layer), following)
            done(layer)
        start = graph.node("Neg", ["logits_to_keep"])
        kept = graph.node("Slice", [normal, start, graph.constant(LAST), graph.constant(1)])
        logits = self.linear(kept, "lm_head", (self.checkpoint.head,))
        graph.node("Cast", [logits], graph.output("logits", TensorProto.FLOAT, (1, "kept", config.vocab)), to=TensorProto.FLOAT)

    def typed(self, name: str) -> str:
        return self.graph.node("Cast", [name], to=self.float)


def build_onnxruntime_graph(graph: GraphWriter, checkpoint: LlamaCheckpoint, block_size: int, half: bool, count: Count, done: Done) -> None:
    """Write the nodes and weights of the whole model; `save` is the caller's.

    block_size  inputs that share a scale; 0 leaves matrices as they are
    half        compute and cache in float16, which CUDA's kernels need; a CPU is faster in float32
    count       is told each quantised matrix, `done` each finished layer
    """
    _Graph(graph, checkpoint, block_size, np.float16 if half else np.float32, count).build(done)
