"""A taught network as a model folder that a robot runs: files of the start linked, weights and fusion graph of its own, a new manifest.

The start's card, report and figures stay behind: they were measured of another model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from export.to_onnx import export_graph, halved
from ros2_emollama.model.folder import Manifest, ModelFolder, open_folder, write_manifest
from ros2_emollama.model.graphs import graph_specs
from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.weights import NETWORK

from ..whole import link_or_copy

NAME = "nano-own"
KEPT_INFO = ("licence", "sources", "notes", "language_bits_per_weight", "language_bits_per_weight_tensorrt")
CHANGED = (NETWORK, "fusion.onnx")
CARD = """# {name}

{start}, taught further on {clips} clips of somebody's own by `python -m training fit --preset nano --csv …`; its labels are {labels}.

What the card of {start} says was measured of that model and is not true of this one. What is known of this one stands in `manifest.json`
(info) and, where clips were held out, in `held_out.json` of the run that made it.

Licence of the weights: {licence}, as of those it started from{terms}.
"""


def write_taught(start: ModelFolder, network: EmotionNetwork, output: Path, told: Mapping[str, Any]) -> tuple[ModelFolder, float]:
    """The folder, and the graph's largest difference from torch. What stands at `output` is replaced when all is written."""
    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in start.manifest.files:
        if name not in CHANGED:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy((start.root / name).resolve(), part / name)
    network.load_state_dict(halved(network.state_dict()))
    save_file({name: value.contiguous() for name, value in halved(network.state_dict()).items()}, part / NETWORK)
    shutil.copymode(start.root / NETWORK, part / NETWORK)  # safetensors lets nobody else read its files
    error = export_graph(network.eval(), graph_specs(network.preset)["fusion"], part / start.manifest.graphs["fusion"])
    kept = {key: value for key, value in start.manifest.info.items() if key in KEPT_INFO}
    info = {**kept, "start": start.model_id, "training": {"own": dict(told)}}
    (part / "MODEL_CARD.md").write_text(_card(start, network.preset.labels, info), encoding="utf-8")
    write_manifest(part, Manifest(NAME, network.preset, start.manifest.graphs, start.manifest.language, {}, info))
    shutil.rmtree(output, ignore_errors=True)
    part.rename(output)
    return open_folder(output), error


def _card(start: ModelFolder, labels: Sequence[str], info: Mapping[str, Any]) -> str:
    licence = str(info.get("licence") or "not stated")
    terms = ": not for commercial use, share alike" if "-NC" in licence else ""
    clips = info["training"]["own"]["clips"]
    return CARD.format(name=NAME, start=start.model_id, clips=clips, labels=", ".join(labels), licence=licence, terms=terms)


def told_of(folder: ModelFolder) -> dict[str, Any]:
    """What `write_taught` was told."""
    told: dict[str, Any] = json.loads(json.dumps(folder.manifest.info))["training"]["own"]
    return told
