"""A trained stage as a model folder: `python -m export.to_onnx --model DIR` makes it run on a robot, the torch runtime takes it as it is.

Files of the start that did not change are linked, not copied: of 17 GB of Emotion-LLaMAv2 a stage adds 0.3.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ros2_emollama.model.folder import Manifest, ModelFolder, file_facts, open_folder, put_manifest
from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.presets import Preset
from ros2_emollama.model.weights import NETWORK, weight_places

from ..whole import link_or_copy
from .recipes import Lora
from .student import PARTS, save_adapter

TRAINED = "network-trained.safetensors"
INSIDE = "fusion.network."  # of a student, before the names of the network


def write_folder(
    start: ModelFolder, preset: Preset, tensors: Mapping[str, Tensor], output: Path, lora: Lora, info: Mapping[str, Any]
) -> ModelFolder:
    """tensors: those of the student that are not the frozen language model's. What stands at `output` is replaced when all is written."""
    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    facts: dict[str, Mapping[str, Any]] = {}
    _write_network(start, preset, tensors, part, facts)
    language = _write_language(start, tensors, part, lora, facts)
    for path in sorted(path for path in part.rglob("*") if path.is_file()):
        name = path.relative_to(part).as_posix()
        if name not in facts:
            facts[name] = file_facts(path)
    kept = {key: start.manifest.info[key] for key in ("licence", "sources", "notes") if key in start.manifest.info}
    put_manifest(part, Manifest(preset.name, preset, {}, language, facts, {**kept, "start": start.model_id, **info}))
    shutil.rmtree(output, ignore_errors=True)
    part.rename(output)
    return open_folder(output)


def _link(source: Path, target: Path, start: ModelFolder, facts: dict[str, Mapping[str, Any]], name: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    link_or_copy(source.resolve(), target)
    known = start.manifest.files.get(source.relative_to(start.root).as_posix())
    if known is not None:
        facts[name] = known


def _write_network(
    start: ModelFolder, preset: Preset, tensors: Mapping[str, Tensor], part: Path, facts: dict[str, Mapping[str, Any]]
) -> None:
    """Encoders where they lie, all else in a file of its own, and an index of both."""
    own = {name.removeprefix(INSIDE): value.contiguous() for name, value in tensors.items() if name.startswith(INSIDE)}
    with torch.device("meta"):
        wanted = list(EmotionNetwork(preset).state_dict())
    places = {name: path for name, path in weight_places(start.root).items() if name in wanted and not name.startswith(PARTS)}
    if missing := [name for name in wanted if name not in own and name not in places]:
        raise ValueError(f"{start.root} lacks {', '.join(missing[:5])}; import the model again")
    save_file(own, part / TRAINED, {"format": "pt"})
    for path in sorted(set(places.values())):
        _link(path, part / path.name, start, facts, path.name)
    table = {name: TRAINED if name in own else places[name].name for name in wanted}
    index = {"metadata": {"total_size": 0}, "weight_map": table}
    (part / f"{NETWORK}.index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _write_language(
    start: ModelFolder, tensors: Mapping[str, Tensor], part: Path, lora: Lora, facts: dict[str, Mapping[str, Any]]
) -> dict[str, str]:
    source, target = start.language("weights"), part / "llama" / "weights"
    llama = {name.removeprefix("llama."): value for name, value in tensors.items() if name.startswith("llama.") and "lora_" not in name}
    for path in sorted(path for path in source.iterdir() if path.is_file()):
        if not (llama and path.name.startswith("model")):
            _link(path, target / path.name, start, facts, f"llama/weights/{path.name}")
    if llama:  # trained whole
        save_file({name: value.half().contiguous() for name, value in llama.items()}, target / "model.safetensors", {"format": "pt"})
    language = {"weights": "llama/weights", "tokenizer": "llama/weights/tokenizer.json"}
    if not (target / "tokenizer.json").is_file():
        _link(start.language("tokenizer"), target / "tokenizer.json", start, facts, "llama/weights/tokenizer.json")
    if save_adapter(dict(tensors), lora, part / "llama" / "adapter"):
        language["adapter"] = "llama/adapter"
    elif "adapter" in start.manifest.language and not llama:
        shutil.copytree(start.language("adapter"), part / "llama" / "adapter")
        language["adapter"] = "llama/adapter"
    return language
