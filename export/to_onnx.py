"""A training run's folder → a model folder: encoder graphs, the language model in 4 bits, a manifest. Or the graphs of an imported folder.

In:  RUN/{preset.json, network.safetensors, llama/ (Hugging Face form with tokenizer.json), metrics.json}
     or a model folder with weights and no graphs yet, as export/import_checkpoint.py writes it
Out: a folder that `emollama` runs; each graph is compared with torch before the manifest is written.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime as ort
import onnxscript.optimizer
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from ros2_emollama.model.folder import Manifest, ModelFolder, ModelFolderError, open_folder, write_manifest
from ros2_emollama.model.graphs import GraphSpec, graph_specs
from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.presets import Preset, preset_from_dict
from ros2_emollama.model.weights import adapter_deltas, load_network, with_delta

from .quantize_llama import add_runtime_option, quantize_llama, runtimes_of

OPSET = 18
TOLERANCE = 1e-3
HALF = "_half"
LARGE = 256  # numbers; smaller ones are not worth a node
EXAMPLE_SIZES = {"N": 3, "T": 7}  # more than one, and different: what is equal by chance the exporter takes for equal always
OTHER_SIZES = ({"N": 1, "T": 5}, {"N": 5, "T": 9})
ONE_FILE_BYTES = 1 << 30  # of weights; protobuf ends at 2 GiB, so larger graphs keep them in a file beside
REGISTRATION = "torch.onnx._internal.exporter._registration"  # warns of each operator of torchvision, which no network here has


class ExportError(RuntimeError):
    """The export would not give the same results, or its input is incomplete; the message says what to do."""


def example_inputs(spec: GraphSpec, rng: np.random.Generator, free: Mapping[str, int]) -> list[torch.Tensor]:
    """Random inputs of a graph, its free dimensions as in `free`."""
    made = []
    for tensor in spec.inputs:
        shape = [free[size] if isinstance(size, str) else size for size in tensor.shape]
        if tensor.dtype == "uint8":
            made.append(torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8)))
        else:
            made.append(torch.from_numpy(rng.random(shape, dtype=np.float32)))
    return made


def export_graph(network: EmotionNetwork, spec: GraphSpec, path: Path) -> float:
    """Write one graph; returns its largest difference from torch. ExportError when that is more than TOLERANCE."""
    module, rng = network.graph(spec.name).eval(), np.random.default_rng(0)
    inputs = example_inputs(spec, rng, EXAMPLE_SIZES)
    free = [{i: torch.export.Dim.DYNAMIC for i, size in enumerate(tensor.shape) if isinstance(size, str)} for tensor in spec.inputs]
    logging.getLogger(REGISTRATION).setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            module,
            tuple(inputs),
            dynamo=True,
            opset_version=OPSET,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_shapes=dynamic_shapes(module, free) if any(free) else None,
            optimize=False,  # it would fold normalisations into weights, which float16 then no longer holds exactly; a runtime folds them
            verbose=False,
        )
    assert program is not None
    onnxscript.optimizer.inline(program.model)
    onnxscript.optimizer.fold_constants_ir(program.model)
    onnxscript.optimizer.remove_unused_nodes(program.model)
    program.save(str(path), external_data=weight_bytes(module) > ONE_FILE_BYTES)
    store_halves(path)
    sizes = OTHER_SIZES if any(free) else OTHER_SIZES[:1]
    worst = max(graph_error(module, spec, path, example_inputs(spec, rng, size)) for size in sizes)
    if worst > TOLERANCE:
        cure = "try another torch or ONNX Runtime version"
        raise ExportError(f"graph {spec.name} differs from torch by {worst:.2g}, more than {TOLERANCE}; {cure}")
    return worst


def export_graphs(network: EmotionNetwork, folder: Path) -> tuple[dict[str, str], dict[str, float]]:
    """Every graph of the network into a folder: the graphs' files, and the largest difference of each."""
    files, errors = {}, {}
    for name, spec in tqdm(graph_specs(network.preset).items(), desc="graphs"):
        files[name] = f"{name}.onnx"
        errors[name] = export_graph(network, spec, folder / files[name])
    return files, errors


def dynamic_shapes(module: torch.nn.Module, free: list[dict[int, Any]]) -> tuple[Any, ...]:
    """One entry a parameter of `forward`: inputs that it takes as *tensors are one."""
    kinds = [parameter.kind for parameter in inspect.signature(module.forward).parameters.values()]
    return (tuple(free),) if inspect.Parameter.VAR_POSITIONAL in kinds else tuple(free)


def weight_bytes(module: torch.nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in module.state_dict().values())


def halved(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights as float16 holds them, what is not floating left alone: half the size, and no label changes (docs/LOG.md)."""
    return {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}


def store_halves(path: Path) -> None:
    """Keep large weights in float16 inside the file, where that loses nothing; a Cast makes them float32 again when a runtime loads it."""
    model = onnx.load(str(path))
    graph = model.graph
    for tensor in list(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.size < LARGE or not np.array_equal(half.astype(np.float32), values):
            continue
        graph.initializer.remove(tensor)
        graph.initializer.append(onnx.numpy_helper.from_array(half, tensor.name + HALF))
        graph.node.insert(0, onnx.helper.make_node("Cast", [tensor.name + HALF], [tensor.name], to=onnx.TensorProto.FLOAT))
    beside = path.with_name(path.name + ".data")
    large = beside.exists() or sum(len(tensor.raw_data) for tensor in graph.initializer) > ONE_FILE_BYTES
    beside.unlink(missing_ok=True)  # onnx would append to it
    onnx.save(model, str(path), save_as_external_data=large, location=beside.name)


def graph_error(module: torch.nn.Module, spec: GraphSpec, path: Path, inputs: list[torch.Tensor]) -> float:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {tensor.name: value.numpy() for tensor, value in zip(spec.inputs, inputs, strict=True)})
    with torch.inference_mode():
        told = module(*inputs)
    expected = (told,) if isinstance(told, torch.Tensor) else told
    return max(float(np.abs(f - e.numpy()).max()) for f, e in zip(found, expected, strict=True))


def read_run(run: Path) -> tuple[Preset, EmotionNetwork]:
    """Preset and network of a training run. ExportError naming what is missing."""
    for name in ("preset.json", "network.safetensors", "llama/config.json", "llama/tokenizer.json"):
        if not (run / name).is_file():
            raise ExportError(f"{run} is no finished training run: {name} is missing; finish it: python -m training fit --run {run}")
    preset = preset_from_dict(json.loads((run / "preset.json").read_text(encoding="utf-8")))
    network = EmotionNetwork(preset).eval()
    network.load_state_dict(halved(load_file(run / "network.safetensors")))
    return preset, network


def export_run(
    run: Path,
    output: Path,
    *,
    block_size: int = 32,
    licence: str = "",
    keep_weights: bool = True,
    runtimes: Sequence[str] = ("onnxruntime",),
) -> dict[str, float]:
    """Write the model folder; returns the largest difference of each graph. runtimes: see `quantize_llama`."""
    preset, network = read_run(run)
    output.mkdir(parents=True, exist_ok=True)
    graphs, errors = export_graphs(network, output)
    if keep_weights:
        save_file(halved(network.state_dict()), output / "network.safetensors")
    language, facts = quantize_llama(run / "llama", output, block_size=block_size, keep_weights=keep_weights, runtimes=runtimes)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8")) if (run / "metrics.json").is_file() else {}
    info = {"licence": licence, **{f"language_{name}": value for name, value in facts.items()}, "training": metrics}
    write_manifest(output, Manifest(preset.name, preset, graphs, language, {}, info))
    return errors


def export_folder(root: Path, *, block_size: int = 32, runtimes: Sequence[str] = ("onnxruntime",)) -> dict[str, float]:
    """Add graphs and the 4-bit language model to an imported folder; returns the largest difference of each graph. Weights stay."""
    folder = open_folder(root)
    manifest, preset = folder.manifest, folder.preset
    network = load_network(root, preset)
    graphs, errors = export_graphs(network, root)
    del network
    with tempfile.TemporaryDirectory(dir=root) as held:
        source = merged_llama(folder, Path(held))
        language, facts = quantize_llama(source, Path(held), block_size=block_size, keep_weights=False, runtimes=runtimes)
        for path in (Path(held) / "llama").iterdir():
            path.replace(root / "llama" / path.name)
    info = {**manifest.info, **{f"language_{name}": value for name, value in facts.items()}}
    write_manifest(root, Manifest(manifest.name, preset, graphs, {**manifest.language, **language}, {}, info))
    return errors


def merged_llama(folder: ModelFolder, held: Path) -> Path:
    """The language model's weights in Hugging Face form, an adapter that lies beside them added."""
    weights = folder.language("weights")
    if "adapter" not in folder.manifest.language:
        return weights
    merged = held / "merged"
    shutil.copytree(weights, merged, ignore=shutil.ignore_patterns("*.safetensors"))
    added = adapter_deltas(folder.language("adapter"))
    for path in sorted(weights.glob("*.safetensors")):
        tensors = load_file(path)
        save_file({name: with_delta(value, added.get(name)) for name, value in tensors.items()}, merged / path.name, {"format": "pt"})
    return merged


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m export.to_onnx", description=__doc__.splitlines()[0] if __doc__ else None)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--run", type=Path, metavar="DIR", help="folder of a finished training run")
    given.add_argument("--model", type=Path, metavar="DIR", help="imported model folder, to which graphs are added")
    parser.add_argument("--output", type=Path, metavar="DIR", help="model folder to write; with --run")
    blocks = (16, 32, 64, 128, 256)
    parser.add_argument("--block-size", type=int, default=32, choices=blocks, help="weights that share a 4-bit scale (%(default)s)")
    add_runtime_option(parser, "whose form of the language model")
    parser.add_argument("--licence", default="", help="licence of the weights, for the manifest")
    parser.add_argument("--without-weights", action="store_true", help="leave out the torch weights, which only comparison needs")
    arguments = parser.parse_args(argv)
    if (arguments.output is None) == (arguments.model is None):
        parser.error("--run needs --output; --model is written to where it lies")
    output = arguments.model or arguments.output
    runtimes = runtimes_of(arguments.runtime)
    try:
        if arguments.model:
            errors = export_folder(arguments.model, block_size=arguments.block_size, runtimes=runtimes)
        else:
            errors = export_run(
                arguments.run,
                output,
                block_size=arguments.block_size,
                licence=arguments.licence,
                keep_weights=not arguments.without_weights,
                runtimes=runtimes,
            )
    except (ExportError, ModelFolderError, ValueError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    for name, difference in errors.items():
        print(f"{name}: largest difference from torch {difference:.2g}")
    print(f"wrote {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
