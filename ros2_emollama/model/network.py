"""The whole network but the language model: what training fits, what export/ turns into graphs, what the torch runtime runs.

A preset's kinds of streams say which modules it is made of. `fuse` is nano's, with masks; what the published presets do between their
streams and the prefix is `PublishedFusionGraph`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .audio import AudioStream
from .eva import EvaStreams
from .fusion import make_fusion
from .graphs import graph_specs
from .label_head import READ_FRAMES, FaceReadout, LabelHead, VoiceReadout
from .presets import Preset
from .sizes import projection_widths
from .streams import UNFUSED, AudioPreset, EvaPreset, HubertPreset
from .vision import VisionStreams


class Fused(NamedTuple):
    """logits (B, labels); tokens (B, 64, out); prefix (B, P, hidden) in the language model's width."""

    logits: Tensor
    tokens: Tensor
    prefix: Tensor


class Read(NamedTuple):
    """logits (B, labels) and affect (B, 2), valence and arousal in [-1, 1]: None without such a head; prefix (B, P, hidden)."""

    logits: Tensor | None
    affect: Tensor | None
    prefix: Tensor


def pool_tokens(tokens: Tensor, count: int) -> Tensor:
    """(B, T, D) -> (B, count, D), means of neighbours; T a multiple of count."""
    batch, length, width = tokens.shape
    if length % count:
        raise ValueError(f"{length} tokens cannot be pooled to {count}")
    return tokens if length == count else tokens.reshape(batch, count, length // count, width).mean(dim=2)


def pool_grid(tokens: Tensor, count: int) -> Tensor:
    """(B, S², D) row-major over a square -> (B, count, D), means of squares, so that left and right stay apart; rows where count is no
    square."""
    batch, length, width = tokens.shape
    side, wanted = math.isqrt(length), math.isqrt(count)
    if side * side != length or wanted * wanted != count or side % wanted:
        return pool_tokens(tokens, count)
    step = side // wanted
    return tokens.reshape(batch, wanted, step, wanted, step, width).mean(dim=(2, 4)).reshape(batch, count, width)


def recent_grid(tokens: Tensor, mask: Tensor, per_frame: int, frames: int) -> Tensor:
    """(B, F·G, D) frame-major and their frames' mask (B, F) -> (B, G, D): each place of a frame's grid, mean over the newest `frames`
    that are there, so that brows and mouth stay apart; zeros without any."""
    batch, _, width = tokens.shape
    weight = mask[:, -frames:, None, None]
    recent = tokens.reshape(batch, -1, per_frame, width)[:, -frames:]
    return (recent * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)


def vision_streams(preset: Preset) -> nn.Module:
    return EvaStreams(preset.vision) if isinstance(preset.vision, EvaPreset) else VisionStreams(preset.vision)


def audio_stream(preset: Preset) -> nn.Module:
    if isinstance(preset.audio, AudioPreset):
        return AudioStream(preset.audio, preset.mel_columns)
    from .speech import HubertStream, WhisperStream  # transformers, which nano does without

    return HubertStream(preset.audio) if isinstance(preset.audio, HubertPreset) else WhisperStream(preset.audio)


BEHIND_ENCODERS = ("conv_pro_module", "projections", "label_head", "affect_head")
"""Parts of the network that are no encoder, as far as a preset has them: what the fusion's graph holds, and what training moves."""


class EmotionNetwork(nn.Module):
    """Encoders, fusion, label head and prefix projections of one preset."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        vision, audio, fusion = preset.vision, preset.audio, preset.fusion
        self.vision = vision_streams(preset)
        self.audio = audio_stream(preset)
        if fusion is not None:
            self.conv_pro_module = make_fusion(audio.width, vision.width, vision.width, fusion)
            if fusion.head_hidden:
                face = FaceReadout(vision.width, vision.tokens_per_frame) if fusion.head_reads_streams else None
                voice = VoiceReadout(audio.width) if fusion.head_reads_streams else None
                self.label_head = LabelHead(fusion.out, fusion.head_hidden, preset.fused_tokens, len(preset.labels), face, voice)
            if fusion.affect:
                self.affect_head = LabelHead(fusion.out, fusion.head_hidden, preset.fused_tokens, 2)
        self.projections = nn.ModuleDict({name: nn.Linear(width, preset.llama.hidden) for name, width in projection_widths(preset).items()})

    def fuse(
        self,
        frame_tokens: Tensor,
        frame_mask: Tensor,
        scene_tokens: Tensor,
        scene_cls: Tensor,
        audio_tokens: Tensor,
        audio_mask: Tensor,
    ) -> Fused:
        """Streams of one window to logits and prefix; masked tokens count as zeros, the missing-modality convention of the method.

        frame_tokens  (B, 16·4, D)  frame-major
        frame_mask    (B, 16)       1 where the frame is real
        scene_tokens  (B, P, D)
        scene_cls     (B, D)
        audio_tokens  (B, 64, D)
        audio_mask    (B, 64)       1 where there was sound
        """
        streams = self.streams(frame_tokens, frame_mask, scene_tokens, scene_cls, audio_tokens, audio_mask)
        present = frame_mask.amax(1, keepdim=True), audio_mask.amax(1, keepdim=True)
        face = recent_grid(frame_tokens, frame_mask, self.preset.vision.tokens_per_frame, READ_FRAMES)
        logits = self.label_head(streams["fusion"], *present, face, (streams["audio"], audio_mask))
        return Fused(logits, streams["fusion"], self.prefix(streams))

    def streams(
        self,
        frame_tokens: Tensor,
        frame_mask: Tensor,
        scene_tokens: Tensor,
        scene_cls: Tensor,
        audio_tokens: Tensor,
        audio_mask: Tensor,
    ) -> dict[str, Tensor]:
        """Masked streams and their fusion by name; arguments as in `fuse`."""
        per_frame = self.preset.vision.tokens_per_frame
        batch = frame_mask.shape[0]
        seen = frame_mask.unsqueeze(-1).expand(-1, -1, per_frame).reshape(batch, -1, 1)
        frames = frame_tokens * seen
        audio = audio_tokens * audio_mask.unsqueeze(-1)
        any_frame = frame_mask.amax(dim=1, keepdim=True)
        scene = scene_cls * any_frame
        fused = self.conv_pro_module(audio, scene.unsqueeze(1).expand(-1, audio.shape[1], -1), frames)
        if recent := self.preset.prefix.recent_frames:
            frames = recent_grid(frames, frame_mask, per_frame, recent)
        return {"fusion": fused, "scene": scene_tokens * any_frame.unsqueeze(-1), "frames": frames, "audio": audio}

    def prefix(self, streams: dict[str, Tensor]) -> Tensor:
        """(B, P, hidden): each stream pooled to its share of the prefix and projected."""
        counts = self.preset.prefix
        pools = {"scene": pool_grid}
        pieces = [self.projections[name](pools.get(name, pool_tokens)(stream, getattr(counts, name))) for name, stream in streams.items()]
        return torch.cat(pieces, dim=1)

    def graph(self, name: str) -> nn.Module:
        """The part of the network that is the graph `name` (see graphs.py), with its inputs in order. KeyError if there is none.

        Parts share the network's weights; make them after the weights are loaded.
        """
        fusion = FusionGraph if self.preset.prefix.absent == "zeros" else PublishedFusionGraph
        if name == "fusion":
            return fusion(self)
        parts: dict[str, nn.Module] = {**self.vision.graphs(), **self.audio.graphs()}  # type: ignore[operator]
        return parts[name]


class FusionGraph(nn.Module):
    def __init__(self, network: EmotionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        frame_tokens: Tensor,
        frame_mask: Tensor,
        scene_tokens: Tensor,
        scene_cls: Tensor,
        audio_tokens: Tensor,
        audio_mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        fused = self.network.fuse(frame_tokens, frame_mask, scene_tokens, scene_cls, audio_tokens, audio_mask)
        return torch.softmax(fused.logits, dim=-1), fused.prefix


class PublishedFusionGraph(nn.Module):
    """Streams of windows → prefix, in the order of `PrefixPreset.parts`; before it label probabilities, valence and arousal where it has
    heads for them. Takes the tensors of graphs.py, in their order."""

    def __init__(self, network: EmotionNetwork) -> None:
        super().__init__()
        self.network = network
        self.given = [tensor.name for tensor in graph_specs(network.preset)["fusion"].inputs]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        read = self.read(*tensors)
        labels = () if read.logits is None else (torch.softmax(read.logits, dim=-1),)
        return (*labels, *(() if read.affect is None else (read.affect,)), read.prefix)

    def read(self, *tensors: Tensor) -> Read:
        """What training needs of it too; see `Read`."""
        streams = dict(zip(self.given, tensors, strict=True))
        network, project = self.network, self.network.projections
        fused = self._fused(streams)
        pieces = []
        for part, count in network.preset.prefix.parts.items():
            if part == "fusion":
                pieces.append(project[part](fused))
            elif part == "utterances":
                pieces += [project[f"utterance_{place}"](streams[part][:, place : place + 1]) for place in range(count)]
            elif part == "cls":
                pieces.append(project[part](streams["scene_cls"].unsqueeze(1)))
            else:
                pieces.append(project[part](streams[{"scene": "scene_tokens", "frames": "frame_tokens", "audio": "audio_tokens"}[part]]))
        logits, affect = (None, None) if fused is None else self._heads(streams, fused)
        return Read(logits, affect, torch.cat(pieces, dim=1))

    def _fused(self, streams: dict[str, Tensor]) -> Tensor | None:
        """(B, T, out) tokens of what stands between the streams; None where nothing does."""
        preset = self.network.preset
        if preset.fusion is None:
            return None
        audio, cls = streams["audio_tokens"], streams["scene_cls"].unsqueeze(1)
        if preset.fusion.method == UNFUSED:
            fused: Tensor = self.network.conv_pro_module(audio, cls, streams["utterances"])
        else:
            fused = self.network.conv_pro_module(audio, cls.expand(-1, audio.shape[1], -1), streams["frame_tokens"])
        return fused

    def _heads(self, streams: dict[str, Tensor], fused: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Logits, and valence and arousal."""
        network = self.network
        if not network.preset.has_head:
            return None, None
        # These graphs take no masks: a stream that a window does not have is zeros; of v1's pictures there is no telling.
        shown = (streams.get("frame_tokens"), streams["audio_tokens"])
        heard = (shown[1] != 0).flatten(1).any(dim=1, keepdim=True).to(fused.dtype)
        seen = torch.ones_like(heard) if shown[0] is None else (shown[0] != 0).flatten(1).any(dim=1, keepdim=True).to(fused.dtype)
        affect = torch.tanh(network.affect_head(fused, seen, heard)) if network.preset.has_affect else None
        return network.label_head(fused, seen, heard), affect
