"""Windows put together from the banks: who is seen, who is heard, and what the label then is.

No set holds face and voice of one person, so a face and a voice of the same label are paired across people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ros2_emollama.model.presets import LABELS
from ros2_emollama.model.vision import place_code, placed

from .bank import FaceBank, SceneBank, VoiceBank
from .cues import Cues, view_ranks
from .draws import Mixup
from .face_measures import FACE_MEASURES
from .lexicon import FACE_CUES, VOICE_CUES
from .voice_measures import VOICE_MEASURES

Array = npt.NDArray[np.float32]
FRAMES = 16
FOUND = 0.3  # presence of a face that the network has as good as found
NOBODY_PRIOR = np.array([0.46, 0.09, 0.09, 0.09, 0.09, 0.09, 0.09], np.float32)
KINDS = {"both": 0.32, "face": 0.26, "voice": 0.2, "change": 0.1, "nobody": 0.12}
"""How often a window holds a face and a voice, one of them, a face that changes, or nobody at all."""


@dataclass
class Batch:
    """Inputs of `EmotionNetwork.fuse` and what is true of each window. targets (B, 7) probabilities."""

    frame_tokens: Tensor
    frame_mask: Tensor
    scene_tokens: Tensor
    scene_cls: Tensor
    audio_tokens: Tensor
    audio_mask: Tensor
    targets: Tensor
    cues: list[Cues]

    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, item.name) for item in fields(self)[:6])

    def mixed(self, mix: Mixup) -> Batch:
        """Every window with another one; a token is there where either has it. What is true of neither alone, its cues, is left out."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self)[:7]}
        mixed = {name: torch.maximum(t, t[mix.order]) if name.endswith("mask") else mix(t) for name, t in tensors.items()}
        return Batch(**mixed, cues=[])


class WindowMaker:
    """Draws windows. Everything random comes from the generator that is passed in."""

    def __init__(self, faces: FaceBank, voices: VoiceBank, scenes: SceneBank, ranks: tuple[Array, Array]) -> None:
        """ranks: (N, M) of these faces and voices, see `readout.told_ranks`."""
        self.faces, self.voices, self.scenes, self.ranks = faces, voices, scenes, ranks
        self._code = place_code(faces.tokens.shape[-1])
        self._faces_of = [np.flatnonzero(faces.labels == label) for label in range(len(LABELS))]
        self._voices_of = [np.flatnonzero(voices.labels == label) for label in range(len(LABELS))]
        self._silent = np.flatnonzero(voices.labels < 0)
        self._with = np.flatnonzero(scenes.somebody & (scenes.face[:, 0] > FOUND))
        self._without = np.flatnonzero(~scenes.somebody)

    def batch(
        self, rng: np.random.Generator, size: int, kinds: dict[str, float] = KINDS, misread: tuple[float, float] = (0.0, 0.0)
    ) -> Batch:
        """misread: how often a face, and how often a voice, is drawn from those of another label than the window's."""
        names = list(kinds)
        rows = [self._window(rng, str(rng.choice(names, p=list(kinds.values()))), misread) for _ in range(size)]
        stacked = [torch.from_numpy(np.stack([row[i] for row in rows])) for i in range(7)]
        return Batch(*stacked, cues=[row[7] for row in rows])

    def _window(self, rng: np.random.Generator, kind: str, misread: tuple[float, float]) -> tuple[npt.NDArray[np.float32], ...]:
        label = int(rng.integers(len(LABELS)))
        face = kind in ("both", "face", "change")
        scene = int(rng.choice(self._with if face else self._without))
        tokens, mask, target, newest = self._frames(rng, label, scene, kind, misread[0])
        if kind in ("both", "voice") or (kind == "change" and rng.random() < 0.3):
            voice = int(rng.choice(self._voices_of[_read_as(int(target.argmax()), rng, misread[1])]))
        else:
            voice = int(rng.choice(self._silent))
        audio_mask = self.voices.mask[voice].copy()
        speech = bool(self.voices.labels[voice] >= 0)
        if not speech and rng.random() < 0.5:
            audio_mask[:] = 0.0  # no microphone at all
        if kind == "voice" and rng.random() < 0.5:
            mask[:] = 0.0  # no camera at all
        if not face and not speech:
            target = NOBODY_PRIOR
        cues = self._cues(newest if face else None, scene, voice if speech else None)
        seen = float(mask.max())
        return (
            tokens * np.repeat(mask, tokens.shape[0] // FRAMES)[:, None],
            mask,
            self.scenes.tokens[scene].astype(np.float32) * seen,
            self.scenes.cls[scene].astype(np.float32) * seen,
            self.voices.tokens[voice].astype(np.float32) * audio_mask[:, None],
            audio_mask,
            target,
            cues,  # type: ignore[return-value]
        )

    def _frames(
        self, rng: np.random.Generator, label: int, scene: int, kind: str, misread: float
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32], int]:
        """Tokens (64, D), mask (16,), target (7,), and which face is the newest."""
        mask = np.ones(FRAMES, np.float32)
        if rng.random() < 0.3:
            mask[: int(rng.integers(1, FRAMES))] = 0.0  # the camera has just begun
        elif rng.random() < 0.2:
            mask[rng.random(FRAMES) < 0.2] = 0.0  # frames lost on the way
            mask[-1] = 1.0
        looks = self.faces.tokens.shape[1]
        first = int(rng.choice(self._faces_of[_read_as(label, rng, misread)]))
        chosen = np.full(FRAMES, first)
        target = np.eye(len(LABELS), dtype=np.float32)[label]
        if kind == "change":
            after = int(rng.integers(len(LABELS)))
            place = int(rng.integers(2, FRAMES - 1))
            chosen[place:] = int(rng.choice(self._faces_of[_read_as(after, rng, misread)]))
            share = min(1.0, (FRAMES - place) / 4)  # a second is enough to become the label
            target = (1 - share) * target + share * np.eye(len(LABELS), dtype=np.float32)[after]
        still = rng.random() < 0.3
        look = np.full(FRAMES, rng.integers(looks)) if still else rng.integers(0, looks, FRAMES)
        crops = self.faces.tokens[chosen, look] if kind in ("both", "face", "change") else self.scenes.crops[np.full(FRAMES, scene)]
        tokens = torch.from_numpy(crops.astype(np.float32))
        seen = placed(tokens, torch.from_numpy(self._boxes(scene, rng)), self._code).reshape(-1, crops.shape[-1]).numpy()
        return seen, mask, target.astype(np.float32), int(chosen[-1])

    def _boxes(self, scene: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """(16, 4) presence, x, y and height of a scene's face as they tremble from frame to frame."""
        presence, *place = self.scenes.face[scene]
        near = np.array(place, np.float32) * np.exp(rng.normal(0, 0.02, (FRAMES, 3)))
        return np.column_stack([np.clip(presence + rng.normal(0, 0.04, FRAMES), 0, 1), near]).astype(np.float32)

    def _cues(self, face: int | None, scene: int, voice: int | None) -> Cues:
        """What the tokens tell of this face, of its place in the scene, and of this voice; None where nobody is."""
        ranks: dict[str, float] = {}
        if face is not None:
            _, x, y, height = (float(value) for value in self.scenes.face[scene])
            ranks |= {**zip_finite(FACE_MEASURES, self.ranks[0][face], FACE_CUES), **view_ranks((x, y, height))}
        if voice is not None:
            ranks |= zip_finite(VOICE_MEASURES, self.ranks[1][voice], VOICE_CUES)
        return Cues(face is not None, voice is not None, ranks)


def _read_as(label: int, rng: np.random.Generator, misread: float) -> int:
    """The label, or one of the others with probability `misread`."""
    if not misread or rng.random() >= misread:
        return label
    return int((label + rng.integers(1, len(LABELS))) % len(LABELS))


def zip_finite(names: Sequence[str], values: Array, kept: Sequence[str]) -> dict[str, float]:
    """Numbers by name, of the names in `kept` that have one."""
    return {name: float(value) for name, value in zip(names, values, strict=True) if name in kept and np.isfinite(value)}
