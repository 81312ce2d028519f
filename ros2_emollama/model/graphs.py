"""Names and shapes of every graph's tensors: the contract between the network, its exports and all runtimes.

Symbols in shapes: N frames (free), others are filled from the preset. Everything is batch 1 where a window is meant:
a robot has one window at a time; only the frame encoder takes several.

    frame_encoder   pixels (N, C, C, 3) uint8               tokens (N, 4, D), face (N, 4): presence, centre x, centre y, height
    scene_encoder   pixels (1, C, C, 3) uint8               tokens (1, P, D), cls (1, D)
    audio_encoder   logmel (1, mels, columns) float32       tokens (1, 64, D), speech (1,)
    fusion          frame_tokens (1, 16·4, D), frame_mask (1, 16), scene_tokens (1, P, D), scene_cls (1, D),
                    audio_tokens (1, 64, D), audio_mask (1, 64)   probabilities (1, labels), prefix (1, P', hidden)
"""

from __future__ import annotations

from dataclasses import dataclass

from .presets import Preset


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
    vision, audio, prefix = preset.vision, preset.audio, preset.prefix
    canvas = vision.canvas_pixels
    scene = vision.scene_grid**2
    return {
        "frame_encoder": GraphSpec(
            "frame_encoder",
            (TensorSpec("pixels", ("N", canvas, canvas, 3), "uint8"),),
            (TensorSpec("tokens", ("N", vision.tokens_per_frame, vision.width)), TensorSpec("face", ("N", 4))),
        ),
        "scene_encoder": GraphSpec(
            "scene_encoder",
            (TensorSpec("pixels", (1, canvas, canvas, 3), "uint8"),),
            (TensorSpec("tokens", (1, scene, vision.width)), TensorSpec("cls", (1, vision.width))),
        ),
        "audio_encoder": GraphSpec(
            "audio_encoder",
            (TensorSpec("logmel", (1, audio.mels, preset.mel_columns)),),
            (TensorSpec("tokens", (1, audio.tokens, audio.width)), TensorSpec("speech", (1,))),
        ),
        "fusion": GraphSpec(
            "fusion",
            (
                TensorSpec("frame_tokens", (1, preset.frame_tokens, vision.width)),
                TensorSpec("frame_mask", (1, preset.window_frames)),
                TensorSpec("scene_tokens", (1, scene, vision.width)),
                TensorSpec("scene_cls", (1, vision.width)),
                TensorSpec("audio_tokens", (1, audio.tokens, audio.width)),
                TensorSpec("audio_mask", (1, audio.tokens)),
            ),
            (
                TensorSpec("probabilities", (1, len(preset.labels))),
                TensorSpec("prefix", (1, prefix.tokens, preset.llama.hidden)),
            ),
        ),
    }
