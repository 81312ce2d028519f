"""Conv-Attention pre-fusion of Emotion-LLaMAv2, and the light label head on top of it.

Source: arXiv 2601.16449, section on multiview pre-fusion, and the authors' released module, whose parameter names are kept so that a
published checkpoint loads by name. Differences from the release: none in the arithmetic; its unused pooling layer is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .streams import FusionPreset


def _mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs), nn.ReLU(), nn.Dropout(dropout)
    )


class Switch(nn.Module):
    """x · sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class ConvBlock(nn.Module):
    """Conv1d over the token axis, then Switch; the caller adds the shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv1d(width, width, 3, 1, 1), Switch())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_block(x)
        return out


class ConvBranch(nn.Module):
    """Residual convolution blocks over time."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.conv_blocks = nn.ModuleList(ConvBlock(width) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.conv_blocks:
            x = block(x) + x
        return x


class ConvAttention(nn.Module):
    """Three token streams of equal length to one: attention weighs the streams token by token, convolution mixes them over time.

    The weights of the attention branch are raw, without softmax, as released.
    """

    def __init__(self, audio_width: int, scene_width: int, frame_width: int, preset: FusionPreset) -> None:
        super().__init__()
        width = preset.width
        self.feats_prep = nn.ModuleList(
            _mlp(inputs, preset.hidden, width, preset.dropout) for inputs in (audio_width, scene_width, frame_width)
        )
        self.attention_mlp = _mlp(3 * width, preset.hidden, width, preset.dropout)
        self.fc_att = nn.Linear(width, 3)
        self.conv_entry = nn.Conv1d(3 * width, width, 1)
        self.conv_module = ConvBranch(width, preset.conv_blocks)
        self.fc_final = nn.Linear(width, preset.out)

    def forward(self, audio: Tensor, scene: Tensor, frames: Tensor) -> Tensor:
        """audio (B, T, Da), scene (B, T, Ds): the CLS repeated, frames (B, T, Df) -> (B, T, out)."""
        prepared = [prepare(stream) for prepare, stream in zip(self.feats_prep, (audio, scene, frames), strict=True)]
        side_by_side = torch.cat(prepared, dim=-1)
        weights = self.fc_att(self.attention_mlp(side_by_side)).unsqueeze(-1)
        attended = (torch.stack(prepared, dim=-1) @ weights).squeeze(-1)
        convolved = self.conv_module(self.conv_entry(side_by_side.transpose(1, 2))).transpose(1, 2)
        fused: Tensor = self.fc_final(attended + convolved)
        return fused


TEMPERATURES = ("both", "video", "audio", "none")


class LabelHead(nn.Module):
    """Fused tokens to label logits: tokens vote with a learned weight for what they hold and when they were.

    A window with one stream is less sure than it looks in another measure than one with both, so each set of streams (TEMPERATURES) has a
    calibration temperature of its own.
    """

    def __init__(self, width: int, hidden: int, tokens: int, labels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.vote = nn.Linear(width, 1)
        self.when = nn.Parameter(torch.zeros(tokens))
        self.out = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, labels))
        self.temperatures: Tensor
        self.register_buffer("temperatures", torch.ones(len(TEMPERATURES)))

    def forward(self, fused: Tensor, video: Tensor, audio: Tensor) -> Tensor:
        """fused (B, T, width); video, audio (B, 1): 1 where the window has that stream -> (B, labels) calibrated logits."""
        tokens = self.norm(fused)
        weights = torch.softmax(self.vote(tokens).squeeze(-1) + self.when, dim=1).unsqueeze(-1)
        pooled = torch.cat([(tokens * weights).sum(dim=1), tokens.mean(dim=1)], dim=-1)
        present = torch.cat([video * audio, video * (1 - audio), (1 - video) * audio, (1 - video) * (1 - audio)], dim=1)
        logits: Tensor = self.out(pooled) / (present @ self.temperatures).unsqueeze(1)
        return logits
