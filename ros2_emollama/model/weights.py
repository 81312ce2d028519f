"""A model folder's weights for torch: the network's, in one file or in shards, and a LoRA that was kept beside the language model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from .folder import ModelFolderError
from .network import EmotionNetwork
from .presets import Preset

NETWORK = "network.safetensors"


def weight_files(root: Path) -> list[Path]:
    """The files that hold the network; empty where the folder has none. ModelFolderError where the index names one that is not there."""
    index = root / f"{NETWORK}.index.json"
    if not index.is_file():
        return [root / NETWORK] if (root / NETWORK).is_file() else []
    files = [root / name for name in sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))]
    if missing := [file.name for file in files if not file.is_file()]:
        raise ModelFolderError(f"{root} lacks {', '.join(missing)}, which {index.name} names; import the model again")
    return files


def weight_places(root: Path) -> dict[str, Path]:
    """Tensor → the file that holds it. Where a folder has an index that alone decides: a file may hold tensors that another replaces."""
    index = root / f"{NETWORK}.index.json"
    files = weight_files(root)
    if index.is_file():
        return {name: root / file for name, file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()}
    places = {}
    for path in files:
        with safe_open(str(path), framework="pt") as opened:
            places.update(dict.fromkeys(opened.keys(), path))
    return places


def network_weights(root: Path, parts: tuple[str, ...] = ("",)) -> dict[str, Tensor]:
    """Every tensor by name, floating ones as float32. parts: only those whose names begin so."""
    weights: dict[str, Tensor] = {}
    by_file: dict[Path, list[str]] = {}
    for name, path in weight_places(root).items():
        if name.startswith(parts):
            by_file.setdefault(path, []).append(name)
    for path, names in by_file.items():
        with safe_open(str(path), framework="pt") as opened:
            for name in names:
                value = opened.get_tensor(name)
                weights[name] = value.float() if value.is_floating_point() else value
    return weights


def load_network(root: Path, preset: Preset) -> EmotionNetwork:
    """The network with a folder's weights, ready to run. Large ones are never drawn at random first: that would take their memory twice."""
    with torch.device("cpu" if preset.vision.kind == "nano" else "meta"):
        network = EmotionNetwork(preset)
    network.load_state_dict(network_weights(root), assign=True)
    return network.eval()


def adapter_deltas(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """LLaMA weight → (up · alpha / r, down) of an adapter in peft's form; their product is what is added."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "adapter_model.safetensors")
    deltas = {}
    for name, down in tensors.items():
        if name.endswith(".lora_A.weight"):
            up = tensors[name.replace(".lora_A.", ".lora_B.")]
            target = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
            deltas[target] = (up.float() * (config["lora_alpha"] / down.shape[0]), down.float())
    return deltas


def with_delta(weight: Tensor, delta: tuple[Tensor, Tensor] | None) -> Tensor:
    """A weight with its adapter added, in its own type."""
    return weight if delta is None else (weight.float() + delta[0] @ delta[1]).to(weight.dtype)


def apply_adapter(model: nn.Module, folder: Path) -> None:
    """Add an adapter to a loaded language model."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, delta in adapter_deltas(folder).items():
            parameters[name].copy_(with_delta(parameters[name], delta))
