"""The network to be taught: the start's weights, under the start's labels or under others."""

from __future__ import annotations

import torch
from torch import nn

from ros2_emollama.model.folder import ModelFolder
from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.presets import Preset
from ros2_emollama.model.weights import load_network, weight_files

NEW_LAYER = "label_head.out.3."
"""What tells one label from another; all before it knows no labels."""
SMALL = 1e-3  # deviation of drawn weights: all labels alike at first, so that what lies before is not torn about by chance


def load_start(start: ModelFolder) -> EmotionNetwork:
    """ValueError with the cure where the folder is not of nano's kind, or cannot be trained."""
    preset = start.preset
    if preset.prefix.absent != "zeros" or not preset.has_head:
        raise ValueError(f"{start.root} is no model of nano's kind ({preset.prompt}); train it by its own: --preset {preset.name} --csv …")
    if not weight_files(start.root):
        raise ValueError(f"{start.root} has no weights for torch, only graphs; export it again without --without-weights")
    network = load_network(start.root, preset)
    return network.requires_grad_(False)


def network_of(start: ModelFolder, preset: Preset, seed: int) -> EmotionNetwork:
    """A second one with the start's weights; where the labels are others, the layer that names them is drawn anew."""
    network = load_start(start)
    if preset.labels == start.preset.labels:
        return network
    network.preset = preset
    assert preset.fusion is not None
    new = nn.Linear(preset.fusion.head_hidden, len(preset.labels))
    with torch.no_grad():
        new.weight.normal_(0, SMALL, generator=torch.Generator().manual_seed(seed))
        new.bias.zero_()
    network.label_head.out[-1] = new
    return network
