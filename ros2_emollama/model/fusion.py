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


class _Prepared(nn.Module):
    """What the comparisons share with Conv-Attention: its preparation of the streams and its last layer."""

    def __init__(self, audio_width: int, scene_width: int, frame_width: int, preset: FusionPreset) -> None:
        super().__init__()
        self.feats_prep = nn.ModuleList(
            _mlp(inputs, preset.hidden, preset.width, preset.dropout) for inputs in (audio_width, scene_width, frame_width)
        )
        self.fc_final = nn.Linear(preset.width, preset.out)

    def prepared(self, *streams: Tensor) -> list[Tensor]:
        return [prepare(stream) for prepare, stream in zip(self.feats_prep, streams, strict=True)]


class NoFusion(_Prepared):
    """The mean of the streams: nothing weighs one by another."""

    def forward(self, audio: Tensor, scene: Tensor, frames: Tensor) -> Tensor:
        fused: Tensor = self.fc_final(torch.stack(self.prepared(audio, scene, frames)).mean(dim=0))
        return fused


class AttentionFusion(_Prepared):
    """Conv-Attention's attention branch alone."""

    def __init__(self, audio_width: int, scene_width: int, frame_width: int, preset: FusionPreset) -> None:
        super().__init__(audio_width, scene_width, frame_width, preset)
        self.attention_mlp = _mlp(3 * preset.width, preset.hidden, preset.width, preset.dropout)
        self.fc_att = nn.Linear(preset.width, 3)

    def forward(self, audio: Tensor, scene: Tensor, frames: Tensor) -> Tensor:
        prepared = self.prepared(audio, scene, frames)
        weights = self.fc_att(self.attention_mlp(torch.cat(prepared, dim=-1))).unsqueeze(-1)
        fused: Tensor = self.fc_final((torch.stack(prepared, dim=-1) @ weights).squeeze(-1))
        return fused


class ConvFusion(_Prepared):
    """Conv-Attention's convolution branch alone."""

    def __init__(self, audio_width: int, scene_width: int, frame_width: int, preset: FusionPreset) -> None:
        super().__init__(audio_width, scene_width, frame_width, preset)
        self.conv_entry = nn.Conv1d(3 * preset.width, preset.width, 1)
        self.conv_module = ConvBranch(preset.width, preset.conv_blocks)

    def forward(self, audio: Tensor, scene: Tensor, frames: Tensor) -> Tensor:
        side_by_side = torch.cat(self.prepared(audio, scene, frames), dim=-1)
        fused: Tensor = self.fc_final(self.conv_module(self.conv_entry(side_by_side.transpose(1, 2))).transpose(1, 2))
        return fused


class QFormerFusion(_Prepared):
    """Learned queries that attend to all tokens of all streams, in two blocks: the shape of the Q-Former that the paper compares with."""

    BLOCKS, HEADS, QUERIES = 2, 4, 64

    def __init__(self, audio_width: int, scene_width: int, frame_width: int, preset: FusionPreset) -> None:
        super().__init__(audio_width, scene_width, frame_width, preset)
        self.queries = nn.Parameter(0.02 * torch.randn(1, self.QUERIES, preset.width))
        self.origin = nn.Parameter(0.02 * torch.randn(3, 1, preset.width))
        layer = nn.TransformerDecoderLayer
        self.blocks = nn.ModuleList(
            layer(preset.width, self.HEADS, preset.hidden, preset.dropout, batch_first=True, norm_first=True) for _ in range(self.BLOCKS)
        )

    def forward(self, audio: Tensor, scene: Tensor, frames: Tensor) -> Tensor:
        prepared = self.prepared(audio, scene, frames)
        memory = torch.cat([stream + origin for stream, origin in zip(prepared, self.origin, strict=True)], dim=1)
        queries = self.queries.expand(audio.shape[0], -1, -1)
        for block in self.blocks:
            queries = block(queries, memory)
        fused: Tensor = self.fc_final(queries)
        return fused


FUSIONS = {
    "conv_attention": ConvAttention,
    "conv": ConvFusion,
    "attention": AttentionFusion,
    "q_former": QFormerFusion,
    "none": NoFusion,
}
"""By `FusionPreset.method`; all take and give what ConvAttention does."""


def make_fusion(audio_width: int, scene_width: int, frame_width: int, preset: FusionPreset) -> nn.Module:
    """ValueError naming the methods there are."""
    if preset.method not in FUSIONS:
        raise ValueError(f"fusion.method must be one of {', '.join(FUSIONS)}, got {preset.method!r}")
    return FUSIONS[preset.method](audio_width, scene_width, frame_width, preset)


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
