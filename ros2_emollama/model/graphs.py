"""Names and shapes of every graph's tensors: the contract between the network, its exports and all runtimes.

Symbols in shapes: N pictures, T tokens (free, see `free_sizes`), others are filled from the preset. Everything is batch 1 where a window is
meant: a robot has one window at a time; only what encodes frames takes several.

nano
    frame_encoder   pixels (N, C, C, 3) uint8               tokens (N, 4, D), face (N, 4): presence, centre x, centre y, height
    scene_encoder   pixels (1, C, C, 3) uint8               tokens (1, P, D), cls (1, D)
    audio_encoder   logmel (1, mels, columns) float32       tokens (1, 64, D), speech (1,)
    fusion          frame_tokens (1, 16·4, D), frame_mask (1, 16), scene_tokens (1, P, D), scene_cls (1, D),
                    audio_tokens (1, 64, D), audio_mask (1, 64)   probabilities (1, labels), prefix (1, P', hidden)

EVA: frames and scene go through ONE graph of blocks, so that its weights are there once; what is before and after it is small
    frame_patches   pixels (N, S, S, 3) uint8               embedded (N, 1 + patches, D)
    scene_patches   pixels (1, S', S', 3) uint8             embedded (1, 1 + patches', D)
    vision_blocks   embedded (N, T, D)                      features (N, T, D)
    frame_tokens    features (N, 1 + patches, D)            tokens (N, 4, D)
    scene_tokens    features (1, 1 + patches', D)           tokens (1, P, 4·D), cls (1, D)
Whisper             audio_encoder as nano's, without speech
HuBERT              audio_encoder  samples (1, S) float32   tokens (1, 1, D)
published           fusion takes the tokens of each stream it has, and no masks; it gives no probabilities where there is no label head, and
                    affect (1, 2), valence and arousal in [-1, 1], only where the preset has them

`chains` says through which graphs a stream goes: each takes what the one before it gave.
"""

from __future__ import annotations

from dataclasses import dataclass

from .presets import Preset
from .streams import EvaPreset, HubertPreset

FRAME_BATCH = 4
"""Frames that go through EVA at once: about as many tokens as one scene, so that both need the same working memory."""


@dataclass(frozen=True)
class TensorSpec:
    """Shape entries are numbers or the name of a free dimension."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class GraphSpec:
    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def graph_specs(preset: Preset) -> dict[str, GraphSpec]:
    """Every encoder graph of a preset, by name. The language model's graph is the LLM builder's own (see runtime/)."""
    specs = [*_vision(preset), _audio(preset), _fusion(preset)]
    return {spec.name: spec for spec in specs}


def chains(preset: Preset) -> dict[str, tuple[str, ...]]:
    """Stream → the graphs it goes through. Streams the preset has not are not there."""
    if isinstance(preset.vision, EvaPreset):
        frames = {"frames": ("frame_patches", "vision_blocks", "frame_tokens")} if preset.vision.frame_blocks else {}
        return {**frames, "scene": ("scene_patches", "vision_blocks", "scene_tokens"), "audio": ("audio_encoder",)}
    return {"frames": ("frame_encoder",), "scene": ("scene_encoder",), "audio": ("audio_encoder",)}


def free_sizes(preset: Preset) -> dict[str, tuple[int, int, int]]:
    """Free dimension → its least, most usual and largest size; what an engine's profile is made of."""
    vision = preset.vision
    if isinstance(vision, EvaPreset):
        scene = vision.scene_patches + 1
        least = vision.frame_patches + 1 if vision.frame_blocks else scene
        return {"N": (1, 1, FRAME_BATCH if vision.frame_blocks else 1), "T": (least, scene, scene)}
    return {"N": (1, 1, preset.window_frames)}


def _picture(side: int, count: int | str) -> TensorSpec:
    return TensorSpec("pixels", (count, side, side, 3), "uint8")


def _vision(preset: Preset) -> list[GraphSpec]:
    vision = preset.vision
    tokens = TensorSpec("tokens", ("N", vision.tokens_per_frame, vision.width))
    scene = (TensorSpec("tokens", (1, vision.scene_tokens, vision.scene_width)), TensorSpec("cls", (1, vision.width)))
    if not isinstance(vision, EvaPreset):
        return [
            GraphSpec("frame_encoder", (_picture(vision.frame_pixels, "N"),), (tokens, TensorSpec("face", ("N", 4)))),
            GraphSpec("scene_encoder", (_picture(vision.scene_pixels, 1),), scene),
        ]
    whole, width = vision.scene_patches + 1, vision.width
    specs = [
        GraphSpec("scene_patches", (_picture(vision.scene_pixels, 1),), (TensorSpec("embedded", (1, whole, width)),)),
        GraphSpec("vision_blocks", (TensorSpec("embedded", ("N", "T", width)),), (TensorSpec("features", ("N", "T", width)),)),
        GraphSpec("scene_tokens", (TensorSpec("features", (1, whole, width)),), scene),
    ]
    if vision.frame_blocks:
        patches = vision.frame_patches + 1
        specs += [
            GraphSpec("frame_patches", (_picture(vision.frame_pixels, "N"),), (TensorSpec("embedded", ("N", patches, width)),)),
            GraphSpec("frame_tokens", (TensorSpec("features", ("N", patches, width)),), (tokens,)),
        ]
    return specs


def _audio(preset: Preset) -> GraphSpec:
    audio = preset.audio
    tokens = TensorSpec("tokens", (1, audio.tokens, audio.width))
    if isinstance(audio, HubertPreset):
        return GraphSpec("audio_encoder", (TensorSpec("samples", (1, preset.window_samples)),), (tokens,))
    speech = (TensorSpec("speech", (1,)),) if audio.hears_speech else ()
    return GraphSpec("audio_encoder", (TensorSpec("logmel", (1, audio.mels, preset.mel_columns)),), (tokens, *speech))


def _fusion(preset: Preset) -> GraphSpec:
    vision, audio, prefix = preset.vision, preset.audio, preset.prefix
    frames = TensorSpec("frame_tokens", (1, preset.frame_tokens, vision.width))
    scene = (TensorSpec("scene_tokens", (1, vision.scene_tokens, vision.scene_width)), TensorSpec("scene_cls", (1, vision.width)))
    sound = TensorSpec("audio_tokens", (1, audio.tokens, audio.width))
    told = TensorSpec("prefix", (1, prefix.tokens, preset.llama.hidden))
    inputs: tuple[TensorSpec, ...]
    if prefix.absent == "zeros":
        masks = TensorSpec("frame_mask", (1, preset.window_frames)), TensorSpec("audio_mask", (1, audio.tokens))
        inputs = (frames, masks[0], *scene, sound, masks[1])
    else:
        given = (TensorSpec("utterances", (1, prefix.utterances, audio.width)),) if prefix.utterances else ()
        inputs = (*((frames,) if vision.frame_pixels else ()), *scene, *given, sound)
    labels = (TensorSpec("probabilities", (1, len(preset.labels))),) if preset.has_head else ()
    affect = (TensorSpec("affect", (1, 2)),) if preset.has_affect else ()
    return GraphSpec("fusion", inputs, (*labels, *affect, told))
