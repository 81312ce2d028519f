"""A model folder → a TensorRT engine and its manifest for each graph, built for this machine's GPU.

TensorRT for RTX also builds without a GPU, for every card from Ampere on. The node builds what is missing by itself (model.runtime
tensorrt); this does it beforehand, where one sees it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

if not __package__:  # started as a file: python export/build_trt.py
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ros2_emollama.model.folder import ModelFolder, ModelFolderError, find_model, open_folder
from ros2_emollama.model.graphs import graph_specs
from ros2_emollama.runtime.base import RuntimeUnavailable
from ros2_emollama.runtime.cuda import Cuda, CudaError
from ros2_emollama.runtime.engine_cache import LLAMA, EngineCache, default_root
from ros2_emollama.runtime.engine_check import check_encoders, check_llama
from ros2_emollama.runtime.engine_manifest import EngineError
from ros2_emollama.runtime.engine_serving import encoders_of, llama_of
from ros2_emollama.runtime.gpu import find_gpu
from ros2_emollama.runtime.onnx_runtime import CPU, OnnxEncoders
from ros2_emollama.runtime.tensorrt_flavor import FLAVORS, find_flavor


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export.build_trt", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="nano", metavar="NAME|DIR", help="a shipped model or a model folder (%(default)s)")
    parser.add_argument("--flavor", default="auto", choices=("auto", *FLAVORS), help="auto: the first of them that is installed")
    where = "folder for the engines; without it, where the node looks for them"
    parser.add_argument("--output", type=Path, metavar="DIR", help=where)
    parser.add_argument("--graph", action="append", metavar="NAME", help="build this one only; may be given again")
    parser.add_argument("--memory-mb", type=float, metavar="MB", help="what a build may take (all that is available)")
    parser.add_argument("--workspace-mb", type=int, default=0, metavar="MB", help="scratch memory on the GPU (TensorRT's own choice)")
    parser.add_argument("--again", action="store_true", help="build even what is there and fits")
    parser.add_argument("--check", action="store_true", help="run each engine beside ONNX Runtime on the same drawn inputs; needs the GPU")
    return parser


def build_all(folder: ModelFolder, cache: EngineCache, names: list[str], again: bool) -> None:
    """Each graph in turn, with a bar of its own. EngineError at the first that cannot be built."""
    for name in names:
        with tqdm(total=100, desc=name, disable=None, bar_format="{desc:<16} {percentage:3.0f}%|{bar}| {elapsed} {postfix}") as bar:

            def move(share: float, text: str, bar: tqdm = bar) -> None:
                bar.set_postfix_str(text)
                bar.update(100 * share - bar.n)

            made, built = cache.obtain(name, move, again=again)
            move(1.0, "built" if built else "was there")
        how = f"{made.build_seconds:.1f} s, {made.peak_mb:.0f} MB of memory" if built else "was there and fits"
        print(f"{name}: {made.engine_bytes / 1e6:.1f} MB, {how}")


def check(cache: EngineCache, names: list[str]) -> bool:
    """Run every engine beside ONNX Runtime and say how far apart they are; False where one is too far."""
    device, specs = Cuda(), graph_specs(cache.folder.preset)
    found = []
    if encoders := {name: spec for name, spec in specs.items() if name in names}:
        found += list(check_encoders(encoders_of(cache, device), OnnxEncoders(cache.folder, wanted=(CPU,)), encoders, cache.folder.preset))
    if LLAMA in names:
        found += list(check_llama(llama_of(cache, device), cache.source(LLAMA), cache.folder.preset.llama.hidden))
    for line in found:
        print(line.text)
    return all(line.good for line in found)


def main(argv: list[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        folder = open_folder(find_model(arguments.model))
        folder.verify()
        flavor, gpu = find_flavor(arguments.flavor), find_gpu()
        if arguments.check and gpu is None:
            raise RuntimeUnavailable(
                "--check runs the engines and there is no GPU here; leave it out, or run it on the machine that has one"
            )
        cache = EngineCache(
            folder,
            flavor,
            gpu,
            arguments.output or default_root(folder, flavor, gpu),
            memory_mb=arguments.memory_mb,
            workspace_mb=arguments.workspace_mb,
        )
        names = arguments.graph or cache.graphs
        build_all(folder, cache, names, arguments.again)
        print(f"wrote {cache.root} ({flavor.name} {flavor.version}, for {gpu or 'every RTX card from Ampere on: there is no GPU here'})")
        return 1 if arguments.check and not check(cache, names) else 0
    except (CudaError, EngineError, ModelFolderError, RuntimeUnavailable, OSError) as error:
        print(f"build_trt: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
