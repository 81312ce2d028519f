"""A clip file → frames and sound with stamps, as a camera and a microphone would have given them.

In:  a path to anything FFmpeg's libraries read: video with or without sound, sound alone, a still picture.
Out: `Frame`s and `AudioChunk`s of 20 ms in the order of their stamps, from 0 ns, upright, mono at one rate.
Streams: never holds more than a frame and a few chunks. Damaged packets are counted, not fatal, while anything can be decoded.
"""

from __future__ import annotations

import difflib
import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .sound import RATES_HZ, resampler
from .types import NANOSECONDS, AudioChunk, Float32, Frame, UInt8

if TYPE_CHECKING:
    import av

CHUNK_SECONDS = Fraction(1, 50)
BREAK_SECONDS = 0.05  # packets' stamps wander by less; more is a break in the sound


class MediaError(RuntimeError):
    """The file cannot be played; the message names it, says what is wrong and ends with the cure."""


@dataclass(frozen=True)
class SkippedFrame:
    """A frame that was there and not wanted."""

    stamp_ns: int


@dataclass
class Clip:
    """An opened clip; iterate it, as often as you like. `read_clip` is the way to one.

    duration_seconds  0.0 for a still picture or where the file does not say
    fps               mean frames a second, 0.0 without video
    fit               (width, height) pictures are scaled down to, keeping their shape; None leaves them
    damaged_packets   packets of the latest pass that could not be decoded
    """

    path: Path
    title: str
    duration_seconds: float
    fps: float
    has_video: bool
    has_audio: bool
    sample_rate_hz: int
    fit: tuple[int, int] | None = None
    damaged_packets: int = 0
    start_seconds: Fraction = Fraction(0)

    def __iter__(self) -> Iterator[Frame | AudioChunk]:
        return self.play()

    def play(self, start_ns: int = 0) -> Iterator[Frame | AudioChunk]:
        """Every frame and chunk stamped at or after `start_ns`: the very ones that playing through to there would have given."""
        for item in self.items(start_ns=start_ns):
            if not isinstance(item, SkippedFrame):
                yield item

    def items(
        self, wants_frame: Callable[[int], bool] = lambda stamp_ns: True, start_ns: int = 0
    ) -> Iterator[Frame | AudioChunk | SkippedFrame]:
        """Everything from `start_ns` on in the order of stamps. `wants_frame(stamp_ns)` is asked when a frame's turn has come: those it
        does not want are never converted. MediaError when not one packet could be decoded."""
        self.damaged_packets = 0
        delivered = False
        # Each stream is read through a container of its own: no matter how badly a file is interleaved, nothing piles up.
        streams = [self._pictures(start_ns)] if self.has_video else []
        # Sound is decoded from the beginning, 200 times faster than it is heard: entered in its middle it would not be the same samples.
        streams += [self._chunks()] if self.has_audio else []
        to_rgb = _RgbConverter(self.fit)
        for stamp_ns, item in heapq.merge(*streams, key=lambda pair: pair[0]):
            delivered = True
            if stamp_ns < start_ns:
                continue
            if isinstance(item, AudioChunk):
                yield item
            elif wants_frame(stamp_ns):
                yield Frame(stamp_ns, to_rgb(item))
            else:
                yield SkippedFrame(stamp_ns)
        if not delivered:
            raise MediaError(
                f"{self.path} holds nothing that can be decoded ({self.damaged_packets} damaged packets); copy or record it again"
            )

    def _pictures(self, start_ns: int) -> Iterator[tuple[int, Any]]:
        frames = self._decode("video", self.start_seconds + Fraction(start_ns, NANOSECONDS)) if start_ns else iter(())
        first = next(frames, None)
        if first is not None and first.pts is not None and _ns(first.pts * first.time_base - self.start_seconds) <= start_ns:
            return self._stamped(itertools.chain([first], frames))
        return self._stamped(self._decode("video"))  # from the start, or a file that cannot be entered there

    def _stamped(self, frames: Iterator[Any]) -> Iterator[tuple[int, Any]]:
        step = Fraction(1) / (Fraction(self.fps).limit_denominator(1001) or 25)
        expected = self.start_seconds
        for frame in frames:
            seconds = frame.pts * frame.time_base if frame.pts is not None else expected
            expected = seconds + step
            yield _ns(seconds - self.start_seconds), frame

    def _chunks(self) -> Iterator[tuple[int, Any]]:
        import av

        run: _SoundRun | None = None
        for frame in self._decode("audio"):
            if not RATES_HZ[0] <= frame.sample_rate <= RATES_HZ[1]:
                self.damaged_packets += 1
                continue
            seconds = frame.pts * frame.time_base - self.start_seconds if frame.pts is not None else None
            if run is None or run.broken_by(frame.sample_rate, seconds):
                yield from run.finish() if run else ()
                run = _SoundRun(seconds or Fraction(0), frame.sample_rate, self.sample_rate_hz)
            try:
                chunks = list(run.take(frame))
            except av.error.FFmpegError:  # a damaged header may claim channels that no layout has
                self.damaged_packets += 1
                continue
            yield from chunks
        yield from run.finish() if run else ()

    def _decode(self, kind: str, from_seconds: Fraction | None = None) -> Iterator[Any]:
        """Decoded frames, of the whole stream or from the last key frame before `from_seconds` on."""
        import av

        with _open(self.path) as container:
            stream = _pick(container, kind)
            if from_seconds is not None:
                try:
                    container.seek(int(from_seconds / stream.time_base), stream=stream)
                except av.error.FFmpegError:  # this container cannot
                    return
            packets = container.demux(stream)
            while True:
                try:
                    packet = next(packets)
                    frames = packet.decode()
                except StopIteration:
                    return
                except av.error.EOFError:
                    return
                except av.error.FFmpegError:
                    self.damaged_packets += 1
                    if self.damaged_packets > 10_000:  # a broken container may repeat its error for ever
                        return
                    continue
                self.damaged_packets += sum(bool(frame.is_corrupt) for frame in frames)
                yield from frames


class _RgbConverter:
    """Decoded picture → (H, W, 3) uint8 RGB, upright, scaled down to fit."""

    def __init__(self, fit: tuple[int, int] | None) -> None:
        import av

        self._fit = fit
        self._reformatter = av.video.reformatter.VideoReformatter()

    def __call__(self, frame: Any) -> UInt8:
        turns = round(frame.rotation / 90) % 4  # counter-clockwise
        width, height = frame.width, frame.height
        if self._fit:
            across, down = self._fit if turns % 2 == 0 else self._fit[::-1]
            scale = min(1.0, across / width, down / height)
            width, height = max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
        picture: UInt8 = self._reformatter.reformat(frame, width, height, "rgb24").to_ndarray()
        return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


class _SoundRun:
    """Unbroken sound of one rate: mono, resampled, cut into chunks of 20 ms."""

    def __init__(self, start_seconds: Fraction, from_hz: int, to_hz: int) -> None:
        import av

        self._start, self._from_hz, self._to_hz = start_seconds, from_hz, to_hz
        self._to_float = av.AudioResampler(format="flt")  # one plane: PyAV reads past the eighth of several
        self._resampler = None if from_hz == to_hz else resampler(from_hz, to_hz)
        self._taken = self._given = 0
        self._waiting: Float32 = np.zeros(0, np.float32)

    def broken_by(self, rate_hz: int, seconds: Fraction | None) -> bool:
        expected = self._start + Fraction(self._taken, self._from_hz)
        return rate_hz != self._from_hz or (seconds is not None and abs(seconds - expected) > BREAK_SECONDS)

    def take(self, frame: Any) -> Iterator[tuple[int, AudioChunk]]:
        for converted in self._to_float.resample(frame):
            mono = converted.to_ndarray().reshape(-1, converted.layout.nb_channels).mean(axis=1, dtype=np.float32)
            self._taken += mono.size
            yield from self._give(self._resampler.resample_chunk(mono) if self._resampler else mono, last=False)

    def finish(self) -> Iterator[tuple[int, AudioChunk]]:
        tail = np.zeros(0, np.float32)
        yield from self._give(self._resampler.resample_chunk(tail, last=True) if self._resampler else tail, last=True)

    def _give(self, samples: Float32, last: bool) -> Iterator[tuple[int, AudioChunk]]:
        self._waiting = np.concatenate([self._waiting, samples])
        size = int(self._to_hz * CHUNK_SECONDS)
        while self._waiting.size >= size or (last and self._waiting.size):
            stamp_ns = _ns(self._start + Fraction(self._given, self._to_hz))
            chunk = AudioChunk(stamp_ns, self._waiting[:size], self._to_hz)
            self._waiting = self._waiting[size:]
            self._given += chunk.samples.size
            yield stamp_ns, chunk


def read_clip(path: Path | str, sample_rate_hz: int = 16000, fit: tuple[int, int] | None = None) -> Clip:
    """Open a clip and read its facts. MediaError when there is no such file, it is no media file, or it holds neither picture nor sound."""
    path = Path(path)
    with _open(path) as container:
        video, audio = _pick(container, "video"), _pick(container, "audio")
        if video is None and audio is None:
            raise MediaError(f"{path} holds neither pictures nor sound that can be decoded; give a video, a sound file or a picture")
        starts = [stream.start_time * stream.time_base for stream in (video, audio) if stream is not None and stream.start_time is not None]
        rate = (video.average_rate or video.guessed_rate) if video is not None else None
        return Clip(
            path=path,
            title=_printable(container.metadata.get("title") or path.name),
            duration_seconds=_duration_seconds(container),
            fps=float(rate or 0),
            has_video=video is not None,
            has_audio=audio is not None,
            sample_rate_hz=sample_rate_hz,
            fit=fit,
            start_seconds=min(starts, default=Fraction(0)),
        )


def _duration_seconds(container: av.container.InputContainer) -> float:
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        return 0.0
    return max(0.0, container.duration / 1e6) if container.duration is not None else 0.0


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _open(path: Path) -> av.container.InputContainer:
    import av

    # A title that is not UTF-8 must not keep a clip from playing: since 19 PyAV sees to that by itself, and has dropped the argument.
    lenient = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        return av.open(str(path.resolve()), **lenient)
    except FileNotFoundError as error:
        raise MediaError(f"no such file: {path}{_similar(path)}") from error
    except IsADirectoryError as error:
        raise MediaError(f"{path} is a folder; give a file in it") from error
    except PermissionError as error:
        raise MediaError(f"{path} may not be read by this user; change its permissions: chmod +r {path}") from error
    except (av.error.FFmpegError, OSError) as error:
        if path.is_dir():
            raise MediaError(f"{path} is a folder; give a file in it") from error
        raise MediaError(f"{path} is not a media file, or its header is damaged; try to play it elsewhere, or copy it again") from error


def _similar(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent} either"
    names = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(names)}?" if names else f"; see what is there: ls {path.parent}"


def _pick(container: av.container.InputContainer, kind: str) -> Any:
    """The first stream of a kind that plays; the cover picture of a sound file does not, nor what FFmpeg has no decoder for (PyAV before
    18.1 crashes on it)."""
    import av

    covers = av.stream.Disposition.attached_pic
    playable = (stream for stream in container.streams if stream.type == kind and stream.codec_context is not None)
    return next((stream for stream in playable if not stream.disposition & covers), None)


def _ns(seconds: Fraction) -> int:
    return round(seconds * NANOSECONDS)
