"""A LLaMA in Hugging Face form → the 4-bit graph that ONNX Runtime decodes with, its embeddings and its tokenizer.

The graph comes from onnxruntime-genai's builder (MatMulNBits and GroupQueryAttention); the embeddings stay outside it, because our prompts
mix text with tokens of sight and sound.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors.numpy import load_file, save_file


class QuantizeError(ValueError):
    """These weights cannot be quantised so; the message names the rule and the cure."""


def check_blocks(config: dict[str, Any], block_size: int) -> None:
    """QuantizeError unless every quantised matrix has a whole number of blocks a column."""
    for what in ("hidden_size", "intermediate_size"):
        if config[what] % block_size:
            fitting = [size for size in (16, 32, 64, 128, 256) if config["hidden_size"] % size == 0 == config["intermediate_size"] % size]
            cure = f"choose --block-size {' or '.join(map(str, fitting))}" if fitting else "pad the weights"
            raise QuantizeError(f"block size {block_size} does not divide {what} {config[what]}; {cure}")


def quantize_llama(
    source: Path, output: Path, *, block_size: int = 32, precision: str = "int4", keep_weights: bool = True
) -> tuple[dict[str, str], dict[str, float]]:
    """Write OUTPUT/llama/*; returns the manifest's language table and {"bits_per_weight"}.

    precision  "int4", or "fp32" for comparison
    """
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    check_blocks(config, block_size)
    target = output / "llama"
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        _run_builder(source, Path(folder), precision, block_size)
        model = onnx.load(str(Path(folder) / "model.onnx"))
    onnx.save(model, str(target / "model.onnx"), save_as_external_data=False)
    _save_embeddings(source, target / "embeddings.safetensors")
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    language = {"graph": "llama/model.onnx", "embeddings": "llama/embeddings.safetensors", "tokenizer": "llama/tokenizer.json"}
    if keep_weights:
        weights = target / "weights"
        weights.mkdir()
        shutil.copyfile(source / "config.json", weights / "config.json")
        _save_half(source / "model.safetensors", weights / "model.safetensors")
        language["weights"] = "llama/weights"
    return language, {"bits_per_weight": bits_per_weight(model)}


def _run_builder(source: Path, output: Path, precision: str, block_size: int) -> None:
    """The builder's command line: its Python interface changes from version to version."""
    options = ["exclude_embeds=true", f"block_size={block_size}", "accuracy_level=4", "is_symmetric=true", "prune_lm_head=true"]
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(source), "-o", str(output), "-p", precision, "-e", "cpu"]
    command += ["-c", str(output / "cache"), "--extra_options", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout)[-800:]
        raise QuantizeError(f"onnxruntime-genai could not build {source} (where it is missing: pip install onnxruntime-genai):\n{said}")


def bits_per_weight(model: onnx.ModelProto) -> float:
    """Stored bits of all quantised matrices, scales counted in, over their number of weights. 0 where nothing is quantised."""
    sizes = {item.name: len(item.raw_data) for item in model.graph.initializer}
    bits = weights = 0
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            shape = {attribute.name: attribute.i for attribute in node.attribute}
            weights += shape["K"] * shape["N"]
            bits += 8 * sum(sizes[name] for name in node.input[1:] if name in sizes)
    return bits / weights if weights else 0.0


def _save_half(source: Path, target: Path) -> None:
    """The reference weights in float16: half the size, and far finer than the 4 bits they are compared with."""
    save_file({name: np.ascontiguousarray(table.astype(np.float16)) for name, table in load_file(source).items()}, target, {"format": "pt"})


def _save_embeddings(source: Path, path: Path) -> None:
    table = load_file(source / "model.safetensors")["model.embed_tokens.weight"]
    save_file({"embeddings": np.ascontiguousarray(table.astype(np.float32))}, path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m export.quantize_llama", description=__doc__.splitlines()[0] if __doc__ else None)
    what = "Hugging Face folder: config.json, model.safetensors, tokenizer.json"
    parser.add_argument("--llama", required=True, type=Path, metavar="DIR", help=what)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder in which llama/ is written")
    parser.add_argument("--block-size", type=int, default=32, help="weights that share a scale (%(default)s)")
    parser.add_argument("--precision", default="int4", choices=("int4", "fp32"))
    arguments = parser.parse_args(argv)
    try:
        _, facts = quantize_llama(arguments.llama, arguments.output, block_size=arguments.block_size, precision=arguments.precision)
    except (QuantizeError, OSError) as error:
        print(f"quantize: {error}", file=sys.stderr)
        return 2
    print(f"wrote {arguments.output / 'llama'}: {facts['bits_per_weight']:.2f} bits per weight")
    return 0


if __name__ == "__main__":
    sys.exit(main())
