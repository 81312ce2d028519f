"""4-bit decoding of a LLaMA with random weights: ours alone, or against llama.cpp in turns, with bits per weight that are the same.

    python -m benchmarks.decode --shape 1.1b --against /path/to/python      one that has llama-cpp-python, gguf and safetensors
    python -m benchmarks.decode --shape 7b                                  load time, peak memory, tokens a second, no comparison
Each round asks one engine and then the other for the same prefill and the same number of tokens; the figure is the median of the rounds'
ratios, with the smallest and the largest. Before that both say their logits for the same ids: the same weights must mean the same.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from export.quantize_llama import quantize_llama
from ros2_emollama.model.folder import MANIFEST, Manifest, write_manifest
from ros2_emollama.model.presets import TINY

from .random_llama import SHAPES, VOCABULARY, write_random_llama
from .report import tell

BANDWIDTH_BYTES = 1 << 30
Q4_0_BITS = 4.5
CONTEXT = 1024
LEAST_COSINE = 0.5  # of both engines' logits: each rounds in its own way, and random weights forgive nothing (unrounded: 1.0000)


class Worker:
    """An engine's process."""

    def __init__(self, python: str, engine: str, model: Path, threads: int) -> None:
        command = [python, "-m", "benchmarks.decode_worker", "--engine", engine, "--model", str(model), "--threads", str(threads)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([*command, "--context", str(CONTEXT)], stdin=pipe, stdout=pipe, text=True)
        self.facts = self._answer()

    def ask(self, **what: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"an engine ended with {self._process.wait()}; its own message stands above")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        self._process.communicate(timeout=60)


def prepared(folder: Path, shape: str, block_size: int, python: str | None) -> tuple[Path, Path | None, float]:
    """(model folder, GGUF file where there is somebody to compare with, bits per weight); what is there already is used again."""
    source, model, gguf = folder / shape, folder / f"{shape}-b{block_size}", folder / f"{shape}.gguf"
    if not (source / "config.json").is_file():
        write_random_llama(source, **SHAPES[shape], context=CONTEXT)
    if not (model / MANIFEST).is_file():
        language, facts = quantize_llama(source, model, block_size=block_size, keep_weights=False)
        sizes = SHAPES[shape]
        heads = sizes["num_attention_heads"]
        llama = dataclasses.replace(
            TINY.llama,
            hidden=sizes["hidden_size"],
            layers=sizes["num_hidden_layers"],
            heads=heads,
            kv_heads=sizes.get("num_key_value_heads", heads),
            intermediate=sizes["intermediate_size"],
            vocab=VOCABULARY,
            context=CONTEXT,
        )
        write_manifest(model, Manifest(shape, dataclasses.replace(TINY, llama=llama), {}, language, {}, facts))
    if python and not gguf.is_file():
        part = gguf.with_suffix(".part")
        subprocess.run([python, "-m", "benchmarks.gguf_llama", str(source), str(part)], check=True)
        part.replace(gguf)
    bits = json.loads((model / MANIFEST).read_text(encoding="utf-8"))["info"]["bits_per_weight"]
    return model, gguf if python else None, bits


def bandwidth(threads: int, repeats: int = 5) -> float:
    """Bytes a second that NumPy reads from memory at best, on so many threads."""
    parts = np.array_split(np.ones(BANDWIDTH_BYTES // 8, np.int64), threads)
    best = 0.0
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            begun = time.perf_counter()
            list(pool.map(np.max, parts))
            best = max(best, BANDWIDTH_BYTES / (time.perf_counter() - begun))
    return best


def matrix_bytes(shape: str, bits: float) -> float:
    """What one token reads of the weights."""
    sizes = SHAPES[shape]
    hidden, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    keys = sizes.get("num_key_value_heads", heads) * hidden // heads
    layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * sizes["intermediate_size"]
    return (sizes["num_hidden_layers"] * layer + VOCABULARY * hidden) * bits / 8


def agree(ours: Worker, theirs: Worker, ids: list[int]) -> float:
    """Cosine of the logits. RuntimeError where the two are not the same model."""
    first, second = (np.array(worker.ask(logits=ids)["logits"]) for worker in (ours, theirs))
    cosine = float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    if cosine < LEAST_COSINE:
        raise RuntimeError(
            f"the engines' logits have cosine {cosine:.3f}: they do not run the same weights; remove the folder and start again"
        )
    return cosine


def measure_decode(arguments: argparse.Namespace) -> dict[str, Any]:
    """The report; see the module."""
    model, gguf, bits = prepared(arguments.folder, arguments.shape, arguments.block_size, arguments.against)
    report: dict[str, Any] = {"shape": arguments.shape, "threads": arguments.threads, "bits_per_weight": bits}
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCABULARY, arguments.prefill).tolist()
    workers = {"onnxruntime": Worker(sys.executable, "onnxruntime", model, arguments.threads)}
    if gguf is not None:
        workers["llama.cpp"] = Worker(arguments.against, "llama.cpp", gguf, arguments.threads)
        report |= {"llama_cpp_bits_per_weight": Q4_0_BITS, "logits_cosine": agree(*workers.values(), ids[:16])}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for number in range(arguments.rounds + 1):
        for name in sorted(workers, reverse=bool(number % 2)):  # neither is always first
            found = workers[name].ask(prefill=ids, decode=arguments.tokens)
            if number:  # the first round warms up
                rounds[name].append(found)
    for worker in workers.values():
        worker.end()
    limit = bandwidth(arguments.threads)
    report["bandwidth_gb_per_second"] = limit / 1e9
    for name, found in rounds.items():
        speeds = [1 / statistics.median(one["token_seconds"]) for one in found]
        read = matrix_bytes(arguments.shape, bits if name == "onnxruntime" else Q4_0_BITS)
        report[name] = {
            "load_seconds": workers[name].facts["load_seconds"],
            "peak_gb": found[-1]["peak_gb"],
            "prefill_tokens_per_second": statistics.median(arguments.prefill / one["prefill_seconds"] for one in found),
            "tokens_per_second": statistics.median(speeds),
            "share_of_bandwidth": statistics.median(speeds) * read / limit,
        }
        rounds[name] = [{"speed": speed} for speed in speeds]
    if gguf is not None:
        ratios = [ours["speed"] / theirs["speed"] for ours, theirs in zip(rounds["onnxruntime"], rounds["llama.cpp"], strict=True)]
        report["ratio"] = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "rounds": len(ratios)}
    return report


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--shape", choices=SHAPES, default="1.1b", help="whose sizes (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("build/decode"), help="where weights and graphs are kept (%(default)s)")
    parser.add_argument("--against", metavar="PYTHON", help="interpreter that has llama-cpp-python; without it ours runs alone")
    parser.add_argument("--threads", type=int, default=1, help="of each engine (%(default)s)")
    parser.add_argument("--block-size", type=int, default=64, help="64 is 4.5 bits a weight, as Q4_0 (%(default)s)")
    parser.add_argument("--prefill", type=int, default=128, help="tokens before (%(default)s)")
    parser.add_argument("--tokens", type=int, default=32, help="decoded in each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there as well")
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        report = measure_decode(arguments)
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        print(f"decode: {error}", file=sys.stderr)
        return 2
    tell(report, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
