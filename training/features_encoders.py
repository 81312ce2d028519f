"""Encoders for features.py: any runtime of a model folder, and the features that MMEVerse releases.

What they give, by stream: frames (T, D), frame_mask (16,), scene (P, D), scene_cls (D,), audio (64, D), audio_mask (64,).
A stream that a clip does not have is absent, not zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .features import Arrays, Encoder
from .features_clip import Sampling, Views, views_of
from .records import Clip, Sample

if TYPE_CHECKING:
    from ros2_emollama.model.presets import Preset
    from ros2_emollama.runtime.base import Encoders

# Emotion-LLaMAv2's released features: folder → stream, tokens, width.
RELEASED = {"EVA-ViT-G": ("frames", 64, 1408), "whisper-large-v3": ("audio", 64, 1280)}


def open_runtime_encoder(
    model: str,
    runtime: str = "auto",
    threads: int = 1,
    streams: Sequence[str] = ("frames", "scene", "audio"),
    sampling: Sampling = "middle",
) -> tuple[Encoder, str]:
    """An encoder over a model folder, and its fingerprint. ModelFolderError or RuntimeUnavailable with the cure."""
    from ros2_emollama.model.folder import find_model, open_folder
    from ros2_emollama.runtime.factory import open_runtime

    folder = open_folder(find_model(model))
    encoders, _ = open_runtime(folder, runtime, threads, with_language=False)
    return RuntimeEncoder(folder.preset, encoders, streams, sampling), f"{folder.model_id} {'+'.join(streams)} {sampling}"


class RuntimeEncoder:
    """Runs the graphs frame_encoder, scene_encoder and audio_encoder of one runtime over a clip."""

    def __init__(self, preset: Preset, encoders: Encoders, streams: Sequence[str], sampling: Sampling = "middle") -> None:
        unknown = set(streams) - {"frames", "scene", "audio"}
        if unknown:
            raise ValueError(f"no stream is called {', '.join(sorted(unknown))}; there are frames, scene and audio")
        self._preset, self._encoders, self._streams, self._sampling = preset, encoders, tuple(streams), sampling

    def __call__(self, record: Clip | Sample) -> Arrays:
        preset = self._preset
        views = views_of(record, preset.window_frames, self._sampling, preset.window_seconds, preset.audio.sample_rate_hz)
        arrays: Arrays = {}
        if "frames" in self._streams and views.frames:
            arrays.update(self._frames(views))
        if "scene" in self._streams and views.scene is not None:
            out = self._encoders.run("scene_encoder", {"pixels": self._canvas([views.scene])})
            arrays.update(scene=out["tokens"][0], scene_cls=out["cls"][0])
        if "audio" in self._streams and views.samples is not None:
            arrays.update(self._audio(views.samples))
        return arrays

    def _frames(self, views: Views) -> Arrays:
        tokens = self._encoders.run("frame_encoder", {"pixels": self._canvas(views.frames)})["tokens"]
        return {"frames": tokens.reshape(-1, tokens.shape[-1]), "frame_mask": np.ones(len(views.frames), np.float32)}

    def _audio(self, samples: npt.NDArray[np.float32]) -> Arrays:
        from ros2_emollama.model.logmel import log_mel

        preset, audio = self._preset, self._preset.audio
        size = round(preset.window_seconds * audio.sample_rate_hz)
        window = np.zeros(size, np.float32)
        window[: min(size, len(samples))] = samples[:size]
        seen = np.arange(preset.window_frames) * size < len(samples) * preset.window_frames
        tokens = self._encoders.run("audio_encoder", {"logmel": log_mel(window, audio, seen)[None]})["tokens"][0]
        return {"audio": tokens, "audio_mask": np.repeat(seen, audio.tokens // len(seen)).astype(np.float32)}

    def _canvas(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
        from ros2_emollama.model.pixels import to_canvas

        return np.stack([to_canvas(picture, self._preset.vision.canvas_pixels) for picture in pictures])


class Released:
    """MMEVerse's own features/{EVA-ViT-G,whisper-large-v3}/ID.npy, each (1, 64, D) float32."""

    def of(self, record: Clip | Sample) -> Arrays:
        """KeyError where there is not one file; ValueError naming a file of another shape."""
        arrays = {}
        for name, (stream, tokens, width) in RELEASED.items():
            path = Path(record.media.root) / "features" / name / f"{record.id}.npy"
            if path.is_file():
                arrays[stream] = _load(path, tokens, width)
        if not arrays:
            raise KeyError(
                f"no features of {record.key} in {record.media.root}/features; unpack MMEVerse's features there, or compute them"
            )
        return arrays

    __call__ = of


def _load(path: Path, tokens: int, width: int) -> npt.NDArray[np.float32]:
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no array ({error}); unpack it again") from None
    if array.shape not in ((1, tokens, width), (tokens, width)) or not np.isfinite(array).all():
        raise ValueError(f"{path} must be (1, {tokens}, {width}) and finite, got {array.shape}; unpack it again")
    return array.reshape(tokens, width).astype(np.float32)
