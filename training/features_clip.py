"""A record's media → what encoders take: frames of a part of the clip, one scene frame, mono sound.

    uniform  frames evenly over the clip, first and last among them (Emotion-LLaMAv2, the paper)
    window   as many neighbouring frames as wanted, from a place drawn at random (its code; 'reference')
    middle   evenly over the middle `seconds` of the clip, with the sound of just that time (a model with a window of its own)
The scene is the frame of the strongest expression where the set knows it, or the middle one. A short clip's frames stand twice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ros2_emollama.media import MediaError, SkippedFrame, read_clip
from ros2_emollama.types import NANOSECONDS, AudioChunk, Float32, Frame, UInt8

from .cutout import cut_out
from .records import Clip, Media, Sample

Sampling = Literal["uniform", "window", "middle"]
LONGEST_SIDE = 960  # larger pictures gain nothing at 448 pixels


@dataclass(frozen=True)
class Views:
    """What of a clip goes into encoders; () or None where it has nothing of it.

    frames   (H, W, 3) uint8 RGB each, in time's order
    scene    (H, W, 3) uint8 RGB
    samples  (S,) float32 in [-1, 1], mono, `sample_rate_hz`
    """

    frames: tuple[UInt8, ...]
    scene: UInt8 | None
    samples: Float32 | None


def views_of(
    record: Clip | Sample,
    count: int = 16,
    sampling: Sampling = "uniform",
    seconds: float = 30.0,
    sample_rate_hz: int = 16000,
    seed: int = 42,
) -> Views:
    """Frames, scene and sound of a record. MediaError naming the file when nothing of it can be decoded.

    seconds  the longest sound that is taken, from the start; for "middle" the length of the part
    """
    media = record.media
    if media.image:
        return Views((), picture_of(media, (LONGEST_SIDE, LONGEST_SIDE)), None)
    part = part_of(media)
    stamps = _stamps(media, part)
    if sampling == "middle":
        part = _middle(part, stamps, seconds)
        stamps = [stamp for stamp in stamps if part[0] <= stamp < part[1]] or stamps
    chosen = choose(len(stamps), count, sampling, random.Random(f"{seed}/{record.key}"))
    scene = _scene_index(media, len(stamps)) if sampling != "middle" else len(stamps) // 2
    pictures = _frames(media, [stamps[index] for index in (*chosen, scene)]) if stamps else []
    samples = _sound(media, part, seconds, sample_rate_hz)
    if not pictures and samples is None:
        raise MediaError(f"{media.root}/{media.files[0] if media.files else ''} holds neither pictures nor sound of {record.key}")
    return Views(tuple(pictures[:-1]), pictures[-1] if pictures else None, samples)


def choose(total: int, count: int, sampling: Sampling, rng: random.Random) -> list[int]:
    """Indices of `count` of `total` frames."""
    if total == 0:
        return []
    first, last = 0, total - 1
    if sampling == "window" and total > count:
        last = rng.randint(count, total) - 1
        first = last - count + 1
    return [int(index) for index in np.linspace(first, last, count)]


def _scene_index(media: Media, total: int) -> int:
    if media.peak_frame is not None and 0 <= media.peak_frame < total:
        return media.peak_frame
    return total // 2


def part_of(media: Media) -> tuple[int, int]:
    """Start and end in nanoseconds of the clip in its video file."""
    start = round((media.start_seconds or 0.0) * NANOSECONDS)
    end = round(media.end_seconds * NANOSECONDS) if media.end_seconds is not None else 1 << 62
    return start, end


def sound_part_of(media: Media, part: tuple[int, int]) -> tuple[int, int]:
    """The clip's part in its sound file. One beside a video is the part already where an end says that the video goes on."""
    return (0, part[1] - part[0]) if media.audio and media.video and media.end_seconds is not None else part


def _middle(part: tuple[int, int], stamps: list[int], seconds: float) -> tuple[int, int]:
    length = round(seconds * NANOSECONDS)
    first, last = (stamps[0], stamps[-1]) if stamps else (part[0], part[0])
    start = max(first, (first + last - length) // 2)
    return start, start + length


def _stamps(media: Media, part: tuple[int, int]) -> list[int]:
    """Of every frame of the part; decoded, not converted."""
    path = media.path("video")
    if path is None:
        return []
    clip = read_clip(path)
    if not clip.has_video:
        return []
    found = []
    for item in clip.items(wants_frame=lambda _: False, start_ns=part[0]):
        if item.stamp_ns >= part[1]:
            break
        if isinstance(item, SkippedFrame):
            found.append(item.stamp_ns)
    return found


def _frames(media: Media, stamps: list[int]) -> list[UInt8]:
    path, wanted, got = media.path("video"), set(stamps), {}
    assert path is not None
    # A box is in pixels of the picture as it was filmed.
    clip = read_clip(path, fit=None if media.box else (LONGEST_SIDE, LONGEST_SIDE))
    for item in clip.items(wants_frame=wanted.__contains__, start_ns=min(wanted)):
        if isinstance(item, Frame):
            got[item.stamp_ns] = cut_out(item.pixels, media.side, media.box)
            if len(got) == len(wanted):
                break
    return [got[stamp] for stamp in stamps if stamp in got]


def picture_of(media: Media, fit: tuple[int, int] | None = None) -> UInt8:
    """The still picture of a clip that is one, made to fit into `fit`. MediaError naming a file that is none."""
    path = media.path("image")
    assert path is not None
    for item in read_clip(path, fit=fit):
        if isinstance(item, Frame):
            return item.pixels
    raise MediaError(f"{path} is not a picture; copy it again")


def _sound(media: Media, part: tuple[int, int], seconds: float, sample_rate_hz: int) -> Float32 | None:
    """Sound of the part, at most `seconds`; None without a sound track."""
    path = media.path("audio") or media.path("video")
    if path is None or media.has_audio is False:
        return None
    clip = read_clip(path, sample_rate_hz=sample_rate_hz)
    if not clip.has_audio:
        return None
    start, end = sound_part_of(media, part)
    length = min(end - start, round(seconds * NANOSECONDS))
    pieces, taken, room = [], 0, round(length / NANOSECONDS * sample_rate_hz)
    for item in clip.items(wants_frame=lambda _: False, start_ns=start):
        if isinstance(item, AudioChunk) and taken < room:
            pieces.append(item.samples[: room - taken])
            taken += len(pieces[-1])
        if taken >= room or item.stamp_ns >= start + length:
            break
    return np.concatenate(pieces).astype(np.float32) if pieces else None
