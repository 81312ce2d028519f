"""EVA ViT-g/14 as Emotion-LLaMA uses it: one set of blocks, which the scene leaves one block early and the frames at the end.

    scene 448² ─► patches + position ─┐                 ┌─► ln_vision ─► four patches in a row a token, CLS
                                      ├─► shared blocks ┤
    frames 224² ─► patches + position ┘                 └─► last block, norm ─► 2 × 2 means a frame

Parameter names are those of eva_vit_g.pth (LAVIS, BLIP-2), so a checkpoint loads by name. Sources: arXiv 2211.07636 (EVA); the released
code of Emotion-LLaMAv2, where the frames' stream is timm's `eva_giant_patch14_224` on the same weights; `ln_vision` is BLIP-2's.
Fits graphs.py: each part that is a graph of its own is a module of its own here.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .streams import EvaPreset

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of the scene
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the frames: timm's
EPSILON = 1e-6  # of the blocks' norms and of the frames' last one; ln_vision has torch's own 1e-5


class Attention(nn.Module):
    """Self-attention whose keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, T, D) -> (N, T, D)."""
        count, length, width = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias).reshape(count, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        out: Tensor = self.proj(attended.transpose(1, 2).reshape(count, length, width))
        return out


class Mlp(nn.Module):
    def __init__(self, width: int, intermediate: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, intermediate)
        self.fc2 = nn.Linear(intermediate, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, preset: EvaPreset) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(preset.width, eps=EPSILON)
        self.attn = Attention(preset.width, preset.heads)
        self.norm2 = nn.LayerNorm(preset.width, eps=EPSILON)
        self.mlp = Mlp(preset.width, preset.intermediate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class PatchEmbed(nn.Module):
    def __init__(self, preset: EvaPreset) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, preset.width, preset.patch_pixels, preset.patch_pixels)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 3, S, S) -> (N, patches, D), row-major."""
        patches: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return patches


class EvaTower(nn.Module):
    """The weights of eva_vit_g.pth. `norm` is the frames' last one; the scene has none here."""

    def __init__(self, preset: EvaPreset) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, preset.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, preset.trained_grid**2 + 1, preset.width))
        self.patch_embed = PatchEmbed(preset)
        self.blocks = nn.ModuleList(Block(preset) for _ in range(max(preset.scene_blocks, preset.frame_blocks)))
        if preset.frame_blocks:
            self.norm = nn.LayerNorm(preset.width, eps=EPSILON)


def position_of(pos_embed: Tensor, grid: int) -> Tensor:
    """(1, 1 + G², D) -> (1, 1 + grid², D): bicubic between patches, the CLS token's left alone, as BLIP-2 does it."""
    trained = math.isqrt(pos_embed.shape[1] - 1)
    if trained == grid:
        return pos_embed
    places = pos_embed[:, 1:].float().reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
    places = F.interpolate(places, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([pos_embed[:, :1].float(), places.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


class EvaStreams(nn.Module):
    """Scene and frames of the published presets."""

    def __init__(self, preset: EvaPreset) -> None:
        super().__init__()
        self.preset = preset
        self.eva = EvaTower(preset)
        self.ln_vision = nn.LayerNorm(preset.width)

    def graphs(self) -> dict[str, nn.Module]:
        """The parts of graphs.py by name; they share this module's weights."""
        parts: dict[str, nn.Module] = {
            "scene_patches": Patches(self.eva, self.preset.scene_pixels, CLIP_MEAN, CLIP_STD),
            "vision_blocks": Blocks(self.eva.blocks[: self.preset.scene_blocks]),
            "scene_tokens": SceneTokens(self.ln_vision, self.preset),
        }
        if self.preset.frame_blocks:
            parts["frame_patches"] = Patches(self.eva, self.preset.frame_pixels, IMAGENET_MEAN, IMAGENET_STD)
            parts["frame_tokens"] = FrameTokens(self.eva, self.preset)
        return parts


class Patches(nn.Module):
    """A picture's patches, with the CLS token before them and their places added."""

    def __init__(self, eva: EvaTower, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.patch_embed, self.cls_token = eva.patch_embed, eva.cls_token
        patch = eva.patch_embed.proj.kernel_size[0]
        # Interpolated once, here: inside a graph it would be computed for every picture.
        self.position: Tensor
        self.register_buffer("position", position_of(eva.pos_embed.detach(), side // patch), persistent=False)
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", 255.0 * torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", 1.0 / (255.0 * torch.tensor(std).view(1, 3, 1, 1)), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels (N, S, S, 3) uint8 RGB -> (N, 1 + patches, D)."""
        patches = self.patch_embed((pixels.permute(0, 3, 1, 2).float() - self.mean) * self.scale)
        whole = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        return whole + self.position


class Blocks(nn.Module):
    def __init__(self, blocks: nn.ModuleList) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, embedded: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        for block in self.blocks:
            embedded = block(embedded)
        return embedded


class SceneTokens(nn.Module):
    def __init__(self, norm: nn.LayerNorm, preset: EvaPreset) -> None:
        super().__init__()
        self.norm, self.group = norm, preset.scene_group

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, 1 + patches, D) -> tokens (B, patches / 4, 4·D), cls (B, D)."""
        normed = self.norm(features)
        count, length, width = normed.shape
        return normed[:, 1:].reshape(count, (length - 1) // self.group, width * self.group), normed[:, 0]


class FrameTokens(nn.Module):
    def __init__(self, eva: EvaTower, preset: EvaPreset) -> None:
        super().__init__()
        self.blocks = eva.blocks[preset.scene_blocks : preset.frame_blocks]
        self.norm = eva.norm
        self.side, self.patches = math.isqrt(preset.tokens_per_frame), math.isqrt(preset.frame_patches)

    def forward(self, features: Tensor) -> Tensor:
        """features (N, 1 + patches, D) -> tokens (N, 4, D): means of quarters of the picture, row-major."""
        for block in self.blocks:
            features = block(features)
        count, step = features.shape[0], self.patches // self.side
        grid = self.norm(features)[:, 1:].reshape(count, self.side, step, self.side, step, -1)
        tokens: Tensor = grid.mean(dim=(2, 4)).flatten(1, 2)
        return tokens
