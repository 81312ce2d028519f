"""A model folder of any preset with random weights: what a runtime costs does not depend on what a model knows.

Graph by graph, so that only one graph's weights are in memory; the language model layer by layer. Half floats are drawn, for the files keep
those. Its labels and words mean nothing.

    python -m benchmarks.random_model --preset emotion_llama_v2 --layers 2 --runtime both --output DIR    full width, two layers
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from export.quantize_llama import add_runtime_option, quantize_llama, runtimes_of
from export.to_onnx import export_graph
from ros2_emollama.model.folder import Manifest, write_manifest
from ros2_emollama.model.graphs import graph_specs
from ros2_emollama.model.network import BEHIND_ENCODERS, EmotionNetwork
from ros2_emollama.model.presets import EMOTION_LLAMA_V2, PRESETS, Preset
from ros2_emollama.model.streams import EvaPreset, LlamaPreset, WhisperPreset

from .random_llama import write_random_llama

SMALL = 1 << 20  # numbers; positions are such, of which a graph's own buffers are made
SMALL_V2 = dataclasses.replace(
    EMOTION_LLAMA_V2,
    name="small_v2",
    vision=EvaPreset(width=352, heads=4, intermediate=1536, scene_blocks=3, frame_blocks=4, scene_pixels=224),
    audio=WhisperPreset(layers=2, heads=4, intermediate=1024, width=256),
    prefix=dataclasses.replace(EMOTION_LLAMA_V2.prefix, scene=64),
    llama=LlamaPreset(hidden=512, layers=4, heads=8, kv_heads=8, intermediate=1376, vocab=2048, context=512),
)
"""Emotion-LLaMAv2's kinds of streams at a size for a test."""


def drawn_network(preset: Preset, graph: str | None = None, seed: int = 0) -> EmotionNetwork:
    """The network with random weights that are exact halves; with `graph` those it needs, and of the others only what is small."""
    with torch.device("meta"):
        network = EmotionNetwork(preset)
    generator = torch.Generator().manual_seed(seed)
    wanted = network if graph is None else used_by(network, graph)
    used = {id(value) for value in (*wanted.parameters(), *wanted.buffers())}
    for module in network.modules():
        for name, value in module._parameters.items():
            if value is not None and (id(value) in used or value.numel() < SMALL):
                module._parameters[name] = nn.Parameter(_drawn(name, value, generator), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.ones(buffer.shape, dtype=buffer.dtype)
    return network.eval()


def used_by(network: EmotionNetwork, graph: str) -> nn.Module:
    """The parts of a network that one graph is made of. The fusion's graph holds the whole network and uses its ends."""
    if graph != "fusion":
        return network.graph(graph)
    return nn.ModuleList(getattr(network, name) for name in BEHIND_ENCODERS if hasattr(network, name))


def _drawn(name: str, value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Vectors near those of a fresh network, matrices that keep the size of what goes through them."""
    if value.dim() < 2:
        return torch.ones(value.shape) if "bias" not in name and name.startswith("weight") else torch.zeros(value.shape)
    spread = 0.02 if value.shape[0] == 1 else (value[0].numel()) ** -0.5
    drawn = torch.empty(value.shape).normal_(0.0, spread, generator=generator)
    return drawn.half().float()


def write_random_model(
    output: Path,
    preset: Preset,
    *,
    block_size: int = 32,
    runtimes: Sequence[str] = ("onnxruntime",),
    half: bool = False,
    torch_weights: bool = False,
    llama: Path | None = None,
) -> dict[str, float]:
    """Write the folder; returns each graph's largest difference from torch.

    runtimes, half  forms of the language model, as export.quantize_llama takes them
    torch_weights   also what the torch runtime loads
    llama           a LLaMA in Hugging Face form of the preset's shape that is there already; else one is drawn
    """
    output.mkdir(parents=True, exist_ok=True)
    graphs, errors, tensors = {}, {}, {}
    for name, spec in tqdm(graph_specs(preset).items(), desc="graphs", disable=None):
        network = drawn_network(preset, name)
        graphs[name] = f"{name}.onnx"
        errors[name] = export_graph(network, spec, output / graphs[name])
        if torch_weights:
            tensors |= {key: value.half() for key, value in network.state_dict().items() if not value.is_meta}
    if torch_weights:
        save_file({key: value.contiguous() for key, value in tensors.items()}, output / "network.safetensors")
    source = llama or output / "drawn"
    if llama is None:
        write_random_llama(source, vocab_size=preset.llama.vocab, context=preset.llama.context, **hugging_face_sizes(preset.llama))
    language, facts = quantize_llama(
        source, output, block_size=block_size, keep_weights=torch_weights, runtimes=runtimes, half=half, context=preset.llama.context
    )
    if llama is None:
        shutil.rmtree(source)
    info = {"weights": "random", "language_half": half, **{f"language_{name}": value for name, value in facts.items()}}
    write_manifest(output, Manifest(preset.name, preset, graphs, language, {}, info))
    return errors


def hugging_face_sizes(llama: LlamaPreset) -> dict[str, int]:
    return {
        "hidden_size": llama.hidden,
        "num_hidden_layers": llama.layers,
        "num_attention_heads": llama.heads,
        "num_key_value_heads": llama.kv_heads,
        "intermediate_size": llama.intermediate,
    }


def shallow(preset: Preset, layers: int) -> Preset:
    """The same widths with `layers` of each net. ValueError for a preset of another kind than the published ones."""
    if not isinstance(preset.vision, EvaPreset):
        raise ValueError(f"{preset.name} has no layers to leave out; leave out --layers")
    vision = dataclasses.replace(preset.vision, scene_blocks=layers, frame_blocks=layers + 1 if preset.vision.frame_blocks else 0)
    audio, llama = (dataclasses.replace(part, layers=layers) for part in (preset.audio, preset.llama))
    return dataclasses.replace(preset, vision=vision, audio=audio, llama=llama)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.random_model", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", default="emotion_llama_v2", choices=sorted(PRESETS), help="(%(default)s)")
    parser.add_argument("--layers", type=int, metavar="N", help="of EVA, of the sound's encoder and of the language model (all)")
    add_runtime_option(parser, "of the language model")
    parser.add_argument("--block-size", type=int, default=32, help="weights that share a scale (%(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    return parser


def main(argv: list[str] | None = None) -> int:
    arguments = make_parser().parse_args(argv)
    try:
        preset = PRESETS[arguments.preset]
        if arguments.layers is not None:
            preset = shallow(preset, arguments.layers)
        errors = write_random_model(arguments.output, preset, block_size=arguments.block_size, runtimes=runtimes_of(arguments.runtime))
    except (ValueError, OSError) as error:
        print(f"random_model: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.output}: largest difference from torch " + ", ".join(f"{name} {value:.1e}" for name, value in errors.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
