"""An ONNX file as TensorRT's parser takes it: its external data are there, and pixels become numbers as soon as they come in.

Only the graph is read; weights in files beside it are left where they are, so a 7B costs no memory here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .engine_manifest import EngineError

MOVING = {"Slice", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Gather", "Split", "Concat", "Expand", "Identity", "Flatten"}
"""What gives the same numbers whether it moves bytes or floats."""


def read_source(path: Path) -> bytes:
    """The graph, ready for a parser that is told `path` too. EngineError where the file is none, or data are missing or short."""
    try:
        import onnx
    except ImportError as error:
        raise EngineError(f"onnx, which reads {path.name} for TensorRT, cannot be loaded ({error}); pip install onnx") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except FileNotFoundError as error:
        raise EngineError(f"{path} is missing; restore the model or export it again") from error
    except Exception as error:  # protobuf's DecodeError, which onnx does not wrap
        raise EngineError(f"{path} is no ONNX file ({error}); restore the model or export it again") from error
    _check_external(model, path)
    for entry in model.graph.input:
        if entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            _float_first(model, entry.name, path, onnx)
    return bytes(model.SerializeToString())


def _check_external(model: Any, path: Path) -> None:
    for tensor in model.graph.initializer:
        facts = {entry.key: entry.value for entry in tensor.external_data}
        if not facts:
            continue
        file = path.parent / facts["location"]
        if not file.is_file():
            raise EngineError(f"{path} keeps its weights in {file}, which is missing; put it back beside it or export the model again")
        end = int(facts.get("offset", 0)) + int(facts.get("length", 0))
        if file.stat().st_size < end:
            raise EngineError(
                f"{file} has {file.stat().st_size} bytes, {path.name} expects at least {end}; copy it again or export the model again"
            )


def _float_first(model: Any, name: str, path: Path, onnx: Any) -> None:
    """TensorRT takes uint8 as an input that is cast, and nowhere else: cast it at once, which is exact."""
    graph = model.graph
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for tensor in node.input:
            users.setdefault(tensor, []).append(node)
    if all(node.op_type == "Cast" for node in users.get(name, [])):
        return
    waiting = [name]
    while waiting:
        for node in users.get(waiting.pop(), []):
            if node.op_type in ("Cast", "Shape"):
                continue
            if node.op_type not in MOVING:
                cure = "cast the pixels to float before it in the network, and export the model again"
                raise EngineError(f"{path.name}: {node.op_type} ({node.name}) works on uint8, which TensorRT does not; {cure}")
            waiting += node.output
    floats = f"{name}_float"
    for node in graph.node:
        for place, tensor in enumerate(node.input):
            if tensor == name:
                node.input[place] = floats
    graph.node.insert(0, onnx.helper.make_node("Cast", [name], [floats], name="pixels_to_float", to=onnx.TensorProto.FLOAT))
    del graph.value_info[:]  # they say uint8 of what is float now
