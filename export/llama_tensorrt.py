"""The LLaMA graph that TensorRT builds: float16 throughout, int4 DequantizeLinear, attention in plain ops, opset 21. No plugin, no flag.

    inputs_embeds (1, T, hidden) float16        attention_mask (1, P + T) int64, 1 where a position is real
    position_ids (1, T) int64                   past_key_values.N.key|value (1, key heads, P, head size) float16
    → logits (1, T, vocabulary) float16, present.N.key|value (1, key heads, P + T, head size) float16: the past with the new ones behind it
A query sees the real positions of the past and the new ones up to its own, so a past may be padded. ONNX Runtime runs it too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from .graph_writer import GraphWriter
from .llama_checkpoint import LAST_NORM, LlamaCheckpoint
from .llama_onnxruntime import LAST, Count, Done

OPSET = 21
HALF = TensorProto.FLOAT16
HIDDEN_SCORE = -30000.0  # of a position that is not seen; -inf minus -inf would be no number where a row sees nothing


class _Graph:
    def __init__(self, graph: GraphWriter, checkpoint: LlamaCheckpoint, block_size: int, count: Count) -> None:
        self.graph, self.checkpoint, self.config, self.block_size, self.count = graph, checkpoint, checkpoint.config, block_size, count

    def op(self, op: str, *inputs: str, **attributes: object) -> str:
        return self.graph.node(op, inputs, **attributes)

    def half(self, name: str, values: npt.NDArray[np.float32]) -> str:
        return self.graph.weight(name, values.astype(np.float16))

    def number(self, value: float) -> str:
        return self.half(f"number_{value:g}", np.array(value, np.float32))

    def linear(self, at: str, name: str, part: str, bias: npt.NDArray[np.float32] | None = None) -> str:
        if self.block_size:
            matrix = self.checkpoint.int4((part,), self.block_size)
            self.count(matrix)
            packed, scales = matrix.transposed()
            quarters = self.graph.packed_weight(f"{name}.weight_int4", packed, TensorProto.INT4, (matrix.inputs, matrix.outputs))
            scale = self.half(f"{name}.weight_scales", scales)
            held = self.op("DequantizeLinear", quarters, scale, axis=0, block_size=self.block_size)
        else:
            held = self.half(f"{name}.weight", np.ascontiguousarray(self.checkpoint.matrix(part).T))
        product = self.op("MatMul", at, held)
        return product if bias is None else self.op("Add", product, self.half(f"{name}.bias", bias))

    def projection(self, at: str, name: str, biased: bool) -> str:
        return self.linear(at, name, name, self.checkpoint.bias(name) if biased else None)

    def norm(self, at: str, name: str) -> str:
        """Root mean square, in float32: a square of 256 is over float16's range."""
        wide = self.op("Cast", at, to=TensorProto.FLOAT)
        mean = self.op("ReduceMean", self.op("Mul", wide, wide), self.graph.constant(-1), keepdims=1)
        epsilon = self.graph.weight("epsilon", np.array(self.config.rms_norm_eps, np.float32))
        root = self.op("Sqrt", self.op("Add", mean, epsilon))
        return self.op("Mul", self.op("Cast", self.op("Div", wide, root), to=HALF), self.half(name, self.checkpoint.tensor(name)))

    def heads(self, at: str, heads: int) -> str:
        """(1, T, heads · size) → (1, heads, T, size)"""
        parted = self.op("Reshape", at, self.graph.constant(1, -1, heads, self.config.head_size))
        return self.op("Transpose", parted, perm=[0, 2, 1, 3])

    def rotated(self, at: str) -> str:
        """Each half-pair turned by its position's angle."""
        half = self.config.head_size // 2
        first = self.op("Slice", at, self.graph.constant(0), self.graph.constant(half), self.graph.constant(3))
        second = self.op("Slice", at, self.graph.constant(half), self.graph.constant(LAST), self.graph.constant(3))
        left = self.op("Sub", self.op("Mul", first, "cosines"), self.op("Mul", second, "sines"))
        right = self.op("Add", self.op("Mul", second, "cosines"), self.op("Mul", first, "sines"))
        return self.op("Concat", left, right, axis=3)

    def rotation(self) -> None:
        """cosines and sines (1, 1, T, size / 2) of these positions."""
        for name, table in zip(("cosines", "sines"), self.config.rotary(), strict=True):
            rows = self.op("Gather", self.half(f"{name}_table", table), "position_ids", axis=0)
            self.graph.node("Unsqueeze", [rows, self.graph.constant(1)], name)

    def hidden(self) -> None:
        """`hidden_scores` (1, 1, T, P + T): what is added to a score, nothing or enough to hide it."""
        constant = self.graph.constant
        new = self.op("Shape", "inputs_embeds", start=1, end=2)
        total = self.op("Shape", "attention_mask", start=1, end=2)
        zero, one = constant(0, scalar=True), constant(1, scalar=True)
        rows = self.op("Range", zero, self.op("Squeeze", new, constant(0)), one)
        columns = self.op("Range", zero, self.op("Squeeze", total, constant(0)), one)
        newest = self.op("Unsqueeze", self.op("Add", rows, self.op("Sub", total, new)), constant(1))
        real = self.op("Greater", "attention_mask", constant(0))
        seen = self.op("And", self.op("LessOrEqual", self.op("Unsqueeze", columns, constant(0)), newest), real)
        scores = self.op("Where", seen, self.number(0.0), self.number(HIDDEN_SCORE))
        self.graph.node("Unsqueeze", [scores, constant(0, 1)], "hidden_scores")

    def cached(self, at: str, layer: int, what: str) -> str:
        shape = (1, self.config.kv_heads, "past_length", self.config.head_size)
        past = self.graph.input(f"past_key_values.{layer}.{what}", HALF, shape)
        present = self.graph.output(f"present.{layer}.{what}", HALF, (*shape[:2], "total_length", shape[3]))
        return self.graph.node("Concat", [past, at], present, axis=2)

    def attention(self, at: str, layer: int) -> str:
        """Heads that share a key are rows of one product, so that keys and values are never repeated in memory."""
        config, place, constant = self.config, f"model.layers.{layer}.self_attn", self.graph.constant
        query, key, value = (self.projection(at, f"{place}.{letter}_proj", config.attention_bias) for letter in "qkv")
        keys = self.cached(self.rotated(self.heads(key, config.kv_heads)), layer, "key")
        values = self.cached(self.heads(value, config.kv_heads), layer, "value")
        queries = self.op("Mul", self.rotated(self.heads(query, config.heads)), self.number(config.head_size**-0.5))
        shared, group = config.heads != config.kv_heads, config.heads // config.kv_heads
        if shared:
            queries = self.op("Reshape", queries, constant(1, config.kv_heads, -1, config.head_size))
        scores = self.op("MatMul", queries, self.op("Transpose", keys, perm=[0, 1, 3, 2]))
        if shared:
            apart = self.op("Concat", constant(config.kv_heads, group, -1), self.op("Shape", keys, start=2, end=3), axis=0)
            scores = self.op("Reshape", scores, apart)
        shares = self.op("Softmax", self.op("Add", scores, "hidden_scores"), axis=-1)
        if shared:
            together = self.op("Concat", constant(1, config.kv_heads, -1), self.op("Shape", keys, start=2, end=3), axis=0)
            shares = self.op("Reshape", shares, together)
        seen = self.op("MatMul", shares, values)
        if shared:
            seen = self.op("Reshape", seen, constant(1, config.heads, -1, config.head_size))
        joined = self.op("Transpose", seen, perm=[0, 2, 1, 3])
        flat = self.op("Reshape", joined, constant(1, -1, config.heads * config.head_size))
        return self.projection(flat, f"{place}.o_proj", config.attention_bias)

    def feed_forward(self, at: str, layer: int) -> str:
        place, biased = f"model.layers.{layer}.mlp", self.config.mlp_bias
        gate, up = (self.projection(at, f"{place}.{name}", biased) for name in ("gate_proj", "up_proj"))
        opened = self.op("Mul", self.op("Mul", gate, self.op("Sigmoid", gate)), up)
        return self.projection(opened, f"{place}.down_proj", biased)

    def build(self, done: Done) -> None:
        graph, config = self.graph, self.config
        stream = graph.input("inputs_embeds", HALF, (1, "length", config.hidden))
        graph.input("attention_mask", TensorProto.INT64, (1, "total_length"))
        graph.input("position_ids", TensorProto.INT64, (1, "length"))
        self.rotation()
        self.hidden()
        for layer in range(config.layers):
            place = f"model.layers.{layer}."
            stream = self.op("Add", stream, self.attention(self.norm(stream, place + "input_layernorm.weight"), layer))
            stream = self.op("Add", stream, self.feed_forward(self.norm(stream, place + "post_attention_layernorm.weight"), layer))
            done(layer)
        logits = self.linear(self.norm(stream, LAST_NORM), "lm_head", self.checkpoint.head)
        graph.node("Identity", [logits], graph.output("logits", HALF, (1, "length", config.vocab)))


def build_tensorrt_graph(graph: GraphWriter, checkpoint: LlamaCheckpoint, block_size: int, count: Count, done: Done) -> None:
    """Write the nodes and weights of the whole model; `save` is the caller's. Arguments as in `build_onnxruntime_graph`."""
    _Graph(graph, checkpoint, block_size, count).build(done)
