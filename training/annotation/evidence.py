"""A clip's files → some of its frames and all of its sound, held once for all agents.

Frames are counted as a player counts them, from the clip's beginning; only those that are looked at are converted.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ros2_emollama.media import MediaError, read_clip
from ros2_emollama.types import AudioChunk, Float32, Frame, UInt8

from .clips import AnnotationClip

SAMPLE_RATE_HZ = 16000
LOOKS = 64  # frames of a clip that are measured, evenly spread
PICTURE_PIXELS = 448  # longest side of what is shown to a model
JPEG_QUALITY = 90
LONGEST_SECONDS = 600.0  # of sound and pictures: a clip is seconds long, and a film given by mistake must not fill the memory


@dataclass(frozen=True)
class Look:
    """A frame: its number, its time in the clip, (H, W, 3) uint8 RGB."""

    index: int
    seconds: float
    pixels: UInt8


@dataclass(frozen=True)
class Evidence:
    """looks  in order, () without video; samples (S,) float32 mono at SAMPLE_RATE_HZ, empty without sound; `frames` is how many it has"""

    looks: tuple[Look, ...]
    samples: Float32
    frames: int

    @property
    def has_sound(self) -> bool:
        return bool(self.samples.size) and bool(np.abs(self.samples).max() > 0)

    def some(self, count: int, peak: int | None = None) -> tuple[Look, ...]:
        """At most `count` looks, evenly spread, the one nearest to frame `peak` among them."""
        if len(self.looks) <= count:
            return self.looks
        places = [round(place) for place in np.linspace(0, len(self.looks) - 1, count)]
        if peak is not None:
            near = min(range(len(self.looks)), key=lambda place: abs(self.looks[place].index - peak))
            if near not in places:
                places[min(range(count), key=lambda i: abs(places[i] - near))] = near
        return tuple(self.looks[place] for place in sorted(set(places)))


def read_evidence(clip: AnnotationClip, wanted: int | None = None, looks: int = LOOKS) -> Evidence:
    """Decode a clip. MediaError, which names the file, where it holds nothing of use.

    wanted  number of a frame that must be among the looks, where it is known before
    """
    begin, end = clip.start_seconds or 0.0, clip.end_seconds if clip.end_seconds is not None else math.inf
    if not 0 <= begin < end:
        raise MediaError(f"{clip.where}: {clip.video_id} begins at {begin:g} s and ends at {end:g} s; the end must come later")
    end = min(end, begin + LONGEST_SECONDS)
    seen: tuple[Look, ...] = ()
    count, samples = 0, np.zeros(0, np.float32)
    if clip.video is not None:
        seen, count, samples = _decode(clip, begin, end, wanted, looks)
    if clip.audio is not None:
        samples = _sound(clip, begin, end)
    if not seen and not samples.size:
        raise MediaError(f"{clip.where}: {clip.video or clip.audio} holds neither a frame nor sound from {begin:g} s on; copy it again")
    return Evidence(seen, samples, count)


def _decode(clip: AnnotationClip, begin: float, end: float, wanted: int | None, looks: int) -> tuple[tuple[Look, ...], int, Float32]:
    assert clip.video is not None
    opened = read_clip(clip.video, SAMPLE_RATE_HZ)
    length = min(end, opened.duration_seconds or LONGEST_SECONDS) - begin
    stride = max(1, math.ceil(length * (opened.fps or 25) / looks))
    number = -1

    def wants(stamp_ns: int) -> bool:
        nonlocal number
        inside = begin <= stamp_ns / 1e9 < end
        number += inside
        return inside and (number % stride == 0 or number == wanted)

    found: list[Look] = []
    chunks: list[AudioChunk] = []
    for item in opened.items(wants):
        if isinstance(item, Frame):
            if len(found) < 2 * looks:  # a file whose own count of frames is wrong
                found.append(Look(number, item.stamp_ns / 1e9 - begin, _shrunk(_cut(item.pixels, clip))))
        elif isinstance(item, AudioChunk):
            chunks.append(item)
        if _past(item, end):
            break
    return tuple(found), number + 1, _joined(chunks, begin, end)


def _sound(clip: AnnotationClip, begin: float, end: float) -> Float32:
    assert clip.audio is not None
    chunks: list[AudioChunk] = []
    for item in read_clip(clip.audio, SAMPLE_RATE_HZ).items(lambda stamp_ns: False):
        if isinstance(item, AudioChunk):
            chunks.append(item)
        if _past(item, end):
            break
    return _joined(chunks, begin, end)


def _past(item: object, end: float) -> bool:
    stamp_ns: int = getattr(item, "stamp_ns", 0)
    return stamp_ns / 1e9 > end


def _joined(chunks: Sequence[AudioChunk], begin: float, end: float) -> Float32:
    kept = [chunk.samples for chunk in chunks if begin <= chunk.stamp_ns / 1e9 < end]
    return np.concatenate(kept).astype(np.float32) if kept else np.zeros(0, np.float32)


def _cut(pixels: UInt8, clip: AnnotationClip) -> UInt8:
    width = pixels.shape[1]
    if clip.side in ("left", "right"):
        pixels = pixels[:, : width // 2] if clip.side == "left" else pixels[:, width // 2 :]
    if len(clip.box) == 4:
        x, y, w, h = (round(number) for number in clip.box)
        inner = pixels[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)]
        pixels = inner if inner.size else pixels
    return pixels


def _shrunk(pixels: UInt8) -> UInt8:
    scale = PICTURE_PIXELS / max(pixels.shape[:2])
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def picture_url(pixels: UInt8) -> str:
    """(H, W, 3) RGB as a data URL of a JPEG."""
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"a picture of {pixels.shape} cannot be written as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def wav_base64(samples: Float32) -> str:
    """(S,) float32 as a 16-bit WAV in base64."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, samples, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return base64.b64encode(stream.getvalue()).decode("ascii")
