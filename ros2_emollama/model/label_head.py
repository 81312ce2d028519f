"""The light head that names a window's label at hop rate: from the fused tokens and, where the preset says so, the streams too."""

from __future__ import annotations

import torch
from torch import Tensor, nn

TEMPERATURES = ("both", "video", "audio", "none")
READ_FRAMES = 4
"""Newest frames whose face is read: a second is enough for an expression to become the label."""
_ABSENT = 1e4  # what a vote loses where there is no token; fits half precision


class FaceReadout(nn.Module):
    """Each place of the face apart: brows and mouth that are averaged, as fusion over time does, tell less."""

    def __init__(self, width: int, places: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.width = width * places

    def forward(self, places: Tensor) -> Tensor:
        """places (B, G, D) -> (B, G·D)."""
        read: Tensor = self.norm(places).flatten(1)
        return read


def pooled_voice(tokens: Tensor, votes: Tensor, speaking: Tensor) -> Tensor:
    """tokens (B, T, D), votes (B, T) logits, speaking (B, T) in [0, 1] -> (B, 3·D): by vote, then mean and deviation of what is speech."""
    speaking = speaking.unsqueeze(-1)
    count = speaking.sum(dim=1) + 0.5
    mean = (tokens * speaking).sum(dim=1) / count
    variance = ((tokens - mean.unsqueeze(1)).square() * speaking).sum(dim=1) / count
    voted = (tokens * torch.softmax(votes, dim=1).unsqueeze(-1)).sum(dim=1)
    return torch.cat([voted, mean, (variance + 1e-4).sqrt()], dim=-1)


class VoiceReadout(nn.Module):
    """How the tokens of speech are, and how much they vary."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.vote = nn.Linear(width, 1)
        self.speaking = nn.Linear(width, 1)
        self.width = 3 * width

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens (B, T, D), mask (B, T) -> (B, 3·D); see `pooled_voice`."""
        tokens = self.norm(tokens)
        votes = self.vote(tokens).squeeze(-1) - _ABSENT * (1 - mask)
        return pooled_voice(tokens, votes, torch.sigmoid(self.speaking(tokens).squeeze(-1)) * mask)


class LabelHead(nn.Module):
    """Fused tokens to label logits: tokens vote with a learned weight for what they hold and when they were.

    A window with one stream is less sure than it looks in another measure than one with both, so each set of streams (TEMPERATURES) has a
    calibration temperature of its own.

    face, voice  widths and places of the streams that are read beside the fused tokens; None: the fused tokens are all it sees
    """

    def __init__(
        self, width: int, hidden: int, tokens: int, labels: int, face: FaceReadout | None = None, voice: VoiceReadout | None = None
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.vote = nn.Linear(width, 1)
        self.when = nn.Parameter(torch.zeros(tokens))
        self.face, self.voice = face, voice
        read = 2 * width + (face.width if face else 0) + (voice.width if voice else 0)
        self.out = nn.Sequential(nn.Linear(read, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, labels))
        self.thin = nn.Dropout(0.3)
        self.temperatures: Tensor
        self.register_buffer("temperatures", torch.ones(len(TEMPERATURES)))

    def forward(
        self, fused: Tensor, video: Tensor, audio: Tensor, face: Tensor | None = None, voice: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Calibrated logits (B, labels).

        fused         (B, T, width)
        video, audio  (B, 1) 1 where the window has that stream
        face          (B, G, D) places of the newest faces, for a head that reads them
        voice         (B, T, D) and mask (B, T), for a head that reads them
        """
        tokens = self.norm(fused)
        weights = torch.softmax(self.vote(tokens).squeeze(-1) + self.when, dim=1).unsqueeze(-1)
        read = [(tokens * weights).sum(dim=1), tokens.mean(dim=1)]
        if self.face is not None and face is not None:
            read.append(self.thin(self.face(face)) * video)
        if self.voice is not None and voice is not None:
            read.append(self.thin(self.voice(*voice)) * audio)
        present = torch.cat([video * audio, video * (1 - audio), (1 - video) * audio, (1 - video) * (1 - audio)], dim=1)
        logits: Tensor = self.out(torch.cat(read, dim=-1)) / (present @ self.temperatures).unsqueeze(1)
        return logits
