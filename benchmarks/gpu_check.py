"""One command for a machine with an NVIDIA GPU: is what it computes right, and how fast is it?

    python -m benchmarks.gpu_check                              nano, and Emotion-LLaMAv2's kinds of streams at a small size, random weights
    python -m benchmarks.gpu_check --model random:emotion_llama_v2      its full size with random weights: 20 GB of disk, 16 GB of memory
    python -m benchmarks.gpu_check --model DIR --providers cuda tensorrt torch_half --json build/gpu_check.json
    python -m benchmarks.gpu_check --providers cpu_half torch_cpu       without a GPU, to see that it works

Every provider runs in a process of its own and is compared with ONNX Runtime on the CPU on the same drawn inputs: encoders by the
largest difference as a share of an output's range, the language model by the cosine of its logits. What cannot be had is named, and why.
Status 0: all that was asked ran and agrees; 1: not all; 2: it could not be checked.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from export.llama_config import QuantizeError
from export.manifest import add_language
from export.quantize_llama import quantize_llama
from ros2_emollama.model.folder import ModelFolder, ModelFolderError, find_model, open_folder
from ros2_emollama.model.presets import PRESETS, Preset
from ros2_emollama.runtime.engine_check import LIMIT, difference
from ros2_emollama.runtime.gpu import find_gpu

from .gpu_worker import HALF_ROLE, OPENERS

REFERENCE = "cpu"
DEFAULT_PROVIDERS = ("cuda", "tensorrt", "torch", "torch_half")
DEFAULT_MODELS = ("nano", "random:small_v2")
LEAST_COSINE, LEAST_COSINE_RANDOM = 0.98, 0.5
"""Of logits with the reference's. Both round to 4 bits' neighbours in their own way; random weights forgive nothing (docs/LOG.md)."""
PACKAGES = ("onnxruntime-gpu", "onnxruntime", "tensorrt", "tensorrt-rtx", "torch")


def preset_of(name: str) -> Preset:
    from .random_model import SMALL_V2

    known = {SMALL_V2.name: SMALL_V2, **PRESETS}
    if name not in known:
        raise ModelFolderError(f"no preset {name!r} for random weights; choose {', '.join(known)}")
    return known[name]


def prepared(name: str, kept: Path, providers: Iterable[str]) -> Path:
    """A folder of its own below `kept`, with every form of the language model that these providers take and that can be made."""
    if name.startswith("random:"):
        target = kept / name.replace(":", "-")
        if not (target / "manifest.json").is_file():
            from .random_model import write_random_model

            print(f"{name}: drawing weights and exporting graphs into {target}", file=sys.stderr)
            write_random_model(target, preset_of(name.partition(":")[2]), torch_weights=True)
    else:
        source = open_folder(find_model(name))
        source.verify()
        target = kept / source.model_id
        if not (target / "manifest.json").is_file():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source.root, target.with_name(target.name + ".part"), copy_function=_linked, dirs_exist_ok=True)
            target.with_name(target.name + ".part").rename(target)
    add_forms(open_folder(target), set(providers))
    return target


def _linked(source: str, target: str) -> None:
    """A second name for the same file where the disk can do that: a 7B need not be there twice."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def add_forms(folder: ModelFolder, providers: set[str]) -> None:
    """The language model in half floats for CUDA, and as TensorRT takes it, from the folder's own weights; without those, none."""
    language = folder.manifest.language
    if "weights" not in language or "adapter" in language:
        return
    source, context, held = folder.language("weights"), folder.preset.llama.context, folder.root / "held"
    tokens = folder.root / "llama" / "tokenizer.json"
    wanted = {HALF_ROLE: {"cuda", "cpu_half"}, "tensorrt": {"tensorrt"}}
    for role, needing in wanted.items():
        if not needing & providers or role in language:
            continue
        (held / "llama").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tokens, held / "llama" / "tokenizer.json")
        runtime = "onnxruntime" if role == HALF_ROLE else "tensorrt"
        made, _ = quantize_llama(source, held, keep_weights=False, runtimes=(runtime,), half=role == HALF_ROLE, context=context)
        graph = Path(made["graph" if role == HALF_ROLE else "tensorrt"])
        place = folder.root / "llama" / role
        shutil.rmtree(place, ignore_errors=True)
        (held / "llama").rename(place)
        add_language(folder.root, {role: f"llama/{role}/{graph.name}"}, {})
    shutil.rmtree(held, ignore_errors=True)


def run_provider(provider: str, model: Path, outputs: Path, rounds: int, tokens: int) -> dict[str, Any]:
    """The worker's answer; one that dies is told with its last words."""
    given = ["--provider", provider, "--model", str(model), "--outputs", str(outputs), "--rounds", str(rounds), "--tokens", str(tokens)]
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu_worker", *given], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"])[-1]
        return {"had": False, "why": said, "failed": True}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(found: Path, reference: Path, random: bool) -> dict[str, Any]:
    """How far apart the outputs are, and whether that is near enough."""
    with np.load(found) as ours, np.load(reference) as theirs:
        apart = {name: difference(ours[name], theirs[name]) for name in theirs.files if name != "llama.logits" and name in ours.files}
        missing = sorted(set(theirs.files) - set(ours.files))
        cosine = None
        if "llama.logits" in ours.files and "llama.logits" in theirs.files:
            a, b = ours["llama.logits"], theirs["llama.logits"]
            cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    worst = max(apart, key=lambda name: apart[name])
    least = LEAST_COSINE_RANDOM if random else LEAST_COSINE
    agrees = apart[worst] <= LIMIT and (cosine is None or cosine >= least)
    return {"agrees": agrees, "largest_difference": apart[worst], "where": worst, "logits_cosine": cosine, "not_given": missing}


def check_model(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every provider on one model. ModelFolderError or RuntimeError where not even the reference runs."""
    model = prepared(name, arguments.folder, arguments.providers)
    random = open_folder(model).manifest.info.get("weights") == "random"
    rows: dict[str, Any] = {}
    files = {provider: model.with_name(f"{model.name}-{provider}.npz") for provider in (REFERENCE, *arguments.providers)}
    for provider in dict.fromkeys((REFERENCE, *arguments.providers)):
        print(f"{name}: {provider} …", file=sys.stderr)
        row = run_provider(provider, model, files[provider], arguments.rounds, arguments.tokens)
        if provider == REFERENCE and not row["had"]:
            raise RuntimeError(f"{name}: ONNX Runtime on the CPU, which all else is compared with, does not run: {row['why']}")
        rows[provider] = row | (compared(files[provider], files[REFERENCE], random) if row["had"] else {})
    for file in files.values():
        file.unlink(missing_ok=True)
    return {"model": name, "random_weights": random, "providers": rows}


def machine() -> dict[str, Any]:
    """What ran it."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    gpu = find_gpu()
    return {"gpu": str(gpu) if gpu else None, "cpu_cores": os.cpu_count(), "machine": platform.machine(), "packages": packages}


def table(report: dict[str, Any]) -> str:
    """For a person."""
    facts = report["machine"]
    there = ", ".join(f"{name} {found}" for name, found in facts["packages"].items() if found)
    lines = [f"GPU: {facts['gpu'] or 'none'}; {there}"]
    columns = ("load s", "window ms", "hop ms", "first token ms", "tokens/s", "GPU MB", "differs", "cosine")
    for checked in report["models"]:
        lines += ["", checked["model"] + (", random weights" if checked["random_weights"] else "")]
        lines.append(f"  {'':<12}" + "".join(f"{name:>16}" for name in columns))
        for provider, row in checked["providers"].items():
            lines.append(f"  {provider:<12}" + (_cells(row) if row["had"] else f"NOT HAD: {row['why']}"))
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> str:
    def cell(value: float | None, form: str) -> str:
        return f"{'-' if value is None else format(value, form):>16}"

    numbers = (
        cell(row["load_seconds"], ".1f"),
        cell(row["window_ms"]["median"], ".1f"),
        cell(row["hop_ms"]["median"], ".1f"),
        cell(row.get("first_token_ms"), ".1f"),
        cell(row.get("tokens_per_second"), ".1f"),
        cell(row["gpu_mb"], ".0f"),
        cell(row["largest_difference"], ".1e"),
        cell(row["logits_cosine"], ".4f"),
    )
    verdict = "" if row["agrees"] else f"   DISAGREES at {row['where']}"
    lacking = f"   without {', '.join(row['not_given'])}" if row["not_given"] else ""
    return "".join(numbers) + verdict + lacking


def good(report: dict[str, Any]) -> bool:
    return all(row["had"] and row["agrees"] for checked in report["models"] for row in checked["providers"].values())


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = f"a model's name or folder, or random:PRESET; may be given again (default {' and '.join(DEFAULT_MODELS)})"
    parser.add_argument("--model", action="append", metavar="NAME", help=what)
    parser.add_argument("--providers", nargs="+", choices=OPENERS, default=DEFAULT_PROVIDERS, help="(default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("build/gpu_check"), help="where models are prepared and kept (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="the median is told (%(default)s)")
    parser.add_argument("--tokens", type=int, default=32, help="decoded in each round (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there as well")
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        report = {"machine": machine(), "models": [check_model(name, arguments) for name in arguments.model or DEFAULT_MODELS]}
    except (ModelFolderError, QuantizeError, RuntimeError, OSError) as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 2
    print(table(report))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if good(report) else 1


if __name__ == "__main__":
    sys.exit(main())
