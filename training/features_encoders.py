"""Encoders for features.py: any runtime of a model folder, and the features that MMEVerse releases.

What they give, by stream: frames (T, D), frame_mask (16,), scene (P, D), scene_cls (D,), audio (64, D), audio_mask (64,).
A stream that a clip does not have is absent, not zeros.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .features import Arrays, Encoder, Features, Stored
from .features_clip import Sampling, Views, views_of
from .records import Clip, Sample, Stream

if TYPE_CHECKING:
    from ros2_emollama.model.folder import ModelFolder
    from ros2_emollama.model.presets import Preset
    from ros2_emollama.runtime.base import Encoders
    from ros2_emollama.types import Float32

BY_MMEVERSE = "released"
LONGEST_SECONDS = 600.0  # of one clip's sound: a film given by mistake must not fill the memory
ALL: tuple[Stream, ...] = ("frames", "scene", "audio")
# Emotion-LLaMAv2's released features: folder → stream, tokens, width.
RELEASED = {"EVA-ViT-G": ("frames", 64, 1408), "whisper-large-v3": ("audio", 64, 1280)}


def open_runtime_encoder(
    model: str,
    runtime: str = "auto",
    threads: int = 1,
    streams: Sequence[str] = ALL,
    sampling: Sampling = "middle",
) -> tuple[Encoder, str]:
    """An encoder over a model folder, and its fingerprint. ModelFolderError or RuntimeUnavailable with the cure."""
    from ros2_emollama.model.folder import find_model, open_folder
    from ros2_emollama.runtime.factory import open_runtime

    folder = open_folder(find_model(model))
    encoders, _ = open_runtime(folder, fitting_runtime(folder, runtime), threads, with_language=False)
    return RuntimeEncoder(folder.preset, encoders, streams, sampling), f"{folder.model_id} {'+'.join(streams)} {sampling}"


def fitting_runtime(folder: ModelFolder, name: str) -> str:
    """The runtime that was asked for; for "auto", torch where the folder has weights and no graphs."""
    return "torch" if name == "auto" and not folder.manifest.graphs else name


class RuntimeEncoder:
    """Runs the encoders of one runtime over a clip, in two steps so that clips can be decoded side by side: `views`, then `encode`.

    Sound: a window of the model's own length, but with another sampling than "middle" as much as an encoder takes at once (Whisper: 30 s),
    or, from one that gives a mean over time (HuBERT), the mean over windows that follow each other to the clip's end.
    """

    def __init__(self, preset: Preset, encoders: Encoders, streams: Sequence[str] = ALL, sampling: Sampling = "middle") -> None:
        from ros2_emollama.encoding import StreamEncoders
        from ros2_emollama.model.streams import HubertPreset, WhisperPreset

        unknown = set(streams) - set(ALL)
        if unknown:
            raise ValueError(f"no stream is called {', '.join(sorted(unknown))}; there are frames, scene and audio")
        self._preset, self._names, self._sampling = preset, tuple(streams), sampling
        self.streams = StreamEncoders(preset, encoders)
        audio, whole = preset.audio, sampling != "middle"
        self._means = whole and isinstance(audio, HubertPreset)
        self._seconds = preset.window_seconds
        if whole and isinstance(audio, WhisperPreset):
            self._seconds = audio.columns * audio.hop_samples / audio.sample_rate_hz

    def __call__(self, record: Clip | Sample) -> Arrays:
        return self.encode(self.views(record))

    def views(self, record: Clip | Sample) -> Views:
        """What of the clip is encoded. MediaError; from several threads at once."""
        seconds = LONGEST_SECONDS if self._means else self._seconds
        return views_of(record, self._preset.window_frames, self._sampling, seconds, self._preset.audio.sample_rate_hz)

    def encode(self, views: Views, without: Collection[str] = ()) -> Arrays:
        """Arrays by stream, but for those in `without`."""
        wanted, arrays = set(self._names) - set(without), {}
        if "frames" in wanted and views.frames and self.streams.has_frames:
            encoded = self.streams.frames(self.streams.fit(views.frames, "frames"))
            arrays["frames"] = np.concatenate([frame.tokens for frame in encoded])
            arrays["frame_mask"] = np.ones(len(encoded), np.float32)
        if "scene" in wanted and views.scene is not None:
            out = self.streams.scene(self.streams.fit([views.scene], "scene"))
            arrays.update(scene=out["tokens"][0], scene_cls=out["cls"][0])
        if "audio" in wanted and views.samples is not None:
            arrays.update(self._audio(views.samples))
        return arrays

    def _audio(self, samples: Float32) -> Arrays:
        audio, ticks = self._preset.audio, self._preset.window_frames
        size = round(self._seconds * audio.sample_rate_hz)
        starts = range(0, max(1, len(samples)), size) if self._means else (0,)
        windows = []
        for start in starts:
            window = np.zeros(size, np.float32)
            part = samples[start : start + size]
            window[: len(part)] = part
            windows.append(self.streams.sound(window, np.arange(ticks) * size < len(part) * ticks)[0][0])
        seen = np.repeat(np.arange(ticks) * size < len(samples) * ticks, max(1, audio.tokens // ticks))[: audio.tokens]
        weights = [min(size, len(samples) - start) for start in starts] if len(samples) else None
        return {"audio": np.average(windows, axis=0, weights=weights).astype(np.float32), "audio_mask": seen.astype(np.float32)}


def open_features(named: str) -> Features | None:
    """A folder of `python -m training features`, or BY_MMEVERSE for those it brings; None for ""."""
    if not named:
        return None
    return Released() if named == BY_MMEVERSE else Stored(Path(named))


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
