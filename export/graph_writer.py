"""An ONNX graph written as it is made: nodes are kept, weights go straight to the file of external data, so memory does not grow with them.

Both files appear at the end, whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

ALIGNMENT = 4096  # so that a runtime can map the weights instead of reading them
PART = ".part"
Array = npt.NDArray[Any]


class GraphWriter:
    """`with GraphWriter(path, external=…) as graph: …; graph.save(…)`. Not external: weights stand inside the graph's one file."""

    def __init__(self, path: Path, external: bool) -> None:
        self.path, self.data_path = path, path.with_name(path.name + ".data")
        self.weight_bytes = 0
        self._data = self._part(self.data_path).open("wb") if external else None
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: dict[str, TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def __enter__(self) -> GraphWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._data:
            self._data.close()
        for path in (self.path, self.data_path):
            self._part(path).unlink(missing_ok=True)

    def input(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, kind: int, shape: Sequence[int | str]) -> str:
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def node(self, op: str, inputs: Sequence[str], *outputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node; returns its first output, named after the op where no name is given."""
        names = outputs or (f"{op}_{len(self._nodes)}",)
        self._nodes.append(helper.make_node(op, list(inputs), list(names), name=f"{op}/{names[0]}", domain=domain, **attributes))
        return names[0]

    def weight(self, name: str, array: Array) -> str:
        """An initializer of the array's own type."""
        return self.packed_weight(name, array, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)

    def constant(self, *values: int, scalar: bool = False) -> str:
        """int64, (n,) or a single number; the same one twice is one."""
        name = f"constant_{'scalar' if scalar else 'list'}_{'_'.join(map(str, values))}"
        if name not in self._tensors:
            array = np.array(values[0] if scalar else values, np.int64)
            self._tensors[name] = onnx.numpy_helper.from_array(array, name)
        return name

    def packed_weight(self, name: str, array: Array, kind: int, shape: Sequence[int]) -> str:
        """An initializer whose bytes are the array's, of another type, e.g. int4. A name that is there already is left as it is."""
        if name in self._tensors:
            return name
        tensor = TensorProto(name=name, data_type=kind, dims=shape)
        content = np.ascontiguousarray(array).tobytes()
        self.weight_bytes += len(content)
        if self._data is None or array.nbytes < ALIGNMENT // 4:
            tensor.raw_data = content
        else:
            self._data.write(b"\0" * (-self._data.tell() % ALIGNMENT))
            place = {"location": self.data_path.name, "offset": self._data.tell(), "length": len(content)}
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.extend(onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in place.items())
            self._data.write(content)
        self._tensors[name] = tensor
        return name

    def save(self, name: str, opset: int, domains: dict[str, int] | None = None, facts: dict[str, str] | None = None) -> None:
        """Write the graph, and let both files appear."""
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, list(self._tensors.values()))
        versions = [helper.make_opsetid(domain, version) for domain, version in {"": opset, **(domains or {})}.items()]
        model = helper.make_model(graph, opset_imports=versions, ir_version=10, producer_name="emollama")
        helper.set_model_props(model, facts or {})
        onnx.save(model, str(self._part(self.path)))
        self.path.unlink(missing_ok=True)  # a graph must never stand beside another graph's weights, not even if we are stopped just here
        if self._data:
            self._data.close()
            self._part(self.data_path).replace(self.data_path)
        else:
            self.data_path.unlink(missing_ok=True)
        self._part(self.path).replace(self.path)

    @staticmethod
    def _part(path: Path) -> Path:
        return path.with_name(path.name + PART)
