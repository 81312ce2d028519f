"""Is a clip's file there, and what does it hold? Headers only, or every frame and sample.

none    nothing is looked at
exists  files are there and not empty
probe   the container opens; length, frames and sound are noted (a few milliseconds a clip)
decode  all of it decodes; silence is found (as long as decoding takes)
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..records import Media
from .registry import Look

SILENT_PEAK = 2.0**-15  # one step of 16-bit sound


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is wrong with a clip's media."""

    kind: str
    detail: str


def look_at(media: Media, look: Look) -> tuple[Media, tuple[Finding, ...]]:
    """The media with what was measured, and what is wrong with it: fatal findings first."""
    if look == "none":
        return media, ()
    for name in media.files:
        path = Path(media.root) / name
        if not path.is_file():
            return media, (Finding("missing media", f"no {name}"),)
        if path.stat().st_size == 0:
            return media, (Finding("zero-length clip", f"{name} is empty"),)
    if not media.files:
        return media, (Finding("missing media", "the record names no file"),)
    if look == "exists":
        return media, ()
    try:
        if media.image:
            return media, _look_at_image(media)
        return _look_at_clip(media, look == "decode")
    except (OSError, RuntimeError, ValueError) as error:  # PyAV's errors are one of these
        return media, (Finding("unreadable media", f"{error}"),)


def _look_at_image(media: Media) -> tuple[Finding, ...]:
    import cv2

    picture = cv2.imread(str(Path(media.root) / media.image))
    return () if picture is not None else (Finding("unreadable media", f"{media.image} is not a picture"),)


def _look_at_clip(media: Media, decode: bool) -> tuple[Media, tuple[Finding, ...]]:
    import av

    seconds, frames, peak, heard = 0.0, None, 0.0, False
    for name in dict.fromkeys(media.files):
        with av.open(str(Path(media.root) / name)) as container:
            length = float(container.duration or 0) / av.time_base
            seconds = max(seconds, length)
            heard = heard or bool(container.streams.audio)
            if name == media.video:
                if not container.streams.video:
                    return media, (Finding("unreadable media", f"{name} holds no pictures"),)
                stream = container.streams.video[0]
                frames = stream.frames or round(length * float(stream.average_rate or 0))
            if decode:
                counted, loudest = _decode(container)
                frames, peak = (counted if name == media.video else frames), max(peak, loudest)
    # A clip that is a part of a long file is as long as that part.
    if media.end_seconds is not None:
        start = media.start_seconds or 0.0
        inside = min(media.end_seconds, seconds or media.end_seconds) - start
        seconds, frames = max(0.0, inside), None
    found = dataclasses.replace(media, seconds=round(seconds, 3), frames=frames, has_audio=heard)
    if seconds <= 0 or (media.video and frames == 0):
        return found, (Finding("zero-length clip", f"{media.files[0]} lasts {seconds:.3f} s with {frames} frames"),)
    if not heard:
        return found, (Finding("no sound", f"{media.files[0]} has no sound track"),)
    if decode and peak < SILENT_PEAK:
        return dataclasses.replace(found, has_audio=False), (Finding("no sound", f"{media.files[0]}: its sound track is silence"),)
    return found, ()


def _decode(container: object) -> tuple[int, float]:
    """Frames decoded, and the loudest sample in [0, 1]."""
    import numpy as np
    from av.audio.resampler import AudioResampler

    frames, peak = 0, 0.0
    to_float = AudioResampler(format="flt", layout="mono")
    for frame in container.decode():  # type: ignore[attr-defined]
        if hasattr(frame, "samples"):
            for piece in to_float.resample(frame):
                peak = max(peak, float(np.abs(piece.to_ndarray()).max(initial=0.0)))
        else:
            frames += 1
    return frames, peak
