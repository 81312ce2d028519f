"""LLaMA graphs of any shape with drawn weights, in the form TensorRT takes: typed halves, int4 blocks, plain attention.

Inputs and outputs are those of runtime/engine_profiles.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ros2_emollama.model.streams import LlamaPreset

OPSET = 21


class _Graph:
    """Nodes and weights as they are drawn."""

    def __init__(self, block: int, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._block, self._rng, self._count = block, np.random.default_rng(seed), 0

    def name(self, hint: str) -> str:
        self._count += 1
        return f"{hint}_{self._count}"

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        out = self.name(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=f"node_{out}", **attributes))
        return out

    def const(self, value: object, dtype: type) -> str:
        name = self.name("const")
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def matmul(self, x: str, rows: int, columns: int) -> str:
        """x @ W, W (rows, columns) of 4 bits with a half a block as scale."""
        packed, scales = self.name("weight"), self.name("scale")
        raw = self._rng.integers(0, 256, rows * columns // 2, dtype=np.uint8).tobytes()
        self.weights.append(helper.make_tensor(packed, TensorProto.INT4, (rows, columns), raw, raw=True))
        scale = (1 / (4.6 * rows**0.5)) * self._rng.uniform(0.9, 1.1, (-(-rows // self._block), columns))
        self.weights.append(numpy_helper.from_array(scale.astype(np.float16), scales))
        return self.op("MatMul", x, self.op("DequantizeLinear", packed, scales, axis=0, block_size=self._block))

    def norm(self, x: str, width: int) -> str:
        wide = self.op("Cast", x, to=TensorProto.FLOAT)
        square = self.op("ReduceMean", self.op("Mul", wide, wide), self.const([-1], np.int64), keepdims=1)
        root = self.op("Sqrt", self.op("Add", square, self.const(1e-5, np.float32)))
        half = self.op("Cast", self.op("Div", wide, root), to=TensorProto.FLOAT16)
        return self.op("Mul", half, self.const(np.ones(width), np.float16))


def write_llama(path: Path, preset: LlamaPreset, *, block: int = 32, seed: int = 0, external: bool = False) -> None:
    """preset  kv_heads must equal heads."""
    assert preset.kv_heads == preset.heads
    head = preset.hidden // preset.heads
    graph = _Graph(block, seed)
    op, const = graph.op, graph.const
    cos, sin = _rotation(graph, preset, head)
    bias = _bias(graph)
    x, outputs = "inputs_embeds", []
    for layer in range(preset.layers):
        normed = graph.norm(x, preset.hidden)
        q, k, v = (_heads(graph, graph.matmul(normed, preset.hidden, preset.hidden), preset.heads, head) for _ in range(3))
        q, k = (_rotate(graph, value, cos, sin, head) for value in (q, k))
        held = []
        for what, new in (("key", k), ("value", v)):
            present = f"present.{layer}.{what}"
            graph.nodes.append(helper.make_node("Concat", [f"past_key_values.{layer}.{what}", new], [present], axis=2))
            outputs.append(present)
            held.append(present)
        scores = op("Mul", op("MatMul", q, op("Transpose", held[0], perm=[0, 1, 3, 2])), const(head**-0.5, np.float16))
        shares = op("Softmax", op("Add", scores, bias), axis=-1)
        mixed = op("Reshape", op("Transpose", op("MatMul", shares, held[1]), perm=[0, 2, 1, 3]), const([1, -1, preset.hidden], np.int64))
        x = op("Add", x, graph.matmul(mixed, preset.hidden, preset.hidden))
        normed = graph.norm(x, preset.hidden)
        gate = graph.matmul(normed, preset.hidden, preset.intermediate)
        gated = op("Mul", op("Mul", gate, op("Sigmoid", gate)), graph.matmul(normed, preset.hidden, preset.intermediate))
        x = op("Add", x, graph.matmul(gated, preset.intermediate, preset.hidden))
    last = op("Slice", graph.norm(x, preset.hidden), const([-1], np.int64), const([2**31], np.int64), const([1], np.int64))
    logits = graph.matmul(last, preset.hidden, preset.vocab)
    graph.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
    _save(path, graph, preset, head, outputs, external)


def _rotation(graph: _Graph, preset: LlamaPreset, head: int) -> tuple[str, str]:
    rates = preset.rope_theta ** (-np.arange(0, head, 2) / head)
    places = graph.op("Cast", "position_ids", to=TensorProto.FLOAT)
    turned = graph.op("Mul", graph.op("Unsqueeze", places, graph.const([1, 3], np.int64)), graph.const(np.tile(rates, 2), np.float32))
    cos, sin = (graph.op("Cast", graph.op(kind, turned), to=TensorProto.FLOAT16) for kind in ("Cos", "Sin"))
    return cos, sin


def _rotate(graph: _Graph, x: str, cos: str, sin: str, head: int) -> str:
    halves = [graph.op("Slice", x, *(graph.const([n], np.int64) for n in (start, start + head // 2, 3))) for start in (0, head // 2)]
    turned = graph.op("Concat", graph.op("Neg", halves[1]), halves[0], axis=3)
    return graph.op("Add", graph.op("Mul", x, cos), graph.op("Mul", turned, sin))


def _heads(graph: _Graph, x: str, heads: int, head: int) -> str:
    return graph.op("Transpose", graph.op("Reshape", x, graph.const([1, -1, heads, head], np.int64)), perm=[0, 2, 1, 3])


def _bias(graph: _Graph) -> str:
    """0 where a new position may look: at what the mask calls real, and not ahead of itself."""
    op, const = graph.op, graph.const
    zero, one = const(0, np.int64), const(1, np.int64)
    sizes = [
        op("Squeeze", op("Slice", op("Shape", name), const([1], np.int64), const([2], np.int64)))
        for name in ("inputs_embeds", "attention_mask")
    ]
    new, total = sizes
    here = op("Add", op("Range", zero, new, one), op("Sub", total, new))
    behind = op(
        "LessOrEqual", op("Unsqueeze", op("Range", zero, total, one), const([0], np.int64)), op("Unsqueeze", here, const([1], np.int64))
    )
    allowed = op(
        "And",
        op("Unsqueeze", behind, const([0], np.int64)),
        op("Unsqueeze", op("Cast", "attention_mask", to=TensorProto.BOOL), const([1], np.int64)),
    )
    return op("Unsqueeze", op("Where", allowed, const(0, np.float16), const(-6e4, np.float16)), const([1], np.int64))


def _save(path: Path, graph: _Graph, preset: LlamaPreset, head: int, outputs: list[str], external: bool) -> None:
    half, long = TensorProto.FLOAT16, TensorProto.INT64
    info = helper.make_tensor_value_info
    inputs = [
        info("inputs_embeds", half, (1, "T", preset.hidden)),
        info("position_ids", long, (1, "T")),
        info("attention_mask", long, (1, "total")),
    ]
    inputs += [info(name.replace("present", "past_key_values"), half, (1, preset.kv_heads, "P", head)) for name in outputs]
    results = [info("logits", half, (1, 1, preset.vocab)), *(info(name, half, (1, preset.kv_heads, "total", head)) for name in outputs)]
    made = helper.make_graph(graph.nodes, "llama", inputs, results, graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path), save_as_external_data=external, location=f"{path.name}.data")
