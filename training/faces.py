"""Stage `face`: the FaceNet learns to read a face from a crop as the glimpse would give it.

Faces are jittered as the locator would be wrong (shift, scale, turn), seen from further away (fewer pixels), in other light and through
other cameras. Labels are softened: annotators of these sets disagree on about a third of the pictures.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ros2_emollama.model.presets import LABELS, Preset
from ros2_emollama.model.vision import FaceNet, normalise

from .compose import background
from .data import Faces
from .dice import Dice
from .draws import Mixup, balanced
from .face_measures import FACE_MEASURES
from .measures import Norms, read_measures, scales
from .paths import Paths
from .schedule import Schedule
from .stage import fit, recall_figures

FACE_SCHEDULE = Schedule(steps=8000, batch=128, learning_rate=3e-3, weight_decay=0.05, validate_every=1000)
SMOOTHING = 0.1
SURROUNDINGS = 1024
MIX_SHARE = 0.3
MEASURE_WEIGHT = 0.2


class FaceClassifier(nn.Module):
    """FaceNet and throw-away heads over its four tokens: the label, and what was measured of the face, so that tokens hold both."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.face_net = FaceNet(preset.vision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(preset.vision.tokens_per_frame * preset.vision.width, len(LABELS)))
        self.measures = nn.Linear(preset.vision.tokens_per_frame * preset.vision.width, len(FACE_MEASURES))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """crops (B, 1, side, side) -> logits (B, 7), measures (B, M) in deviations from the norm."""
        tokens = self.face_net(crops.contiguous(memory_format=torch.channels_last))
        return self.head(F.relu(tokens).flatten(1)), self.measures(tokens.flatten(1))


def measure_loss(said: Tensor, measured: Tensor, weight: Tensor) -> Tensor:
    """Huber loss over what could be measured (NaN elsewhere) of rows with weight (B,); measured (B, M) in deviations, cut at three."""
    known = (torch.isfinite(measured) & (weight > 0).unsqueeze(1)).float()
    loss = F.smooth_l1_loss(said, measured.nan_to_num().clamp(-3, 3), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


@lru_cache(maxsize=1)
def surroundings() -> Tensor:
    """(SURROUNDINGS, 1, 48, 48) pieces of drawn and photographed backgrounds: what a camera sees beside a face."""
    rng = np.random.default_rng(21)
    pieces = [background(rng, 96)[:48, :48] for _ in range(SURROUNDINGS)]
    return torch.from_numpy(np.stack(pieces)).unsqueeze(1)


def jitter(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """(N, 1, 48, 48) in [0, 1] → the same shape, as an imperfect glimpse in other light would see it."""
    count = pictures.shape[0]
    dice = Dice(rng, count)
    angle, scale = dice.draw(-0.25, 0.25), torch.exp(dice.draw(-0.15, 0.2))
    flip = torch.where(dice.draw(0, 1) < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([cosine * flip, -sine, dice.draw(-0.12, 0.12), sine * flip, cosine, dice.draw(-0.12, 0.12)], dim=1).view(-1, 2, 3)
    pictures = farther(pictures, rng)
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    return relight(among_others(moved, grid, dice), dice)


def among_others(moved: Tensor, grid: Tensor, dice: Dice) -> Tensor:
    """Two pictures in five end in a soft oval, and something else begins; the others go on, mirrored."""
    across = (grid[..., 0] / dice.draw(0.8, 1.05).view(-1, 1, 1)).abs()
    down = (grid[..., 1] / dice.draw(0.9, 1.1).view(-1, 1, 1)).abs()
    reach = across**2.5 + down**2.5
    mask = ((1 - reach ** (1 / 2.5)) / dice.draw(0.05, 0.3).view(-1, 1, 1)).clamp(0, 1).unsqueeze(1)
    mask = torch.where((dice.draw(0, 1) < 0.4).view(-1, 1, 1, 1), mask, torch.ones(()))
    return moved * mask + surroundings()[dice.whole(SURROUNDINGS)] * (1 - mask)


def farther(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """The whole batch through fewer pixels, one time in three: what a small face in the view looks like."""
    if rng.random() > 0.25:
        return pictures
    side = int(rng.integers(18, 40))
    small = F.interpolate(pictures, size=(side, side), mode="area")
    return F.interpolate(small, size=pictures.shape[-2:], mode="bilinear", align_corners=False)


def relight(pictures: Tensor, dice: Dice) -> Tensor:
    """Gamma, a light from one side, sensor noise."""
    ramp = torch.linspace(-1, 1, pictures.shape[-1])

    def draw(low: float, high: float) -> Tensor:
        return dice.draw(low, high).view(-1, 1, 1, 1)

    light = 1 + draw(-0.3, 0.3) * ramp.view(1, 1, 1, -1) + draw(-0.2, 0.2) * ramp.view(1, 1, -1, 1)
    noisy = pictures.clamp(0, 1) ** torch.exp(draw(-0.4, 0.4)) * light + draw(0.0, 0.04) * torch.randn_like(pictures)
    return noisy.clamp(0, 1)


def erase(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """A flat patch over part of every other crop: hands, hair, glasses."""
    side = crops.shape[-1]
    for index in np.flatnonzero(rng.random(crops.shape[0]) < 0.3):
        height, width = rng.integers(6, 18, 2)
        top, left = rng.integers(0, side - height), rng.integers(0, side - width)
        crops[index, :, top : top + height, left : left + width] = float(rng.normal(0, 0.7))
    return crops


def soft_targets(labels: Tensor, weights: Tensor) -> Tensor:
    """One-hot labels softened by SMOOTHING, more where a set's labels weigh less."""
    smooth = SMOOTHING + 0.3 * (1 - weights)
    hot = F.one_hot(labels, len(LABELS)).float()
    return hot * (1 - smooth[:, None]) + smooth[:, None] / len(LABELS)


def agreement(said: Tensor, measured: Tensor, names: tuple[str, ...]) -> dict[str, float]:
    """Correlation of each measure with what was said of it, where it was measured."""
    figures = {}
    for index, name in enumerate(names):
        known = torch.isfinite(measured[:, index])
        figures[name] = float(torch.corrcoef(torch.stack([said[known, index], measured[known, index]]))[0, 1])
    return figures


def class_shares(labels: np.ndarray, power: float = 0.5) -> Tensor:
    """(7,) how often `balanced` draws each class."""
    counts = np.bincount(labels, minlength=len(LABELS)).astype(np.float64) ** (1 - power)
    return torch.from_numpy((counts / counts.sum()).astype(np.float32))


def train_faces(preset: Preset, paths: Paths, schedule: Schedule = FACE_SCHEDULE) -> tuple[FaceClassifier, dict[str, float]]:
    """Fit on the train split of all face sets; figures are on FER2013's val split, faces filling the view."""
    faces = Faces(paths.cache)
    torch.manual_seed(schedule.seed)
    model = FaceClassifier(preset)
    train, held = faces.where("train"), faces.where("val", "face_fer2013")
    trust = torch.tensor([1.0 if faces.rows[i].set == "face_fer2013" else 0.5 for i in train])
    median, spread = scales(Norms.read(paths.cache), FACE_MEASURES)
    measures = torch.from_numpy((read_measures(paths.cache, "faces") - median) / spread)
    held_crops = normalise(torch.from_numpy(faces.pictures[held]).float().unsqueeze(1) / 255)
    held_labels = torch.from_numpy(faces.labels[held])
    drawn = class_shares(faces.labels[train])

    batch = schedule.batch

    def loss_of(rng: np.random.Generator, _: int) -> Tensor:
        places = balanced(faces.labels[train], rng, batch)
        pictures = torch.from_numpy(faces.pictures[train[places]]).float().unsqueeze(1) / 255
        crops = erase(normalise(jitter(pictures, rng)), rng)
        targets = soft_targets(torch.from_numpy(faces.labels[train[places]]), trust[places])
        measured = measures[train[places]]
        if rng.random() < MIX_SHARE:
            mix = Mixup.draw(rng, batch, 0.3)
            crops, targets, measured = mix(crops), mix(targets), mix(measured)
        with torch.autocast("cpu", torch.bfloat16):
            logits, said = model(crops)
        return F.cross_entropy(logits.float(), targets) + MEASURE_WEIGHT * measure_loss(said.float(), measured, torch.ones(batch))

    def validate(module: nn.Module) -> dict[str, float]:
        with torch.autocast("cpu", torch.bfloat16):
            pairs = [module(piece) for piece in held_crops.split(256)]
        logits, said = (torch.cat(parts).float() for parts in zip(*pairs, strict=True))
        prior = torch.log(drawn)  # the training set's, as drawn; recall is taken over classes that weigh the same
        figures = recall_figures((logits - prior).argmax(1), held_labels, len(LABELS))
        return {**figures, **{f"r_{name}": value for name, value in agreement(said, measures[held], FACE_MEASURES).items()}}

    figures = fit("face", model, schedule, loss_of, validate, paths.run)
    return model, figures
