"""The nano recipe, stage after stage; each resumes where it was stopped, a finished one is only loaded.

face ───┐
voice ──┼─► perception ─► describe ─► cognition ─► RUN/{network.safetensors, llama/, tokenizer.json, preset.json, metrics.json}
locate ─┘
The encoders know nothing of each other, so they are trained side by side, one thread each: small nets gain little from a second one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import torch
from safetensors.torch import save_file
from torch import nn

from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.presets import Preset

from .faces import train_faces
from .language import make_llama, make_tokenizer, train_language
from .locate import train_locator
from .loop import BAR_POSITION
from .paths import Paths
from .perception import train_perception, window_makers
from .voices import train_voices
from .whole import whole

STAGES = ("face", "voice", "locate", "perception", "language")
LANES = (("face",), ("voice", "locate"))
"""Stages that can run at the same time; both lanes take about as long."""


def fit_stage(name: str, preset: Preset, paths: Paths, left_out: frozenset[str] = frozenset()) -> dict[str, float]:
    """Run one stage (see STAGES) as far as it is not done; its figures. left_out: see `train_voices`."""
    if name == "language":
        return _fit_language(preset, paths)
    if name == "perception":
        return _finish(name, paths, lambda: _fit_perception(preset, paths))
    trainers: dict[str, Callable[..., tuple[nn.Module, dict[str, float]]]] = {
        "face": train_faces,
        "locate": train_locator,
        "voice": partial(train_voices, left_out=left_out),
    }

    def work() -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        module, figures = trainers[name](preset, paths)
        return module.state_dict(), figures

    return _finish(name, paths, work)


def fit_side_by_side(recipe: str, paths: Paths, threads: int) -> None:
    """Every lane in a process of its own. RuntimeError when one of them failed; what it had to say stands above."""
    options = ["--recipe", recipe, "--data", str(paths.data), "--cache", str(paths.cache), "--run", str(paths.run)]
    lanes = []
    for place, stages in enumerate(LANES):
        command = [sys.executable, "-m", "training", "fit", "--stage", *stages, "--threads", str(max(1, threads // len(LANES))), *options]
        lanes.append(subprocess.Popen(command, env={**os.environ, BAR_POSITION: str(place)}))
    try:
        failed = [" and ".join(stages) for stages, lane in zip(LANES, lanes, strict=True) if lane.wait() != 0]
    finally:
        for lane in lanes:
            lane.terminate()
    if failed:
        raise RuntimeError(f"training {', '.join(failed)} failed; the same command goes on from there")


def _finish(name: str, paths: Paths, work: Callable[[], tuple[dict[str, torch.Tensor], dict[str, float]]]) -> dict[str, float]:
    """Weights of a stage stand in RUN/<name>.pt with its figures; made by `work` where they do not."""
    path = paths.run / f"{name}.pt"
    if path.is_file():
        figures: dict[str, float] = torch.load(path, weights_only=True)["figures"]
        return figures
    weights, figures = work()
    with whole(path) as partial:
        torch.save({"weights": weights, "figures": figures}, partial)
    return figures


def _weights(name: str, paths: Paths, prefix: str) -> dict[str, torch.Tensor]:
    """The part of a stage's weights under `prefix`, without it."""
    path = paths.run / f"{name}.pt"
    if not path.is_file():
        raise FileNotFoundError(f"stage {name} is not done in {paths.run}; run it first: python -m training fit --stage {name}")
    saved: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["weights"]
    return {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)}


def assemble(preset: Preset, paths: Paths, *, fused: bool) -> EmotionNetwork:
    """The network with the encoders' weights; with the fusion's too where `fused`."""
    torch.manual_seed(0)
    network = EmotionNetwork(preset).eval()
    network.vision.face_net.load_state_dict(_weights("face", paths, "face_net."))
    network.vision.locator.load_state_dict(_weights("locate", paths, ""))
    network.audio.load_state_dict(_weights("voice", paths, "audio."))
    if fused:
        network.conv_pro_module.load_state_dict(_weights("perception", paths, "conv_pro_module."))
        network.label_head.load_state_dict(_weights("perception", paths, "label_head."))
    return network


def _fit_perception(preset: Preset, paths: Paths) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    network = assemble(preset, paths, fused=False)
    figures = train_perception(network, window_makers(network, paths), paths.run)
    kept = ("conv_pro_module.", "label_head.")
    return {key: value for key, value in network.state_dict().items() if key.startswith(kept)}, figures


def _fit_language(preset: Preset, paths: Paths) -> dict[str, float]:
    """The last stage; writes the folder that export/ takes."""
    network = assemble(preset, paths, fused=True)
    llama, tokenizer = make_llama(preset.llama), make_tokenizer(preset.llama, paths)
    figures = train_language(network, llama, tokenizer, paths)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, paths.run / "network.safetensors")
    llama.save_pretrained(paths.run / "llama")
    tokenizer.save(str(paths.run / "llama" / "tokenizer.json"))
    (paths.run / "preset.json").write_text(json.dumps(preset.to_dict(), indent=1), encoding="utf-8")
    metrics = {stage: torch.load(paths.run / f"{stage}.pt", weights_only=True)["figures"] for stage in STAGES[:-1]}
    (paths.run / "metrics.json").write_text(json.dumps({**metrics, "language": figures}, indent=1), encoding="utf-8")
    return figures
