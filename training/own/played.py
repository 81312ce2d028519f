"""A row of a CSV as a robot would have met it: its part of its files, played from 0 s, cut into the node's own windows."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from ros2_emollama.analysis import windows_of
from ros2_emollama.media import SkippedFrame, read_clip
from ros2_emollama.types import AudioChunk, Frame, Window
from ros2_emollama.windows import WindowAssembler, WindowSpec

from ..cutout import cut_out
from ..evaluate import window_holding
from ..features_clip import part_of, picture_of, sound_part_of
from ..records import Media

Item = Frame | AudioChunk | SkippedFrame
T = TypeVar("T")


def windows_in(media: Media, spec: WindowSpec) -> Iterator[Window]:
    """The windows of a row. A still picture stands for all frames of one window. MediaError naming a file that cannot be played."""
    if media.image:
        yield window_holding(spec, cut_out(picture_of(media), media.side, media.box), None)
    else:
        yield from windows_of(PlayedPart(media, spec.sample_rate_hz), WindowAssembler(spec))


class PlayedPart:
    """See `analysis.Played`. Sound comes from a file of its own where there is one, else out of the video."""

    def __init__(self, media: Media, sample_rate_hz: int) -> None:
        self._media, self._rate = media, sample_rate_hz

    def items(self, wants_frame: Callable[[int], bool]) -> Iterator[Item]:
        media, streams = self._media, []
        video, sound = media.path("video"), media.path("audio")
        part = part_of(media)
        if video is not None:
            streams.append(_between(video, self._rate, *part, wants_frame, (Frame, SkippedFrame) if sound else Item))  # type: ignore[arg-type]
        if sound is not None:
            streams.append(_between(sound, self._rate, *sound_part_of(media, part), lambda _: False, AudioChunk))
        for item in heapq.merge(*streams, key=lambda item: item.stamp_ns):
            yield replace(item, pixels=cut_out(item.pixels, media.side, media.box)) if isinstance(item, Frame) else item


def _between(
    path: Path, rate_hz: int, start_ns: int, end_ns: int, wants_frame: Callable[[int], bool], kinds: type | tuple[type, ...]
) -> Iterator[Item]:
    """What of these kinds a file holds from start to end, stamped from 0."""
    for item in read_clip(path, rate_hz).items(lambda stamp_ns: wants_frame(stamp_ns - start_ns), start_ns):
        if item.stamp_ns >= end_ns:
            return
        if isinstance(item, kinds):
            yield replace(item, stamp_ns=item.stamp_ns - start_ns)


def spread(items: Iterable[Window], make: Callable[[Window], T], most: int) -> list[T]:
    """What `make` makes of at most `most` items, evenly spread, first and last among them, without holding more than twice as many."""
    kept: list[T] = []
    stride = 1
    for number, item in enumerate(items):
        if number % stride == 0:
            kept.append(make(item))
        if len(kept) == 2 * most:
            kept, stride = kept[::2], 2 * stride
    return [kept[round(place)] for place in np.linspace(0, len(kept) - 1, min(most, len(kept)))]
