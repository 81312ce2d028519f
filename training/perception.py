"""Stage `perception`: Conv-Attention and the label head learn to read a window from the frozen encoders' tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ros2_emollama.model.label_head import TEMPERATURES
from ros2_emollama.model.network import EmotionNetwork

from .bank import face_bank, scene_bank, voice_bank
from .draws import Mixup
from .measures import Norms
from .paths import Paths
from .readout import told_ranks
from .schedule import Schedule
from .scores import best_temperature
from .stage import fit, recall_figures
from .windows_of import KINDS, Batch, WindowMaker

PERCEPTION_SCHEDULE = Schedule(steps=1500, batch=96, learning_rate=1.5e-3, weight_decay=0.05, validate_every=500)
# The encoders have seen the faces and voices of these tokens, which therefore lie further apart than those of people they never saw.
MIX_SHARE, MIX_ALPHA = 0.5, 0.4
MISREAD = (0.15, 0.3)
"""How often a face, and a voice, is of another label than its window: about as much as the encoders misread strangers more often than the
people they know, so that the head learns how far to trust either of them."""


def window_makers(network: EmotionNetwork, paths: Paths) -> tuple[WindowMaker, WindowMaker]:
    """Makers of train and of val windows; the banks are made where they do not stand yet."""
    train = face_bank(network, paths, "train", 2000, 4), voice_bank(network, paths, "train", 5, 1500)
    held = face_bank(network, paths, "val", 400, 2), voice_bank(network, paths, "val", 1, 150)
    ranks = told_ranks(train, held, Norms.read(paths.cache))
    return (
        WindowMaker(*train, scene_bank(network, paths, "train", 3200), ranks[0]),
        WindowMaker(*held, scene_bank(network, paths, "val", 640), ranks[1]),
    )


class FusionPart(nn.Module):
    """What this stage trains of the network."""

    def __init__(self, network: EmotionNetwork) -> None:
        super().__init__()
        self.conv_pro_module, self.label_head = network.conv_pro_module, network.label_head


def train_perception(
    network: EmotionNetwork,
    makers: tuple[WindowMaker, WindowMaker],
    run: Path,
    schedule: Schedule = PERCEPTION_SCHEDULE,
    name: str = "perception",
    kinds: dict[str, float] = KINDS,
) -> dict[str, float]:
    """Fit in place; figures by kind of window on val people.

    makers  see `window_makers`
    kinds   how often each kind of window is trained on
    """
    train, held = makers
    network.eval()
    part = FusionPart(network)
    held_rng = np.random.default_rng(3)
    held_batches: dict[str, Batch] = {
        kind: held.batch(held_rng, 300, {kind: 1.0}) for kind in ("both", "face", "voice", "change", "nobody")
    }

    def loss_of(rng: np.random.Generator, _: int) -> Tensor:
        windows = train.batch(rng, schedule.batch, kinds, MISREAD)
        if rng.random() < MIX_SHARE:
            windows = windows.mixed(Mixup.draw(rng, schedule.batch, MIX_ALPHA))
        with torch.autocast("cpu", torch.bfloat16):
            logits = network.fuse(*windows.inputs()).logits
        targets = 0.95 * windows.targets + 0.05 / windows.targets.shape[1]
        return F.cross_entropy(logits.float(), targets)

    def validate(_: nn.Module) -> dict[str, float]:
        figures = {}
        for kind, windows in held_batches.items():
            logits = network.fuse(*windows.inputs()).logits
            if kind == "nobody":
                emotion = torch.softmax(logits, 1)[:, 1:].amax(1)
                figures["nobody_claims"] = float((emotion >= 0.5).float().mean())
            else:
                figures[f"uar_{kind}"] = recall_figures(logits.argmax(1), windows.targets.argmax(1), 7)["uar"]
        return figures

    figures = fit(name, part, schedule, loss_of, validate, run)
    return {**figures, **calibrate(network, held_batches)}


def calibrate(network: EmotionNetwork, batches: dict[str, Batch]) -> dict[str, float]:
    """A temperature for each set of streams, by the least negative log likelihood over windows with somebody; figures of all together."""
    figures: dict[str, float] = {}
    candidates = np.exp(np.linspace(np.log(0.5), np.log(4.0), 60)).tolist()
    with torch.inference_mode():
        network.label_head.temperatures.fill_(1.0)
        windows = [batches[kind] for kind in ("both", "face", "voice", "change")]
        logits = torch.cat([network.fuse(*batch.inputs()).logits for batch in windows])
        truth = torch.cat([batch.targets.argmax(1) for batch in windows])
        video, audio = (torch.cat([getattr(batch, name).amax(1) for batch in windows]) > 0 for name in ("frame_mask", "audio_mask"))
        chosen = {"both": video & audio, "video": video & ~audio, "audio": ~video & audio}
        for index, name in enumerate(TEMPERATURES):
            rows = chosen.get(name, torch.ones_like(video))
            best, loss = best_temperature(logits[rows].double().numpy(), truth[rows].numpy(), candidates)
            network.label_head.temperatures[index] = best
            figures |= {f"temperature_{name}": best, f"nll_{name}": loss}
    return figures
