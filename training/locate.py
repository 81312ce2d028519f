"""Stage `locate`: the Locator learns where a face is, how large, and that there is none. Faces are points with a heat map and a box."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ros2_emollama.model.presets import Preset
from ros2_emollama.model.vision import Located, Locator, best_box

from .compose import TRAINED_ON, View, compose
from .data import Faces
from .paths import Paths
from .schedule import Schedule
from .stage import fit

LOCATE_SCHEDULE = Schedule(steps=6000, batch=48, learning_rate=3e-3, weight_decay=0.01, validate_every=1000)


def targets_of(views: list[View], cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Heat (N, 1, G, G) in [0, 1], box (N, 3, G, G) and where the box is asked for (N, 1, G, G)."""
    heat = np.zeros((len(views), 1, cells, cells), np.float32)
    box = np.zeros((len(views), 3, cells, cells), np.float32)
    asked = np.zeros((len(views), 1, cells, cells), np.float32)
    centres = np.arange(cells) + 0.5
    for index, view in enumerate(views):
        for x, y, height in view.boxes:
            spread = max(0.55, height * cells / 9)
            bump = np.exp(-((centres[None] - x * cells) ** 2 + (centres[:, None] - y * cells) ** 2) / (2 * spread**2))
            row, column = min(cells - 1, int(y * cells)), min(cells - 1, int(x * cells))
            bump[row, column] = 1.0
            near = bump > 0.6
            heat[index, 0] = np.maximum(heat[index, 0], bump)
            box[index, 0][near] = (x * cells - centres[None] + np.zeros((cells, 1)))[near]
            box[index, 1][near] = (y * cells - centres[:, None] + np.zeros((1, cells)))[near]
            box[index, 2][near] = np.log2(height)
            asked[index, 0][near] = 1.0
    return torch.from_numpy(heat), torch.from_numpy(box), torch.from_numpy(asked)


def locate_loss(located: Located, heat: Tensor, box: Tensor, asked: Tensor) -> Tensor:
    """Penalty-reduced focal loss on the heat (CornerNet, arXiv 1808.01244) and L1 on the boxes."""
    logits = located.heat.float()
    probability = torch.sigmoid(logits)
    peak = (heat == 1.0).float()
    positive = -F.logsigmoid(logits) * (1 - probability) ** 2 * peak
    negative = -F.logsigmoid(-logits) * probability**2 * (1 - heat) ** 4 * (1 - peak)
    count = peak.sum().clamp(min=1)
    distance = ((located.box.float() - box).abs() * asked * torch.tensor([0.5, 0.5, 1.0]).view(1, 3, 1, 1)).sum() / asked.sum().clamp(min=1)
    return (positive + negative).sum() / count + distance


def train_locator(preset: Preset, paths: Paths, schedule: Schedule = LOCATE_SCHEDULE) -> tuple[Locator, dict[str, float]]:
    """Fit on composed views of the train faces; figures are on 800 composed views of the val faces."""
    faces = Faces(paths.cache)
    side = preset.vision.locator_pixels
    torch.manual_seed(schedule.seed)
    model = Locator(preset.vision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    people = faces.pictures[faces.where("train")]
    held_rng = np.random.default_rng(7)
    held = [compose(faces.pictures[faces.where("val")], held_rng, side) for _ in range(800)]

    def loss_of(rng: np.random.Generator, _: int) -> Tensor:
        views = [compose(people, rng, side, TRAINED_ON) for _ in range(schedule.batch)]
        pictures = torch.from_numpy(np.stack([view.picture for view in views])).unsqueeze(1)
        with torch.autocast("cpu", torch.bfloat16):
            located = model(pictures)
        return locate_loss(located, *targets_of(views, side // 8))

    figures = fit("locate", model, schedule, loss_of, lambda module: located_figures(module, held), paths.run)
    return model, figures


def located_figures(model: nn.Module, views: list[View]) -> dict[str, float]:
    """Presence at 0.5, and over the faces: how often the box overlaps the true one by half (by height: small, large)."""
    pictures = torch.from_numpy(np.stack([view.picture for view in views])).unsqueeze(1)
    found = torch.cat([best_box(model(piece)) for piece in pictures.split(100)]).numpy()
    somebody = np.array([len(view.boxes) > 0 for view in views])
    overlaps = np.array([max((overlap(f[1:], b) for b in view.boxes), default=np.nan) for f, view in zip(found, views, strict=True)])
    heights = np.array([view.boxes[:, 2].max() if len(view.boxes) else np.nan for view in views])
    hit = overlaps[somebody] > 0.5
    small = heights[somebody] < 0.25
    return {
        "presence_recall": float((found[somebody, 0] > 0.5).mean()),
        "false_presence": float((found[~somebody, 0] > 0.5).mean()),
        "found": float(hit.mean()),
        "found_small": float(hit[small].mean()),
        "found_large": float(hit[~small].mean()),
        "overlap": float(np.nanmean(overlaps)),
    }


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two squares given as centre x, centre y, side."""
    sides = [
        max(0.0, min(first[i] + first[2] / 2, second[i] + second[2] / 2) - max(first[i] - first[2] / 2, second[i] - second[2] / 2))
        for i in (0, 1)
    ]
    shared = sides[0] * sides[1]
    return float(shared / (first[2] ** 2 + second[2] ** 2 - shared))
