"""The audio stream of nano: log-mel to 64 tokens, four a tick, in step with the frames' tokens.

What a microphone adds is taken away first: its gain (the window is told relative to its loudest quarter tick) and, on a second channel, its
colour (each band relative to its own mean while somebody speaks). The gain comes back at the end, as one number in every token.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .streams import AudioPreset

_LN10 = math.log(10.0)
SPEECH_TOKENS = 4  # speech is present when a quarter second of the window is surely speech


def _unit(inputs: int, outputs: int, stride: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    """Two 3×3 convolutions around a shortcut, which is averaged and widened where they shrink and widen."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.first = _unit(inputs, outputs, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class Microphone(nn.Module):
    """Log-mel of any microphone → two channels that do not depend on its gain and colour, and the gain."""

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """logmel (B, mels, columns) -> channels (B, 2, mels, columns), level (B, 1): bels of the loudest token."""
        bels = logmel * 4 - 4  # undo the scaling of `log_mel`
        energy = (bels * _LN10).logsumexp(1) / _LN10
        level = F.avg_pool1d(energy.unsqueeze(1), 4).amax(2)
        relative = ((bels - level.unsqueeze(2) + 3.5) / 2).clamp(min=-1.5)
        speaking = torch.sigmoid((energy - level + 2.0) * 4).unsqueeze(1)
        colour = (relative * speaking).sum(2, keepdim=True) / (speaking.sum(2, keepdim=True) + 1e-3)
        return torch.stack([relative, relative - colour], 1), level


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
        if columns != 4 * preset.tokens:
            raise ValueError(f"the audio stream takes four columns a token: log-mel columns must be {4 * preset.tokens}, got {columns}")
        self.microphone = Microphone()
        # Most of a step's time went into the first, widest maps; one convolution takes a token's four columns and four bands at once.
        stem = nn.Sequential(nn.Conv2d(2, a, 7, 4, 3, bias=False), nn.BatchNorm2d(a), nn.ReLU(inplace=True))
        self.layers = nn.Sequential(stem, _Residual(a, b, (2, 1)), _Residual(b, c, (2, 1)), _Residual(c, d, (1, 1)))
        self.flatten = nn.Linear(d * (preset.mels // 16), preset.width)
        self.position = nn.Parameter(torch.zeros(1, preset.tokens, preset.width))
        self.transformer = nn.ModuleList(EncoderLayer(preset.width, preset.heads) for _ in range(preset.layers))
        self.norm = nn.LayerNorm(preset.width)
        self.loudness = nn.Linear(1, preset.width)
        self.speech = nn.Linear(preset.width, 1)

    def graphs(self) -> dict[str, nn.Module]:
        """The parts of graphs.py by name; they share this module's weights."""
        return {"audio_encoder": AudioEncoderGraph(self)}

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """logmel (B, mels, columns) -> tokens (B, 64, D), speech (B,) probability that somebody speaks in the window."""
        tokens, speech = self.tokens_and_speech_logits(logmel)
        return tokens, torch.sigmoid(speech).topk(SPEECH_TOKENS, dim=1).values.mean(dim=1)

    def tokens_and_speech_logits(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """As forward, but speech (B, 64) logits, one a token, for training."""
        channels, level = self.microphone(logmel)
        maps = self.layers(channels)
        tokens = self.flatten(maps.flatten(1, 2).transpose(1, 2)) + self.position
        for layer in self.transformer:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        return tokens + self.loudness(level).unsqueeze(1), self.speech(tokens).squeeze(-1)


class AudioEncoderGraph(nn.Module):
    def __init__(self, audio: AudioStream) -> None:
        super().__init__()
        self.audio = audio

    def forward(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        tokens, speech = self.audio(logmel)
        return tokens, speech
