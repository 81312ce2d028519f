"""Frames and sound of a clip → measures: who is there, where the face is, what it does, how the voice sounds.

frames ─► is there a face, and where? (a model folder) ─► landmarks ─► six measures a frame
sound ──► does anybody speak? (the same) ─► Praat ─► nine measures
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from ros2_emollama.model.logmel import log_mel
from ros2_emollama.model.pixels import box_to_picture, to_canvas
from ros2_emollama.types import Float32, UInt8

from ..face_measures import LANDMARK_MODEL, Landmarks
from ..voice_measures import measure_voice
from .evidence import Evidence, Look

Box = tuple[float, float, float]  # centre x and y as fractions of width and height, height as a fraction of the height
FACE_ROOM = 1.1  # of a face's height: what is cut out around it
BATCH = 16
SURE = 0.5  # of presence, as the node has it
LEAST_SHARE = 0.1  # of looks that show a face, or there is none


@dataclass(frozen=True)
class Measured:
    """What was measured of one clip.

    frames, seconds, boxes, faces  of the looks in which a face was found and measured; faces (M,) in the order of FACE_MEASURES
    voice  (M,) in the order of VOICE_MEASURES, or () without sound; NaN is None, as JSON has it
    """

    video_id: str
    frames: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    boxes: tuple[Box, ...] = ()
    faces: tuple[tuple[float | None, ...], ...] = ()
    voice: tuple[float | None, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Measured:
        """ValueError where the line is none."""
        try:
            item: dict[str, Any] = json.loads(text)
            faces, boxes = (tuple(tuple(row) for row in item[name]) for name in ("faces", "boxes"))
            return Measured(item["video_id"], tuple(item["frames"]), tuple(item["seconds"]), boxes, faces, tuple(item["voice"]))  # type: ignore[arg-type]
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a line of measures: {error}") from error


class Senses(Protocol):
    """Who is there at all."""

    def faces(self, pictures: Sequence[UInt8]) -> list[Box | None]:
        """(H, W, 3) RGB each → where a face is, None without one."""
        ...

    def speech(self, samples: Float32) -> bool:
        """(S,) float32 at 16 kHz → whether anybody speaks in it."""
        ...


class Measurer:
    """Measures clips, one at a time: its networks are not shared between threads."""

    def __init__(self, senses: Senses, landmarks: Path = LANDMARK_MODEL) -> None:
        self._senses, self._landmarks, self._lock = senses, Landmarks(landmarks), threading.Lock()

    def measure(self, video_id: str, evidence: Evidence) -> Measured:
        with self._lock:
            seen = _believed(self._boxes(evidence.looks))
            rows = [
                (look, box, self._landmarks.measure(face_of(look.pixels, box)))
                for look, box in zip(evidence.looks, seen, strict=True)
                if box is not None
            ]
            spoken = evidence.has_sound and self._senses.speech(evidence.samples)
        kept = [(look, box, row) for look, box, row in rows if np.isfinite(row).all()]
        return Measured(
            video_id,
            tuple(look.index for look, _, _ in kept),
            tuple(round(look.seconds, 3) for look, _, _ in kept),
            tuple(box for _, box, _ in kept),
            tuple(_plain(row) for _, _, row in kept),
            _plain(measure_voice(evidence.samples)) if spoken else (),
        )

    def _boxes(self, looks: Sequence[Look]) -> list[Box | None]:
        batches = [looks[start : start + BATCH] for start in range(0, len(looks), BATCH)]
        return [box for batch in batches for box in self._senses.faces([look.pixels for look in batch])]


def _believed(boxes: Sequence[Box | None]) -> list[Box | None]:
    """Boxes without those that are mistakes: a face that no neighbouring look has, or that hardly any look has."""
    beside = [any(boxes[j] is not None for j in (i - 1, i + 1) if 0 <= j < len(boxes)) or len(boxes) == 1 for i in range(len(boxes))]
    kept = [box if near else None for box, near in zip(boxes, beside, strict=True)]
    enough = sum(box is not None for box in kept) >= LEAST_SHARE * len(boxes)
    return kept if enough else [None] * len(boxes)


def _plain(row: npt.NDArray[np.float32]) -> tuple[float | None, ...]:
    return tuple(round(float(value), 5) if np.isfinite(value) else None for value in row)


class FolderSenses:
    """Locator and audio encoder of a model folder."""

    def __init__(self, model: str) -> None:
        from ros2_emollama.model.folder import find_model, open_folder
        from ros2_emollama.runtime.factory import open_runtime

        folder = open_folder(find_model(model))
        folder.verify()
        self._preset = folder.preset
        self._encoders, _ = open_runtime(folder, with_language=False)

    def faces(self, pictures: Sequence[UInt8]) -> list[Box | None]:
        side = self._preset.vision.canvas_pixels
        faces = self._encoders.run("frame_encoder", {"pixels": np.stack([to_canvas(picture, side) for picture in pictures])})["face"]
        found: list[Box | None] = []
        for picture, (presence, x, y, size) in zip(pictures, faces.astype(float), strict=True):
            height, width = picture.shape[:2]
            found.append(box_to_picture((x, y, size), height, width) if presence >= SURE else None)
        return found

    def speech(self, samples: Float32) -> bool:
        audio = self._preset.audio
        count = round(self._preset.window_seconds * audio.sample_rate_hz)
        for start in range(0, samples.size, count):
            part = samples[start : start + count]
            window = np.concatenate([np.zeros(count - part.size, np.float32), part])
            seen = (np.arange(self._preset.window_frames) + 0.5) * count / self._preset.window_frames >= count - part.size
            mel = log_mel(window, audio, np.asarray(seen, np.bool_))
            if seen.any() and float(self._encoders.run("audio_encoder", {"logmel": mel[None]})["speech"][0]) >= SURE:
                return True
        return False


def face_of(pixels: UInt8, box: Box) -> UInt8:
    """(H, W, 3) RGB → the square around a box, grey; where it leaves the picture its edge is repeated."""
    height, width = pixels.shape[:2]
    half = max(4, round(FACE_ROOM * box[2] * height / 2))
    x, y = round(box[0] * width), round(box[1] * height)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    around = cv2.copyMakeBorder(grey, half, half, half, half, cv2.BORDER_REPLICATE)
    x, y = min(max(x, 0), width), min(max(y, 0), height)
    return np.asarray(around[y : y + 2 * half, x : x + 2 * half], np.uint8)
