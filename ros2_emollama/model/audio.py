"""The audio stream of nano: log-mel to 64 tokens, four a quarter second, in step with the frames' tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .presets import AudioPreset

SPEECH_TOKENS = 4  # speech is present when a quarter second of the window is surely speech


def _unit(inputs: int, outputs: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer on explicit attention, which every exporter takes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        batch, length, width = x.shape
        qkv = self.qkv(self.before_attention(x)).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2]).transpose(1, 2).reshape(batch, length, width)
        x = x + self.dropout(self.out(attended))
        mixed: Tensor = x + self.dropout(self.mlp(self.before_mlp(x)))
        return mixed


class AudioStream(nn.Module):
    """Convolutions over frequency and time, then attention over the window."""

    def __init__(self, preset: AudioPreset, columns: int) -> None:
        super().__init__()
        a, b, c, d = preset.channels
        shrink = columns // preset.tokens  # 4: two halvings in time
        if shrink != 4:
            raise ValueError(f"the audio stream halves time twice: log-mel columns must be 4 × tokens = {4 * preset.tokens}, got {columns}")
        self.layers = nn.Sequential(_unit(1, a, (2, 2)), _unit(a, b, (2, 2)), _unit(b, c, (2, 1)), _unit(c, d, (2, 1)))
        self.flatten = nn.Linear(d * (preset.mels // 16), preset.width)
        self.position = nn.Parameter(torch.zeros(1, preset.tokens, preset.width))
        self.transformer = nn.ModuleList(EncoderLayer(preset.width, preset.heads) for _ in range(preset.layers))
        self.norm = nn.LayerNorm(preset.width)
        self.speech = nn.Linear(preset.width, 1)

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """logmel (B, mels, columns) -> tokens (B, 64, D), speech (B,) probability that somebody speaks in the window."""
        tokens, speech = self.tokens_and_speech_logits(logmel)
        return tokens, torch.sigmoid(speech).topk(SPEECH_TOKENS, dim=1).values.mean(dim=1)

    def tokens_and_speech_logits(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """As forward, but speech (B, 64) logits, one a token, for training."""
        maps = self.layers(logmel.unsqueeze(1))
        tokens = self.flatten(maps.flatten(1, 2).transpose(1, 2)) + self.position
        for layer in self.transformer:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        return tokens, self.speech(tokens).squeeze(-1)
