"""A LLaMA in Hugging Face form → 4-bit graphs for ONNX Runtime and TensorRT, its embeddings and its tokenizer.

Weights that GPTQ or AWQ has brought to 4 bits already (packed_weights.py) are taken over as they are; plain ones are rounded to nearest.
Layer by layer from safetensors, so that a 7B takes a gigabyte of memory and not forty. The embeddings stay outside the graph, because our
prompts mix text with tokens of sight and sound. Nothing is replaced before all of it is written; an interrupted run begins again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tqdm import tqdm

from ros2_emollama.model.folder import MANIFEST, ModelFolderError

from . import llama_onnxruntime, llama_tensorrt
from .graph_writer import GraphWriter
from .int4 import Int4Matrix
from .llama_checkpoint import EMBEDDINGS, LlamaCheckpoint
from .llama_config import QuantizeError, check_blocks, read_config
from .manifest import add_language
from .packed_weights import read_packing

BLOCK_SIZES = (16, 32, 64, 128, 256)
DEFAULT_BLOCK = 32
RUNTIMES = ("onnxruntime", "tensorrt")
FILES = {"onnxruntime": ("graph", "model.onnx"), "tensorrt": ("tensorrt", "tensorrt.onnx")}  # manifest's role, file
INSIDE_BYTES = 256 << 20  # a graph that is smaller keeps its weights in its own file; protobuf ends at 2 GB


class _Bits:
    """Stored bits of quantised matrices, scales counted in, over their number of weights."""

    def __init__(self, scale_bytes: int) -> None:
        self.weights = self.bits = 0
        self._scale_bytes = scale_bytes

    def count(self, matrix: Int4Matrix) -> None:
        self.weights += matrix.inputs * matrix.outputs
        self.bits += 8 * (matrix.packed.size + self._scale_bytes * matrix.scales.size)

    @property
    def per_weight(self) -> float:
        return self.bits / self.weights if self.weights else 0.0


def quantize_llama(
    source: Path,
    output: Path,
    *,
    block_size: int | None = None,
    precision: str = "int4",
    keep_weights: bool = True,
    runtimes: Sequence[str] = ("onnxruntime",),
    half: bool = False,
    context: int | None = None,
) -> tuple[dict[str, str], dict[str, float]]:
    """Write OUTPUT/llama/*; returns the manifest's language table and {"bits_per_weight"}, and a figure of each further runtime's own.

    block_size    weights that share a scale; None: those of a checkpoint that is in 4 bits already, else DEFAULT_BLOCK
    precision     "int4", or "fp32" for comparison (float16 in TensorRT's graph)
    keep_weights  also a copy in float16 that torch can run
    runtimes      "onnxruntime", "tensorrt" or both
    half          ONNX Runtime's graph computes in float16, which CUDA's kernels need
    context       positions, by default the model's own up to LONGEST_CONTEXT
    QuantizeError with the cure, before anything is written where it can be known then.
    """
    config = read_config(source, context)
    packing = read_packing(source)
    blocks = (block_size or (packing.group if packing else DEFAULT_BLOCK)) if precision == "int4" else 0
    if blocks:
        check_blocks(config, blocks)
    if packing and blocks not in (0, packing.group):
        raise QuantizeError(f"{source} is quantised in groups of {packing.group}; give --block-size {packing.group}, or leave it out")
    checkpoint = LlamaCheckpoint(source, config)
    target = output / "llama"
    tokenizer = _tokenizer_of(source, target)
    target.mkdir(parents=True, exist_ok=True)
    language, facts = {}, {}
    for runtime in runtimes:
        role, file = FILES[runtime]
        bits = _write_graph(checkpoint, target / file, runtime, blocks, half, precision)
        language[role] = f"llama/{file}"
        facts["bits_per_weight" if runtime == runtimes[0] else f"bits_per_weight_{runtime}"] = bits.per_weight
    _replace_embeddings(checkpoint, target / "embeddings.safetensors")
    if tokenizer != target / "tokenizer.json":
        shutil.copyfile(tokenizer, target / "tokenizer.json")
    language |= {"embeddings": "llama/embeddings.safetensors", "tokenizer": "llama/tokenizer.json"}
    if keep_weights:
        _replace_weights(checkpoint, target / "weights")
        language["weights"] = "llama/weights"
    return language, facts


def _write_graph(checkpoint: LlamaCheckpoint, path: Path, runtime: str, block_size: int, half: bool, precision: str) -> _Bits:
    config = checkpoint.config
    typed = half or runtime == "tensorrt"
    bits = _Bits(scale_bytes=2 if typed else 4)
    whole = config.weights * ((0.5 + 4 / block_size) if block_size else 4)
    with (
        GraphWriter(path, external=whole > INSIDE_BYTES) as graph,
        tqdm(total=config.layers, desc=f"{runtime}, {precision}", unit="layer") as progress,
    ):

        def done(layer: int) -> None:
            progress.update()

        facts = {"precision": precision, "block_size": str(block_size), "context": str(config.context)}
        if runtime == "tensorrt":
            llama_tensorrt.build_tensorrt_graph(graph, checkpoint, block_size, bits.count, done)
            opset, domains = llama_tensorrt.OPSET, {}
        else:
            llama_onnxruntime.build_onnxruntime_graph(graph, checkpoint, block_size, half, bits.count, done)
            opset, domains = llama_onnxruntime.OPSET, {llama_onnxruntime.CONTRIB: 1}
        graph.save("llama", opset, domains, {**facts, "bits_per_weight": f"{bits.per_weight:.3f}"})
    return bits


def _tokenizer_of(source: Path, target: Path) -> Path:
    """The source's, or one that an import has already put where it belongs. QuantizeError where there is neither."""
    for path in (source / "tokenizer.json", target / "tokenizer.json"):
        if path.is_file():
            return path
    cure = "write it with transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
    raise QuantizeError(f"{source} has no tokenizer.json; {cure}")


def _replace_embeddings(checkpoint: LlamaCheckpoint, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    save_file({"embeddings": checkpoint.tensor(EMBEDDINGS).astype(np.float16)}, part)
    part.replace(path)


def _replace_weights(checkpoint: LlamaCheckpoint, target: Path) -> None:
    if target.exists() and target.samefile(checkpoint.source):
        return  # the import has written them there
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    config = json.loads((checkpoint.source / "config.json").read_text(encoding="utf-8"))
    config.pop("quantization_config", None)  # the copy is in float16
    (part / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    checkpoint.save_half(part)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)


def add_runtime_option(parser: argparse.ArgumentParser, about: str) -> None:
    """--runtime, whose values `runtimes_of` understands."""
    parser.add_argument("--runtime", choices=(*RUNTIMES, "both"), default="onnxruntime", help=f"{about} (%(default)s)")


def runtimes_of(named: str) -> tuple[str, ...]:
    """Those that --runtime names."""
    return RUNTIMES if named == "both" else (named,)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export.quantize_llama", description=__doc__.splitlines()[0] if __doc__ else None)
    what = "Hugging Face folder: config.json, safetensors in one file or many, tokenizer.json; plain, or in 4 bits by GPTQ or AWQ"
    parser.add_argument("--llama", required=True, type=Path, metavar="DIR", help=what)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder in which llama/ is written; its manifest follows")
    add_runtime_option(parser, "whose graph")
    sizes = "weights that share a scale: 32 is 5.0 bits a weight (4.5 in float16), 64 is 4.5, 128 is 4.25 (32, or what GPTQ or AWQ took)"
    parser.add_argument("--block-size", type=int, choices=BLOCK_SIZES, help=sizes)
    parser.add_argument("--precision", default="int4", choices=("int4", "fp32"), help="fp32 only to compare with (%(default)s)")
    parser.add_argument("--half", action="store_true", help="ONNX Runtime's graph in float16, for an NVIDIA GPU; slower on a CPU")
    parser.add_argument("--context", type=int, metavar="N", help="positions the model can hold (its own, at most 4096)")
    parser.add_argument("--with-weights", action="store_true", help="also a float16 copy that torch can run, to compare with")
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        language, facts = quantize_llama(
            arguments.llama,
            arguments.output,
            block_size=arguments.block_size,
            precision=arguments.precision,
            keep_weights=arguments.with_weights,
            runtimes=runtimes_of(arguments.runtime),
            half=arguments.half,
            context=arguments.context,
        )
        if (arguments.output / MANIFEST).is_file():
            told = {f"language_{name}": value for name, value in facts.items()}
            add_language(arguments.output, language, told | ({"language_half": True} if arguments.half else {}))
    except (QuantizeError, ModelFolderError, OSError) as error:
        print(f"quantize: {error}", file=sys.stderr)
        return 2
    said = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in facts.items())
    print(f"wrote {arguments.output / 'llama'}: {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
