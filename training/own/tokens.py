"""Windows of clips → tokens of the start's frozen encoders, each clip once, kept in RUN.

    RUN/tokens-MODEL/features-00000.safetensors, .json     a shard of a few clips (features.py); one that stands is not made again
    RUN/tokens-MODEL/nobody.safetensors                    windows with nobody
A clip is known by its row's media and by size and time of its files, so what changes in a CSV is encoded anew, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from ros2_emollama.config import Config, ModelConfig, ReasonerConfig, WindowConfig
from ros2_emollama.model.folder import open_folder
from ros2_emollama.pipeline import Pipeline
from ros2_emollama.types import UInt8, Window
from ros2_emollama.windows import WindowSpec

from ..compose import as_rgb, background
from ..evaluate import window_holding
from ..features import Arrays, Stored, compute
from ..probes import SOUND_KINDS, SOUND_SHARES, sound_without_speech
from ..problems import Problems
from ..records import Clip, Sample
from ..whole import whole
from .played import spread, windows_in

TENSORS = ("frame_tokens", "frame_mask", "scene_tokens", "scene_cls", "audio_tokens", "audio_mask")
"""Inputs of `EmotionNetwork.fuse`, in order."""
PRESENCES = ("face", "speech")
HOP_SECONDS = 1.0
MOST_WINDOWS = 8  # of a clip: those of a long one are much alike
CLIPS_A_SHARD = 4
NOBODY_WINDOWS, NOBODY_SEED = 64, 21
NOT_ENCODED = "cannot be encoded"


@dataclass(frozen=True)
class Tokens:
    """Windows.

    tensors   (N, …) half floats by name (TENSORS)
    clip      (N,) which clip a window is of
    presence  (N, 2) how sure somebody is seen, and is heard speaking
    """

    tensors: Mapping[str, Tensor]
    clip: npt.NDArray[np.int64]
    presence: npt.NDArray[np.float32]

    def rows(self, places: npt.NDArray[np.int64]) -> list[Tensor]:
        """(B, …) float32 each, in the order of TENSORS."""
        chosen = torch.from_numpy(places)
        return [self.tensors[name][chosen].float() for name in TENSORS]


def open_pipeline(model: Path, threads: int = 1) -> Pipeline:
    """What a robot without a GPU runs, a window a second, labels only."""
    preset = open_folder(model).preset
    return Pipeline.load(
        Config(
            model=ModelConfig(path=str(model), runtime="onnxruntime", threads=threads),
            window=WindowConfig(hop_ticks=max(1, round(HOP_SECONDS * preset.window_frames / preset.window_seconds))),
            reasoner=ReasonerConfig(enabled=False),
        )
    )


class ClipEncoder:
    """Clip → its windows' tokens and presences. See `features.Encoder`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __call__(self, record: Clip | Sample) -> Arrays:
        self._pipeline.forget()
        made = spread(windows_in(record.media, self._pipeline.window_spec), self.encode, MOST_WINDOWS)
        if not made:
            raise ValueError(f"{', '.join(record.media.files)} is too short for a single window; give a longer clip")
        return {name: np.stack([arrays[name] for arrays in made]) for name in made[0]}

    def encode(self, window: Window) -> Arrays:
        """Tokens and presences of one window."""
        encoded = self._pipeline.encode(window)
        tensors = {name: np.asarray(encoded.tensors[name][0], np.float32) for name in TENSORS}
        return {**tensors, "face": np.asarray(encoded.face, np.float32), "speech": np.asarray(encoded.speech, np.float32)}


def encode_clips(clips: Sequence[Clip], pipeline: Pipeline, run: Path, problems: Problems) -> tuple[list[Clip], Tokens]:
    """Clips that could be encoded, and their windows. What could not is named; ValueError where nothing is left."""
    folder = tokens_folder(run, pipeline)
    stamped = [stamped_clip(clip) for clip in clips]
    compute(stamped, partial(ClipEncoder, pipeline), f"{pipeline.folder.model_id} windows", folder, per_shard=CLIPS_A_SHARD)
    stored = Stored(folder)
    kept: list[Clip] = []
    arrays: list[Arrays] = []
    for clip, known in zip(clips, stamped, strict=True):
        if known.key in stored:
            kept.append(clip)
            arrays.append(stored.of(known))
        else:
            problems.add(NOT_ENCODED, clip.provenance.file, clip.provenance.row, clip.id, stored.failed.get(known.key, ""))
    if not kept:
        raise ValueError(f"not one of {len(clips)} training clips could be encoded; the first: {problems.told[-1]}")
    counts = [len(item["face"]) for item in arrays]
    together = {name: np.concatenate([item[name] for item in arrays]) for name in arrays[0]}
    tensors = {name: torch.from_numpy(together[name]).half() for name in TENSORS}
    presence = np.stack([together[name] for name in PRESENCES], axis=1)
    return kept, Tokens(tensors, np.repeat(np.arange(len(kept)), counts), presence)


def tokens_folder(run: Path, pipeline: Pipeline) -> Path:
    return run / f"tokens-{pipeline.folder.model_id.rpartition('@')[2]}"


def stamped_clip(clip: Clip) -> Clip:
    """The same under an id that changes with what it is encoded from."""
    media = clip.media
    files = [(Path(media.root) / name).stat() for name in media.files if (Path(media.root) / name).is_file()]
    facts = {**asdict(media), "root": "", "files": [(file.st_size, file.st_mtime_ns) for file in files]}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return replace(clip, id=f"{clip.id}@{digest[:16]}")


def encode_nobody(pipeline: Pipeline, run: Path) -> Tokens:
    """Windows in which nobody is: no camera, nothing but grey, or a place without people; no microphone, silence, or other sounds."""
    path = tokens_folder(run, pipeline) / "nobody.safetensors"
    if not path.is_file():
        encoder = ClipEncoder(pipeline)
        made = [
            encoder.encode(nobody_window(pipeline.window_spec, pipeline.preset.vision.scene_pixels, number))
            for number in tqdm(range(NOBODY_WINDOWS), desc="nobody", unit="window")
        ]
        with whole(path) as part:
            save_file({name: torch.from_numpy(np.stack([item[name] for item in made])).half() for name in TENSORS}, part)
    tensors = load_file(path)
    count = len(tensors["frame_mask"])
    return Tokens(tensors, np.full(count, -1), np.zeros((count, 2), np.float32))


def nobody_window(spec: WindowSpec, side: int, number: int) -> Window:
    """The number-th; the first is nothing at all."""
    if number == 0:
        return window_holding(spec, None, None)
    rng = np.random.default_rng((NOBODY_SEED, number))
    sound = sound_without_speech(str(rng.choice(SOUND_KINDS, p=SOUND_SHARES)), round(spec.seconds * spec.sample_rate_hz), rng)
    return window_holding(spec, _view(rng, side), sound)


def _view(rng: np.random.Generator, side: int) -> UInt8 | None:
    kind = rng.random()
    if kind < 0.2:
        return None
    grey = np.full((side, side), rng.uniform(0, 1), np.float32) if kind < 0.4 else background(rng, side)
    return as_rgb(grey)
