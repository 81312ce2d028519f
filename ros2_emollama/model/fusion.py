"""Conv-Attention pre-fusion of Emotion-LLaMAv2, and what the paper compares it with.

Source: arXiv 2601.16449, section on multiview pre-fusion, and the authors' released module, whose parameter names are kept so that a
published checkpoint loads by name. Differences from the release: none in the arithmetic; its unused pooling layer is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .streams import UNFUSED, FusionPreset


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

    The weights of the attention branch are raw, without softmax, as released. What the paper compares it with lacks a branch or both.
    """

    attends, convolves = True, True

    def __init__(self, audio_width: int, scene_width: int, frame_width: int, preset: FusionPreset) -> None:
        super().__init__()
        width = preset.width
        self.feats_prep = nn.ModuleList(
            _mlp(inputs, preset.hidden, width, preset.dropout) for inputs in (audio_width, scene_width, frame_width)
        )
        if self.attends:
            self.attention_mlp = _mlp(3 * width, preset.hidden, width, preset.dropout)
            self.fc_att = nn.Linear(width, 3)
        if self.convolves:
            self.conv_entry = nn.Conv1d(3 * width, width, 1)
            self.conv_module = ConvBranch(width, preset.conv_blocks)
        self.fc_final = nn.Linear(width, preset.out)

    def forward(self, audio: Tensor, scene: Tensor, frames: Tensor) -> Tensor:
        """audio (B, T, Da), scene (B, T, Ds): the CLS repeated, frames (B, T, Df) -> (B, T, out)."""
        prepared = [prepare(stream) for prepare, stream in zip(self.feats_prep, (audio, scene, frames), strict=True)]
        fused: Tensor = self.fc_final(self.mix(prepared))
        return fused

    def mix(self, prepared: list[Tensor]) -> Tensor:
        """Three streams (B, T, width) -> (B, T, width)."""
        side_by_side = torch.cat(prepared, dim=-1)
        branches = []
        if self.attends:
            weights = self.fc_att(self.attention_mlp(side_by_side)).unsqueeze(-1)
            branches.append((torch.stack(prepared, dim=-1) @ weights).squeeze(-1))
        if self.convolves:
            branches.append(self.conv_module(self.conv_entry(side_by_side.transpose(1, 2))).transpose(1, 2))
        mixed: Tensor = branches[0] + branches[1] if len(branches) == 2 else branches[0]
        return mixed


class AttentionFusion(ConvAttention):
    """The attention branch alone."""

    convolves = False


class ConvFusion(ConvAttention):
    """The convolution branch alone."""

    attends = False


class NoFusion(ConvAttention):
    """The mean of the streams: nothing weighs one by another."""

    attends, convolves = False, False

    def mix(self, prepared: list[Tensor]) -> Tensor:
        return torch.stack(prepared).mean(dim=0)


class QFormerFusion(ConvAttention):
    """Learned queries that attend to all tokens of all streams, in two blocks: the shape of the Q-Former that the paper compares with."""

    BLOCKS, HEADS, QUERIES = 2, 4, 64
    attends, convolves = False, False

    def __init__(self, audio_width: int, scene_width: int, frame_width: int, preset: FusionPreset) -> None:
        super().__init__(audio_width, scene_width, frame_width, preset)
        self.queries = nn.Parameter(0.02 * torch.randn(1, self.QUERIES, preset.width))
        self.origin = nn.Parameter(0.02 * torch.randn(3, 1, preset.width))
        layer = nn.TransformerDecoderLayer
        self.blocks = nn.ModuleList(
            layer(preset.width, self.HEADS, preset.hidden, preset.dropout, batch_first=True, norm_first=True) for _ in range(self.BLOCKS)
        )

    def mix(self, prepared: list[Tensor]) -> Tensor:
        memory = torch.cat([stream + origin for stream, origin in zip(prepared, self.origin, strict=True)], dim=1)
        queries = self.queries.expand(memory.shape[0], -1, -1)
        for block in self.blocks:
            queries = block(queries, memory)
        return queries


FUSIONS: dict[str, type[ConvAttention]] = {
    "conv_attention": ConvAttention,
    "conv": ConvFusion,
    "attention": AttentionFusion,
    "q_former": QFormerFusion,
    "none": NoFusion,
}
"""By `FusionPreset.method`; all take and give what ConvAttention does."""


class StreamTokens(nn.Module):
    """For a preset whose streams are vectors that go to the language model unfused (v1): each brought to one width, for heads to read."""

    def __init__(self, audio_width: int, scene_width: int, utterance_width: int, preset: FusionPreset) -> None:
        super().__init__()
        self.feats_prep = nn.ModuleList(
            _mlp(inputs, preset.hidden, preset.width, preset.dropout) for inputs in (audio_width, scene_width, utterance_width)
        )
        self.fc_final = nn.Linear(preset.width, preset.out)

    def forward(self, audio: Tensor, scene: Tensor, utterances: Tensor) -> Tensor:
        """audio (B, 1, Da), scene (B, 1, Ds): the CLS, utterances (B, U, Da) -> (B, 2 + U, out)."""
        prepared = [prepare(stream) for prepare, stream in zip(self.feats_prep, (audio, scene, utterances), strict=True)]
        tokens: Tensor = self.fc_final(torch.cat(prepared, dim=1))
        return tokens


def make_fusion(audio_width: int, scene_width: int, frame_width: int, preset: FusionPreset) -> ConvAttention | StreamTokens:
    """ValueError naming the methods there are."""
    if preset.method == UNFUSED:
        return StreamTokens(audio_width, scene_width, audio_width, preset)
    if preset.method not in FUSIONS:
        raise ValueError(f"fusion.method must be one of {', '.join(FUSIONS)}, got {preset.method!r}")
    return FUSIONS[preset.method](audio_width, scene_width, frame_width, preset)
