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

from ros2_emollama.model.network import EmotionNetwork
from ros2_emollama.model.vision import best_box, glimpse, normalise

from .compose import TRAINED_ON, compose
from .data import Faces, Voices
from .faces import jitter
from .hearing import Ear
from .measures import read_measures
from .paths import Paths
from .voices import Measured
from .whole import whole

Array = npt.NDArray[np.float32]
SPEAKING_TOKENS = 6  # of a window in which somebody is said to speak


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
    """tokens (N, P, D), cls (N, D); face (N, 4) as the network itself found it: presence, x, y, height; crops (N, 4, D) the tokens of what
    it found there; somebody (N,) what is true."""

    tokens: npt.NDArray[np.float16]
    cls: npt.NDArray[np.float16]
    face: Array
    crops: npt.NDArray[np.float16]
    somebody: npt.NDArray[np.bool_]


def _keep(path: Path, bank: FaceBank | VoiceBank | SceneBank) -> None:
    with whole(path) as partial, partial.open("wb") as stream:
        np.savez(stream, **asdict(bank))


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


@torch.inference_mode()
def voice_bank(network: EmotionNetwork, paths: Paths, split: str, hearings: int, silent: int, seed: int = 6) -> VoiceBank:
    """Every voice `hearings` times, and `silent` windows in which nobody speaks. A third of the windows begin before the microphone did."""
    path = paths.run / f"bank_voices_{split}.npz"
    if path.is_file():
        return VoiceBank(**np.load(path))
    preset, voices, rng = network.preset, Voices(paths.cache), np.random.default_rng(seed)
    ear, measures = Ear(paths.cache, preset.audio, preset.mel_columns), Measured(paths)
    places = np.concatenate([np.tile(voices.where(split), hearings), np.full(silent, -1)])
    tokens, masks, labels, measured = [], [], [], []
    for start in tqdm(range(0, len(places), 64), desc=f"voices ({split})", unit="batch"):
        chosen = places[start : start + 64]
        windows = ear.hear(chosen, rng)
        speaks = (chosen >= 0) & (windows.active.sum(1).numpy() >= SPEAKING_TOKENS)
        tokens.append(network.audio(windows.logmel)[0].numpy().astype(np.float16))
        masks.append(windows.mask.numpy())
        labels.append(np.where(speaks, voices.labels[chosen], -1))
        measured.append(np.where(speaks[:, None], measures.raw(chosen, windows).numpy(), np.float32(np.nan)))
    bank = VoiceBank(np.concatenate(tokens), np.concatenate(masks), np.concatenate(labels), np.concatenate(measured))
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
    tokens, cls, found, crops, somebody = [], [], [], [], []
    for _ in tqdm(range(0, count, 32), desc=f"scenes ({split})"):
        views = [compose(people, rng, side, TRAINED_ON) for _ in range(32)]
        pictures = torch.from_numpy(np.stack([view.picture for view in views])).unsqueeze(1)
        located = vision.locator(pictures)
        scene_tokens, scene_cls = vision.scene_of(located.trunk)
        tokens.append(scene_tokens.numpy().astype(np.float16))
        cls.append(scene_cls.numpy().astype(np.float16))
        box = best_box(located)
        crop = glimpse(pictures, box[:, 1:], network.preset.vision.glimpse_pixels, network.preset.vision.glimpse_margin)
        found.append(box.numpy())
        crops.append(vision.face_net(crop).numpy().astype(np.float16))
        somebody += [len(view.boxes) > 0 for view in views]
    bank = SceneBank(*(np.concatenate(parts) for parts in (tokens, cls, found, crops)), np.array(somebody))
    _keep(path, bank)
    return bank
