"""A clip's files → some of its frames and all of its sound, held once for all agents.

Frames are counted as a player counts them, from the clip's beginning; only those that are looked at are converted.
"""

from __future__ import annotations

import base64
import heapq
import io
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ros2_emollama.media import MediaError, SkippedFrame, read_clip
from ros2_emollama.types import NANOSECONDS, AudioChunk, Float32, Frame, UInt8, seconds_to_ns

from ..cutout import cut_out
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
    stride, asked, number = _stride(clip, looks), itertools.count(), -1

    def wants(stamp_ns: int) -> bool:
        place = next(asked)
        return place % stride == 0 or place == wanted

    found: list[Look] = []
    samples: list[Float32] = []
    for item in played(clip, wants):
        if isinstance(item, AudioChunk):
            samples.append(item.samples)
            continue
        number += 1
        if isinstance(item, Frame) and len(found) < 2 * looks:  # a file's own count of frames may be wrong
            found.append(Look(number, item.stamp_ns / NANOSECONDS, _shrunk(item.pixels)))
    if not found and not samples:
        raise MediaError(f"{clip.where}: {clip.video or clip.audio} holds neither a frame nor sound in the clip's part; copy it again")
    return Evidence(tuple(found), np.concatenate(samples).astype(np.float32) if samples else np.zeros(0, np.float32), number + 1)


def _stride(clip: AnnotationClip, looks: int) -> int:
    """Every how manieth frame is looked at."""
    if clip.video is None:
        return 1
    opened = read_clip(clip.video)
    begin, end = _part(clip)
    seconds = min(end, opened.duration_seconds or LONGEST_SECONDS) - begin
    return max(1, math.ceil(seconds * (opened.fps or 25) / looks))


def _part(clip: AnnotationClip) -> tuple[float, float]:
    """First and last second. MediaError where they are none."""
    begin, end = clip.start_seconds or 0.0, clip.end_seconds if clip.end_seconds is not None else math.inf
    if not 0 <= begin < end:
        raise MediaError(f"{clip.where}: {clip.video_id} begins at {begin:g} s and ends at {end:g} s; the end must come later")
    return begin, min(end, begin + LONGEST_SECONDS)


def played(clip: AnnotationClip, wants_frame: Callable[[int], bool] = lambda stamp_ns: True) -> Iterator[Frame | AudioChunk | SkippedFrame]:
    """The clip's own part of its files in the order of stamps, which count from its beginning; pictures are cut to the person's part.

    Sound comes from `audio` where there is one. `wants_frame(stamp_ns)` is asked of every frame in turn, and those it does not want are
    never converted. MediaError.
    """
    begin_ns, end_ns = (seconds_to_ns(seconds) for seconds in _part(clip))

    def wants(stamp_ns: int) -> bool:
        return begin_ns <= stamp_ns < end_ns and wants_frame(stamp_ns - begin_ns)

    streams: list[Iterator[Any]] = []
    if clip.video is not None:
        streams.append(item for item in read_clip(clip.video, SAMPLE_RATE_HZ).items(wants) if clip.audio is None or not _is_sound(item))
    if clip.audio is not None:
        streams.append(item for item in read_clip(clip.audio, SAMPLE_RATE_HZ).items(lambda stamp_ns: False) if _is_sound(item))
    for item in heapq.merge(*streams, key=lambda item: item.stamp_ns):
        if item.stamp_ns >= end_ns:
            break
        if item.stamp_ns >= begin_ns:
            moved = replace(item, stamp_ns=item.stamp_ns - begin_ns)
            yield replace(moved, pixels=cut_out(moved.pixels, clip.side, clip.box)) if isinstance(moved, Frame) else moved


def _is_sound(item: object) -> bool:
    return isinstance(item, AudioChunk)


def _shrunk(pixels: UInt8) -> UInt8:
    scale = PICTURE_PIXELS / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
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
