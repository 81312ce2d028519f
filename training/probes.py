"""Windows with what is true of them, put together from val people: what a model is asked, never what it learns from.

A set of probes is a count and a function from an index to one: each depends on the seed and its index alone, so that a part of a set holds
the same windows as the whole, whatever the model, the order or the part.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import soundfile
from tqdm import tqdm

from ros2_emollama.model.presets import LABELS
from ros2_emollama.types import Float32, UInt8, Window
from ros2_emollama.windows import WindowSpec

from .compose import ViewOptions, as_rgb, background, compose
from .data import VOICE_SETS, read_index, read_members
from .evaluate import read_voice, window_holding
from .sounds import not_speech

FRAME_WIDTH, FRAME_HEIGHT = 640, 480
EDGE = 0.15  # of half a face's side: over this much it fades into the scene
SOUND_DBFS = (-45.0, -12.0)  # of sounds that are no speech, root mean square over the window
Box = tuple[float, float, float]


@dataclass(frozen=True)
class Sample:
    """One file of a val split: `content` is a picture (H, W, 3) uint8 or a voice (S,) float32."""

    path: str
    label: str
    speaker: str
    content: npt.NDArray[Any]


@dataclass(frozen=True)
class Probe:
    """One window and what is true of it.

    label, speaker  "" where nobody is in it, or nobody knows
    box             of the face: centre x, centre y, height as fractions of the picture's width, height and height; None without one
    kind            what sort of window it is, where a set mixes several
    """

    window: Window
    label: str = ""
    speaker: str = ""
    box: Box | None = None
    kind: str = ""


@dataclass(frozen=True)
class ProbeSet:
    """`count` probes; `make(i)` gives the i-th."""

    count: int
    make: Callable[[int], Probe]

    def some(self, limit: int = 0) -> list[int]:
        """All indices, or `limit` of them, evenly spread."""
        return [i * self.count // limit for i in range(limit)] if 0 < limit < self.count else list(range(self.count))


@dataclass
class Held:
    """The val people of the data folder, read from the tars when first asked for. FileNotFoundError with the cure where one is missing."""

    data: Path
    sample_rate_hz: int = 16000
    _voices: dict[str, list[Sample]] = field(default_factory=dict)

    @cached_property
    def faces(self) -> list[Sample]:
        """FER2013 val, (48, 48, 3) each."""
        return list(_read(self.data / "face_fer2013.tar", _picture))

    def voices(self, *names: str) -> list[Sample]:
        """The val speakers of these sets one after the other; of all sets where none is named."""
        for name in names or VOICE_SETS:
            if name not in self._voices:
                self._voices[name] = list(_read(self.data / f"{name}.tar", partial(_voice, rate_hz=self.sample_rate_hz)))
        return [sample for name in names or VOICE_SETS for sample in self._voices[name]]


def _read(tar: Path, decode: Callable[[bytes], npt.NDArray[Any] | None]) -> Iterator[Sample]:
    """The labelled val files of a tar, in its order; what does not decode is named and left out."""
    rows = {row.path: row for row in read_index(tar) if row.split == "val" and row.label in LABELS}
    if not rows:
        raise ValueError(f"{tar.name} has no labelled rows of split 'val'; give another folder of data tars: --data DIR")
    for path, content in tqdm(read_members(tar, set(rows)), total=len(rows), desc=f"reading {tar.stem}", leave=False):
        decoded = decode(content)
        if decoded is None:
            tqdm.write(f"{tar.name}: {path} does not decode; left out")
        else:
            yield Sample(path, rows[path].label, rows[path].speaker, decoded)


def _picture(content: bytes) -> UInt8 | None:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1])


def _voice(content: bytes, rate_hz: int) -> Float32 | None:
    try:
        return read_voice(io.BytesIO(content), rate_hz)
    except soundfile.LibsndfileError:
        return None


def faces_filling(spec: WindowSpec, faces: Sequence[Sample]) -> ProbeSet:
    """Each face as the whole picture, at its own size."""

    def make(index: int) -> Probe:
        face = faces[index]
        return Probe(window_holding(spec, face.content, None), face.label, face.speaker)

    return ProbeSet(len(faces), make)


def faces_in_scenes(spec: WindowSpec, faces: Sequence[Sample], height: float, seed: int) -> ProbeSet:
    """Each face in a scene of its own, `height` of the frame's height."""

    def make(index: int) -> Probe:
        face = faces[index]
        picture, box = scene_with(face.content, height, np.random.default_rng((seed, index)))
        return Probe(window_holding(spec, picture, None), face.label, face.speaker, box)

    return ProbeSet(len(faces), make)


def scene_with(face: npt.NDArray[Any], height: float, rng: np.random.Generator) -> tuple[UInt8, Box]:
    """A 640 × 480 picture of a drawn or photographed place with that face in it, wholly inside, upright, its edge softened; and its box."""
    scene = background(rng, FRAME_WIDTH)[(FRAME_WIDTH - FRAME_HEIGHT) // 2 :][:FRAME_HEIGHT] * 255
    side = round(height * FRAME_HEIGHT)
    enlarge = cv2.INTER_CUBIC if side > face.shape[0] else cv2.INTER_AREA
    patch = cv2.resize(np.asarray(face, np.float32).mean(axis=2), (side, side), interpolation=enlarge)
    left, top = int(rng.integers(0, FRAME_WIDTH - side + 1)), int(rng.integers(0, FRAME_HEIGHT - side + 1))
    mask, place = soft_edge(side), scene[top : top + side, left : left + side]
    place += mask * (patch - place)
    picture = np.repeat(scene.clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=2)
    return picture, ((left + side / 2) / FRAME_WIDTH, (top + side / 2) / FRAME_HEIGHT, side / FRAME_HEIGHT)


def soft_edge(side: int) -> Float32:
    """(side, side): 1 over the face, falling to 0 at the border of a square with round corners, so that no hard edge tells of it."""
    across = np.abs((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1) ** 4
    return np.asarray(np.clip((1 - (across[None] + across[:, None]) ** 0.25) / EDGE, 0, 1), np.float32)


def voices_alone(spec: WindowSpec, voices: Sequence[Sample]) -> ProbeSet:
    """Each voice, its last seconds at the end of the window; no camera."""

    def make(index: int) -> Probe:
        voice = voices[index]
        return Probe(window_holding(spec, None, voice.content), voice.label, voice.speaker)

    return ProbeSet(len(voices), make)


def pair_up(faces: Sequence[Sample], voices: Sequence[Sample], count: int, seed: int) -> list[tuple[int, int]]:
    """`count` pairs (index of a face, index of a voice) of one label each, across people.

    The labels that both have come equally often, in a drawn order; face and voice are drawn evenly from all of their label.
    """
    rng = np.random.default_rng(seed)
    shared = [label for label in LABELS if any(f.label == label for f in faces) and any(v.label == label for v in voices)]
    if not shared:
        raise ValueError("no label has both a face and a voice; give a folder of data tars whose val splits share labels: --data DIR")
    faces_of = {label: [i for i, face in enumerate(faces) if face.label == label] for label in shared}
    voices_of = {label: [i for i, voice in enumerate(voices) if voice.label == label] for label in shared}
    order = [shared[i % len(shared)] for i in rng.permutation(count)]
    return [(int(rng.choice(faces_of[label])), int(rng.choice(voices_of[label]))) for label in order]


def pairs(
    spec: WindowSpec,
    faces: Sequence[Sample],
    voices: Sequence[Sample],
    count: int,
    height: float,
    seed: int,
    *,
    seen: bool = True,
    heard: bool = True,
) -> ProbeSet:
    """Face and voice of one label in one window (see `pair_up`), the face as in `faces_in_scenes`; without camera or microphone on demand.

    The speaker is the voice's where it is heard: what varies between windows varies between speakers first.
    """
    chosen = pair_up(faces, voices, count, seed)

    def make(index: int) -> Probe:
        face, voice = faces[chosen[index][0]], voices[chosen[index][1]]
        picture, box = scene_with(face.content, height, np.random.default_rng((seed, index))) if seen else (None, None)
        window = window_holding(spec, picture, voice.content if heard else None)
        return Probe(window, face.label, voice.speaker if heard else "", box)

    return ProbeSet(count, make)


SOUND_KINDS = ("other sounds", "silence", "no microphone")
SOUND_SHARES = (0.5, 0.25, 0.25)


def nobody(spec: WindowSpec, faces: Sequence[Sample], side: int, count: int, seed: int) -> ProbeSet:
    """Views (side, side) with nobody in them, and sounds that are no speech.

    Drawn by the code that draws for training, from other seeds and val faces: six of ten views hold scrambled or upside-down faces that are
    to mislead. kind is one of SOUND_KINDS, a half, a quarter and a quarter of the windows.
    """
    patches = np.stack([np.asarray(face.content)[..., 1] for face in faces])
    samples = round(spec.seconds * spec.sample_rate_hz)

    def make(index: int) -> Probe:
        rng = np.random.default_rng((seed, index))
        view = compose(patches.astype(np.uint8), rng, side, ViewOptions(nobody=1.0))
        kind = str(rng.choice(SOUND_KINDS, p=SOUND_SHARES))
        sound = sound_without_speech(kind, samples, rng)
        return Probe(window_holding(spec, as_rgb(view.picture), sound), kind=kind)

    return ProbeSet(count, make)


def sound_without_speech(kind: str, samples: int, rng: np.random.Generator) -> Float32 | None:
    """(samples,) of one of SOUND_KINDS; None without a microphone."""
    if kind == "no microphone":
        return None
    if kind == "silence":
        return np.zeros(samples, np.float32)
    sound = not_speech(rng, samples)
    level = 10 ** (rng.uniform(*SOUND_DBFS) / 20)
    return (sound / (float(np.sqrt(np.mean(np.square(sound)))) + 1e-9) * level).clip(-1, 1).astype(np.float32)


def overlap(found: Box, true: Box, width_by_height: float) -> float:
    """Intersection over union of two square boxes, both as `Probe.box`."""
    reach = min(found[2], true[2]), (found[2] + true[2]) / 2
    apart = abs(found[0] - true[0]) * width_by_height, abs(found[1] - true[1])
    across, down = (max(0.0, min(reach[0], reach[1] - distance)) for distance in apart)
    return across * down / (found[2] ** 2 + true[2] ** 2 - across * down)
