"""The frame and scene streams of nano: find the face, look closer, say what is there. No face detector but this network.

    canvas ─► luminance ─┬─► Locator (whole view, coarse) ─► where, how large, how sure ─┐
                         └─► pyramid ──────────────► glimpse (sharp crop of that place) ◄┘ ─► FaceNet ─► 4 tokens
The scene stream shares the Locator's trunk and pools it to a small grid of tokens and one CLS vector.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .streams import VisionPreset

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Located(NamedTuple):
    """heat (N, 1, G, G) logits of a face centred in that cell; box (N, 3, G, G) offsets in cells and log2 of the face's height over the
    canvas; trunk (N, C, G, G) features."""

    heat: Tensor
    box: Tensor
    trunk: Tensor


def luminance(pixels: Tensor) -> Tensor:
    """(N, C, C, 3) uint8 RGB -> (N, 1, C, C) float in [0, 1]."""
    # Channel by channel: as a product of (C², 3) with 3 weights it took two thirds of the frame encoder's time in ONNX Runtime.
    red, green, blue = (channel.float() * (weight / 255.0) for channel, weight in zip(pixels.unbind(-1), LUMA, strict=True))
    return (red + green + blue).unsqueeze(1)


def conv_unit(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two 3×3 convolutions around a shortcut; the shortcut changes width by 1×1 where needed."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = conv_unit(inputs, outputs)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class Locator(nn.Module):
    """Where in the view is a face? One object map over a grid of 1/8 of the picture it looks at."""

    def __init__(self, preset: VisionPreset) -> None:
        super().__init__()
        a, b, c, d = preset.locator_channels
        self.stem = nn.Sequential(conv_unit(1, a, 2), conv_unit(a, b, 2))
        self.middle = nn.Sequential(conv_unit(b, c, 2), Residual(c, c))
        self.deep = nn.Sequential(conv_unit(c, d, 2), Residual(d, d), Residual(d, d))
        self.lateral = nn.Conv2d(c, d, 1)
        self.merge = conv_unit(d, d)
        self.heat = nn.Conv2d(d, 1, 1)
        self.box = nn.Conv2d(d, 3, 1)
        nn.init.constant_(self.heat.bias if self.heat.bias is not None else torch.empty(1), -4.0)  # faces are rare: start sure of none

    def forward(self, view: Tensor) -> Located:
        """view (N, 1, L, L) luminance in [0, 1]."""
        middle = self.middle(self.stem(view * 2 - 1))
        deep = F.interpolate(self.deep(middle), scale_factor=2.0, mode="nearest")
        trunk = self.merge(deep + self.lateral(middle))
        return Located(self.heat(trunk), self.box(trunk), trunk)


def best_box(located: Located) -> Tensor:
    """(N, 4): presence, centre x, centre y, height, the last three as fractions of the canvas, of the likeliest cell."""
    heat, box, _ = located
    cells = heat.shape[-1]
    score, place = heat.flatten(1).max(dim=1, keepdim=True)
    chosen = torch.gather(box.flatten(2), 2, place.unsqueeze(1).expand(-1, 3, -1)).squeeze(2)
    row = torch.div(place, cells, rounding_mode="floor").squeeze(1)
    column = place.squeeze(1) - row * cells
    centre_x = (column + 0.5 + chosen[:, 0]) / cells
    centre_y = (row + 0.5 + chosen[:, 1]) / cells
    height = torch.exp2(chosen[:, 2].clamp(-5.0, 0.5))
    return torch.stack([torch.sigmoid(score.squeeze(1)), centre_x, centre_y, height], dim=1)


def glimpse(luma: Tensor, box: Tensor, side: int, margin: float) -> Tensor:
    """Sharp square crops, free of aliasing, contrast-normalised.

    luma     (N, 1, C, C) in [0, 1]
    box      (N, 3) centre x, centre y, height as fractions of the canvas
    returns  (N, 1, side, side), each crop with mean 0 and deviation 1

    Three levels of a pyramid are sampled and mixed by the crop's scale: bilinear sampling alone aliases once it shrinks by more than two.
    """
    canvas = luma.shape[-1]
    steps = (torch.arange(side, device=luma.device, dtype=luma.dtype) + 0.5) / side * 2 - 1
    half = box[:, 2:3] * margin
    across = (box[:, 0:1] * 2 - 1) + steps[None] * half
    down = (box[:, 1:2] * 2 - 1) + steps[None] * half
    grid = torch.stack([across.unsqueeze(1).expand(-1, side, -1), down.unsqueeze(2).expand(-1, -1, side)], dim=-1)
    level = torch.log2((half * canvas / side).clamp(1.0, 4.0)).unsqueeze(-1).unsqueeze(-1)
    crop = torch.zeros(())
    for index in range(3):
        weight = (1 - (level - index).abs()).clamp(min=0)
        picture = luma if index == 0 else F.avg_pool2d(luma, 2**index)
        sampled = F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)
        crop = weight * sampled if index == 0 else crop + weight * sampled
    return normalise(crop)


def normalise(crop: Tensor) -> Tensor:
    """Mean 0 and deviation 1 per crop; a flat crop stays near 0 instead of amplifying its noise."""
    centred = crop - crop.mean(dim=(2, 3), keepdim=True)
    deviation = centred.square().mean(dim=(2, 3), keepdim=True).add(1e-6).sqrt()
    return centred / (deviation + 0.02)


class FaceNet(nn.Module):
    """A face crop to `tokens_per_frame` tokens: one a quarter of the face."""

    def __init__(self, preset: VisionPreset) -> None:
        super().__init__()
        a, b, c, d = preset.face_channels
        self.layers = nn.Sequential(
            nn.Conv2d(1, a, 5, 2, 2, bias=False),
            nn.BatchNorm2d(a),
            nn.ReLU(inplace=True),
            Residual(a, b),
            nn.MaxPool2d(2),
            Residual(b, c),
            Residual(c, c),
            nn.MaxPool2d(2),
            Residual(c, d),
            Residual(d, d),
        )
        self.grid = round(preset.tokens_per_frame**0.5)
        self.project = nn.Linear(d, preset.width)

    def forward(self, crop: Tensor) -> Tensor:
        """crop (N, 1, side, side) normalised -> tokens (N, 4, D), row-major."""
        pooled = F.avg_pool2d(features := self.layers(crop), features.shape[-1] // self.grid)
        tokens: Tensor = self.project(pooled.flatten(2).transpose(1, 2))
        return tokens


def place_code(width: int) -> Tensor:
    """(4, width) fixed, orthogonal directions in which a token carries presence, x, y and size: a crop alone does not show them."""
    directions: Tensor = torch.linalg.qr(torch.randn(width, 4, generator=torch.Generator().manual_seed(4)))[0]
    return directions.T.contiguous() * float(0.5 * width**0.5)


def placed(tokens: Tensor, face: Tensor, code: Tensor) -> Tensor:
    """tokens (N, 4, D) of a crop, face (N, 4), code (4, D) -> (N, 4, D) that fade with the face's presence and know where and how large it
    is."""
    presence = face[:, :1]
    place = torch.cat([torch.ones_like(presence), face[:, 1:3] * 2 - 1, torch.log2(face[:, 3:].clamp(min=0.03)) / 2 + 1], dim=1)
    return tokens * presence.unsqueeze(-1) + (presence * place @ code).unsqueeze(1)


class VisionStreams(nn.Module):
    """Both visual streams of a nano-like preset."""

    def __init__(self, preset: VisionPreset) -> None:
        super().__init__()
        self.preset = preset
        self.locator = Locator(preset)
        self.face_net = FaceNet(preset)
        self.place_code: Tensor
        self.register_buffer("place_code", place_code(preset.width))
        self.scene_project = nn.Linear(preset.locator_channels[3], preset.width)
        self.scene_cls = nn.Linear(preset.locator_channels[3], preset.width)

    def graphs(self) -> dict[str, nn.Module]:
        """The parts of graphs.py by name; they share this module's weights."""
        return {"frame_encoder": FrameEncoderGraph(self), "scene_encoder": SceneEncoderGraph(self)}

    def locate(self, luma: Tensor) -> Located:
        located: Located = self.locator(F.avg_pool2d(luma, self.preset.canvas_pixels // self.preset.locator_pixels))
        return located

    def encode_frames(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels (N, C, C, 3) uint8 -> tokens (N, 4, D), face (N, 4). Tokens fade with the face's presence."""
        luma = luminance(pixels)
        face = best_box(self.locate(luma))
        crop = glimpse(luma, face[:, 1:], self.preset.glimpse_pixels, self.preset.glimpse_margin)
        return self.placed(self.face_net(crop), face), face

    def placed(self, tokens: Tensor, face: Tensor) -> Tensor:
        """See `placed`."""
        return placed(tokens, face, self.place_code)

    def encode_scene(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels (B, C, C, 3) uint8 -> tokens (B, P, D), cls (B, D)."""
        return self.scene_of(self.locate(luminance(pixels)).trunk)

    def scene_of(self, trunk: Tensor) -> tuple[Tensor, Tensor]:
        """trunk (B, C, G, G) of the Locator -> tokens (B, P, D), cls (B, D)."""
        pooled = F.avg_pool2d(trunk, trunk.shape[-1] // self.preset.scene_grid)
        return self.scene_project(pooled.flatten(2).transpose(1, 2)), self.scene_cls(trunk.mean(dim=(2, 3)))


class FrameEncoderGraph(nn.Module):
    def __init__(self, vision: VisionStreams) -> None:
        super().__init__()
        self.vision = vision

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.vision.encode_frames(pixels)


class SceneEncoderGraph(nn.Module):
    def __init__(self, vision: VisionStreams) -> None:
        super().__init__()
        self.vision = vision

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.vision.encode_scene(pixels)
