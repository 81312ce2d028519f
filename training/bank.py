"""Features of the frozen encoders, computed once: many looks of each face, many hearings of each voice, scenes with and without people.

CACHE is read; RUN/bank_{faces,voices,scenes}.npz is written. Fusion and language are trained on these alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from ros2_emollama.model.logmel import log_mel
from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.vision import best_box, normalise

from .compose import compose
from .data import Faces, Voices
from .faces import jitter
from .measures import read_measures
from .paths import Paths
from .sounds import Sound, heard
from .voice_measures import VOICE_MEASURES, speaking_level

Array = npt.NDArray[np.float32]
ENOUGH_TOKENS = 16  # a second of speech: in less, neither its rate nor its pauses can be heard


@dataclass(frozen=True)
class FaceBank:
    """tokens (N, K, 4, D) float16: K looks of N faces; labels (N,); measures (N, M) in the order of FACE_MEASURES."""

    tokens: npt.NDArray[np.float16]
    labels: npt.NDArray[np.int64]
    measures: Array


@dataclass(frozen=True)
class VoiceBank:
    """tokens (N, 64, D) float16, mask (N, 64); labels (N,), -1 where nobody speaks; measures (N, M) in the order of VOICE_MEASURES."""

    tokens: npt.NDArray[np.float16]
    mask: Array
    labels: npt.NDArray[np.int64]
    measures: Array


@dataclass(frozen=True)
class SceneBank:
    """tokens (N, P, D), cls (N, D); face (N, 4) as the network itself found it: presence, x, y, height; somebody (N,) what is true."""

    tokens: npt.NDArray[np.float16]
    cls: npt.NDArray[np.float16]
    face: Array
    somebody: npt.NDArray[np.bool_]


def _keep(path: Path, bank: FaceBank | VoiceBank | SceneBank) -> None:
    temporary = path.with_name(path.stem + ".tmp.npz")
    np.savez(temporary, **asdict(bank))
    temporary.replace(path)


@torch.inference_mode()
def face_bank(network: EmotionNetwork, paths: Paths, split: str, per_class: int, looks: int, seed: int = 5) -> FaceBank:
    """Up to `per_class` faces of each label, each seen `looks` times."""
    path = paths.run / f"bank_faces_{split}.npz"
    if path.is_file():
        return FaceBank(**np.load(path))
    faces, rng = Faces(paths.cache), np.random.default_rng(seed)
    places = faces.where(split)
    kept = np.concatenate([rng.permutation(places[faces.labels[places] == label])[:per_class] for label in range(7)])
    kept = rng.permutation(kept)
    tokens = []
    for start in tqdm(range(0, kept.size, 64), desc=f"faces ({split})"):
        pictures = torch.from_numpy(faces.pictures[kept[start : start + 64]]).float().unsqueeze(1) / 255
        views = torch.stack(
            [network.vision.face_net(normalise(jitter(pictures, rng) if look else pictures)) for look in range(looks)], dim=1
        )
        tokens.append(views.numpy().astype(np.float16))
    bank = FaceBank(np.concatenate(tokens), faces.labels[kept], read_measures(paths.cache, "faces")[kept])
    _keep(path, bank)
    return bank


def as_heard(measures: Array, sound: Sound) -> Array:
    """A clip's measures (M,) in a window that holds it, or part of it: the level is the window's own."""
    own = dict(zip(VOICE_MEASURES, measures, strict=True))
    own["level_dbfs"] = np.float32(speaking_level(sound.samples, sound.active))
    if sound.active.sum() < ENOUGH_TOKENS:
        own["rate_per_second"] = own["pause_share"] = np.float32(np.nan)
    return np.array(list(own.values()), np.float32)


@torch.inference_mode()
def voice_bank(network: EmotionNetwork, paths: Paths, split: str, hearings: int, silent: int, seed: int = 6) -> VoiceBank:
    """Every voice `hearings` times, and `silent` windows in which nobody speaks. A third of the windows begin before the microphone did."""
    path = paths.run / f"bank_voices_{split}.npz"
    if path.is_file():
        return VoiceBank(**np.load(path))
    preset, voices, rng = network.preset, Voices(paths.cache), np.random.default_rng(seed)
    table = read_measures(paths.cache, "voices")
    places = [int(i) for i in voices.where(split)] * hearings + [-1] * silent
    tokens, masks, labels, measures = [], [], [], []
    for start in tqdm(range(0, len(places), 32), desc=f"voices ({split})", unit="batch"):
        features = []
        for place in places[start : start + 32]:
            sound = heard(voices.voice(place) if place >= 0 else None, preset.audio, preset.window_seconds, rng)
            speaks = place >= 0 and sound.active.sum() >= 6
            features.append(log_mel(sound.samples, preset.audio, sound.mask > 0))
            masks.append(sound.mask)
            labels.append(int(voices.labels[place]) if speaks else -1)
            measures.append(as_heard(table[place], sound) if speaks else np.full(len(VOICE_MEASURES), np.nan, np.float32))
        tokens.append(network.audio(torch.from_numpy(np.stack(features)))[0].numpy().astype(np.float16))
    bank = VoiceBank(np.concatenate(tokens), np.stack(masks), np.array(labels), np.stack(measures))
    _keep(path, bank)
    return bank


@torch.inference_mode()
def scene_bank(network: EmotionNetwork, paths: Paths, split: str, count: int, seed: int = 8) -> SceneBank:
    """`count` composed views as the scene stream sees them, two in three with somebody."""
    path = paths.run / f"bank_scenes_{split}.npz"
    if path.is_file():
        return SceneBank(**np.load(path))
    faces, rng = Faces(paths.cache), np.random.default_rng(seed)
    people, vision = faces.pictures[faces.where(split)], network.vision
    side = network.preset.vision.locator_pixels
    tokens, cls, found, somebody = [], [], [], []
    for _ in tqdm(range(0, count, 32), desc=f"scenes ({split})"):
        views = [compose(people, rng, side) for _ in range(32)]
        located = vision.locator(torch.from_numpy(np.stack([view.picture for view in views])).unsqueeze(1))
        scene_tokens, scene_cls = vision.scene_of(located.trunk)
        tokens.append(scene_tokens.numpy().astype(np.float16))
        cls.append(scene_cls.numpy().astype(np.float16))
        found.append(best_box(located).numpy())
        somebody += [len(view.boxes) > 0 for view in views]
    bank = SceneBank(np.concatenate(tokens), np.concatenate(cls), np.concatenate(found), np.array(somebody))
    _keep(path, bank)
    return bank
