"""The streams of a window through the graphs of a model: pictures and sound in the form its encoders were trained on, tokens out.

Every kind of stream (model/streams.py) is served here, so that the pipeline knows none of them. Knows nothing about windows or time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .model.graphs import FRAME_BATCH, chains, graph_specs
from .model.logmel import log_mel
from .model.pixels import to_canvas
from .model.presets import Preset
from .model.resample import squeeze
from .model.streams import EvaPreset, HubertPreset, WhisperPreset
from .model.whisper_mel import whisper_log_mel
from .runtime.base import Encoders, Tensors
from .types import Float32, UInt8

MEAN_COLOUR = (123, 117, 104)  # CLIP's mean in 8 bits: what the method takes for "no picture"


@dataclass(frozen=True)
class EncodedFrame:
    """tokens (4, D) of one frame; face (4,): presence, centre x, centre y, height, or None from an encoder that looks for no face."""

    tokens: Float32
    face: Float32 | None


class StreamEncoders:
    """The encoders of one preset."""

    def __init__(self, preset: Preset, encoders: Encoders) -> None:
        self.preset = preset
        self._encoders = encoders
        self._chains = chains(preset)
        self._specs = graph_specs(preset)

    @property
    def has_frames(self) -> bool:
        return "frames" in self._chains

    def fit(self, pictures: Sequence[UInt8], stream: str) -> UInt8:
        """Pictures of any size -> (N, S, S, 3) uint8, as that stream's encoder takes them."""
        vision = self.preset.vision
        side = vision.scene_pixels if stream == "scene" else vision.frame_pixels
        if vision.letterbox:
            return np.stack([to_canvas(picture, side) for picture in pictures])
        return np.stack([squeeze(picture, side, bicubic=stream == "scene") for picture in pictures])

    def frames(self, pixels: UInt8) -> list[EncodedFrame]:
        """Fitted frames (N, S, S, 3), each encoded by itself."""
        batch = FRAME_BATCH if isinstance(self.preset.vision, EvaPreset) else len(pixels)
        encoded: list[EncodedFrame] = []
        for start in range(0, len(pixels), batch):
            out = self._run("frames", pixels[start : start + batch])
            faces: Sequence[Float32 | None] = [*out["face"]] if "face" in out else [None] * len(out["tokens"])
            encoded += [EncodedFrame(tokens, face) for tokens, face in zip(out["tokens"], faces, strict=True)]
        return encoded

    def scene(self, pixels: UInt8) -> dict[str, Float32]:
        """One fitted picture (1, S, S, 3) -> tokens (1, P, D'), cls (1, D)."""
        return self._run("scene", pixels)

    @cached_property
    def no_scene(self) -> dict[str, Float32]:
        """What stands for the scene of a window without frames: zeros where the model was trained so, else the tokens of no picture."""
        vision = self.preset.vision
        if self.preset.prefix.absent != "zeros":
            return self.scene(np.broadcast_to(np.array(MEAN_COLOUR, np.uint8), (1, vision.scene_pixels, vision.scene_pixels, 3)).copy())
        tokens = np.zeros((1, vision.scene_tokens, vision.scene_width), np.float32)
        return {"tokens": tokens, "cls": np.zeros((1, vision.width), np.float32)}

    def sound(self, samples: Float32, seen: npt.NDArray[np.bool_]) -> tuple[Float32, float]:
        """A window's samples -> tokens (1, T, D) and the probability that somebody speaks, NaN from an encoder that does not say."""
        audio = self.preset.audio
        if isinstance(audio, HubertPreset):
            given = samples
        elif isinstance(audio, WhisperPreset):
            given = whisper_log_mel(samples, audio)
        else:
            given = log_mel(samples, audio, seen)
        out = self._run("audio", given[None])
        return out["tokens"], float(out["speech"][0]) if "speech" in out else math.nan

    @property
    def no_sound(self) -> Float32:
        return np.zeros((1, self.preset.audio.tokens, self.preset.audio.width), np.float32)

    def fuse(self, tensors: Tensors) -> dict[str, Float32]:
        """The fusion graph; of `tensors` it takes those it knows."""
        return self._encoders.run("fusion", {spec.name: tensors[spec.name] for spec in self._specs["fusion"].inputs})

    def assemble(self, prefix: Float32, present: Mapping[str, bool], after_scene: Float32) -> Float32:
        """What the language model sees of a window: (P, hidden) rows of the fusion graph -> (P', hidden).

        present      "video" and "audio" → does the window hold it? Parts of what it does not hold are left out where the preset says so:
                     the same as an attention mask over them with positions counted by it, and cheaper
        after_scene  (M, hidden) rows of the prompt that stand inside the prefix, after the scene
        """
        layout = self.preset.prefix
        pieces, start = [], 0
        for part, count in layout.parts.items():
            needed = {"scene": "video", "frames": "video", "cls": "video", "audio": "audio"}.get(part)
            if needed is None or present[needed] or layout.absent != "left_out":
                pieces.append(prefix[start : start + count])
            if part == "scene" and len(after_scene):
                pieces.append(after_scene)
            start += count
        return prefix if sum(map(len, pieces)) == len(prefix) else np.concatenate(pieces)

    def _run(self, stream: str, given: npt.NDArray[np.generic]) -> dict[str, Float32]:
        """A stream's graphs one after the other, the only output of one being the only input of the next."""
        *before, last = self._chains[stream]
        for name in before:
            (given,) = self._encoders.run(name, {self._specs[name].inputs[0].name: given}).values()
        return self._encoders.run(last, {self._specs[last].inputs[0].name: given})
