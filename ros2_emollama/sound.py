"""Sound that arrives in stamped chunks, laid on one fixed grid of samples.

In:  `AudioChunk`s of any rate and size, mostly in order: with holes, overlaps, late ones.
Out: any stretch of the last seconds at one rate, with a mask of what was really heard. Sample i stands at i / sample_rate_hz seconds.
Memory is fixed. Knows nothing about frames, windows, ROS or threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .types import NANOSECONDS, AudioChunk, Float32

if TYPE_CHECKING:
    import soxr

RATES_HZ = (4000, 384000)  # what sound may claim to be sampled at: a damaged header says anything
FLAT_NS = 300_000_000  # the same value for this long is a dead or muted microphone: a live one's last bit is never still
JITTER_NS = 5_000_000  # a driver stamps a chunk when it wakes up: less than this is no hole and no overlap
RESAMPLER_QUALITY = "HQ"  # lags the input by 37 ms at 48 kHz, 20 ms chunks; "LQ" would lag by 20 ms

Bool = npt.NDArray[np.bool_]


class SoundRing:
    """The newest `capacity` samples by absolute index; what was never written reads as zero and unseen."""

    def __init__(self, capacity: int) -> None:
        self._samples: Float32 = np.zeros(capacity, np.float32)
        self._seen: Bool = np.zeros(capacity, np.bool_)
        self._end: int | None = None

    @property
    def capacity(self) -> int:
        return self._samples.size

    @property
    def end(self) -> int | None:
        """Index after the newest sample, None while empty."""
        return self._end

    def advance(self, index: int) -> None:
        """Everything before `index` is past: what is not there now is a hole."""
        if self._end is None:
            self._end = index
        fresh = min(index - self._end, self._samples.size)
        if fresh > 0:
            slots = self._slots(index - fresh, index)
            self._samples[slots] = 0.0
            self._seen[slots] = False
            self._end = index

    def write(self, start: int, samples: Float32) -> None:
        """Put samples at `start`. What is held already stays; what is older than the ring is let go."""
        self.advance(start + samples.size)
        assert self._end is not None
        oldest = self._end - self._samples.size
        samples = samples[max(0, oldest - start) :]
        start = max(start, oldest)
        slots = self._slots(start, start + samples.size)
        unseen = ~self._seen[slots]
        self._samples[slots[unseen]] = samples[unseen]
        self._seen[slots] = True

    def read(self, start: int, stop: int) -> tuple[Float32, Bool]:
        """Samples and mask of [start, stop)."""
        samples, seen = np.zeros(stop - start, np.float32), np.zeros(stop - start, np.bool_)
        if self._end is not None:
            first, last = max(start, self._end - self._samples.size), min(stop, self._end)
            if first < last:
                slots = self._slots(first, last)
                samples[first - start : last - start] = self._samples[slots]
                seen[first - start : last - start] = self._seen[slots]
        return samples, seen

    def forget(self) -> None:
        """Drop the samples, keep the place."""
        self._samples[:] = 0.0
        self._seen[:] = False

    def _slots(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        return np.arange(start, stop, dtype=np.int64) % self._samples.size


class _Segment:
    """One unbroken run of chunks of one rate, resampled with the filter's memory kept from chunk to chunk."""

    def __init__(self, chunk: AudioChunk, sample_rate_hz: int) -> None:
        self.start_ns = chunk.stamp_ns
        self.rate_hz = chunk.sample_rate_hz
        self._fed = 0
        self.place = round(chunk.stamp_ns * sample_rate_hz / NANOSECONDS)  # index of the next sample out
        self._resampler = None if self.rate_hz == sample_rate_hz else resampler(self.rate_hz, sample_rate_hz)

    @property
    def expected_ns(self) -> int:
        """Stamp of the first sample not fed yet."""
        return self.start_ns + round(self._fed * NANOSECONDS / self.rate_hz)

    def feed(self, samples: Float32, last: bool = False) -> Float32:
        self._fed += samples.size
        return samples if self._resampler is None else self._resampler.resample_chunk(samples, last=last)


def resampler(from_hz: int, to_hz: int) -> soxr.ResampleStream:
    """Mono float32 from one rate to another, chunk by chunk; the result does not depend on the chunks. RuntimeError without soxr."""
    try:
        import soxr
    except ImportError as error:
        raise RuntimeError(f"sound at {from_hz} Hz must become {to_hz} Hz, and soxr is not installed; pip install soxr") from error
    return soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality=RESAMPLER_QUALITY)


class _Stillness:
    """Finds where sound stands still: one value, sample after sample. Independent of how the sound is cut into chunks."""

    def __init__(self) -> None:
        self._value: float | None = None
        self._since_ns = 0
        self.flat_from_ns: int | None = None

    def feed(self, start_ns: int, samples: Float32, rate_hz: int) -> list[tuple[int, int]]:
        """The stretches [from, to) in ns of these samples that come after FLAT_NS of the same value.

        `flat_from_ns` is then where the value was first heard if it still stands, else None.
        """
        stretches = []
        changes = np.flatnonzero(samples[1:] != samples[:-1]) + 1
        for first, last in zip([0, *changes[-1:]], [*changes[:1], samples.size], strict=True) if changes.size else [(0, samples.size)]:
            began, ended = (start_ns + round(place * NANOSECONDS / rate_hz) for place in (int(first), int(last)))
            if first or self._value is None or samples[first] != self._value:
                self._value, self._since_ns = float(samples[first]), began
            if ended - self._since_ns > FLAT_NS:
                stretches.append((max(began, self._since_ns + FLAT_NS), ended))
            self.flat_from_ns = self._since_ns if ended - self._since_ns > FLAT_NS else None
        return stretches

    def forget(self) -> None:
        self._value = self.flat_from_ns = None


class SoundTrack:
    """Chunks in, stretches of sound at `sample_rate_hz` out. Sound that stands still (FLAT_NS) counts as not heard."""

    def __init__(self, sample_rate_hz: int, capacity_seconds: float) -> None:
        self.sample_rate_hz = sample_rate_hz
        self._ring = SoundRing(round(sample_rate_hz * capacity_seconds))
        self._segment: _Segment | None = None
        self._stillness = _Stillness()
        self._flat: deque[tuple[int, int]] = deque()  # stretches of the grid, oldest first

    @property
    def end_ns(self) -> int | None:
        """Everything before this stamp has been delivered or is a hole; None while nothing came."""
        end = self._ring.end
        return None if end is None else end * NANOSECONDS // self.sample_rate_hz

    @property
    def heard_ns(self) -> int | None:
        """Up to where something was really heard: `end_ns`, or where the sound began to stand still."""
        flat, end = self._stillness.flat_from_ns, self.end_ns
        return end if flat is None or end is None else min(flat, end)

    @property
    def rate_hz(self) -> int | None:
        """Rate of the sound that comes in, None while nothing came."""
        return self._segment.rate_hz if self._segment else None

    def add(self, chunk: AudioChunk) -> None:
        """Lay a chunk in its place. A chunk that overlaps what is held is trimmed; one of another rate starts afresh, see `forget`."""
        segment = self._segment
        if segment is None or segment.rate_hz != chunk.sample_rate_hz or chunk.stamp_ns - segment.expected_ns > JITTER_NS:
            self.close()
            self._stillness.forget()
            self._segment = segment = _Segment(chunk, self.sample_rate_hz)
            self._ring.advance(segment.place)
        elif chunk.stamp_ns < segment.start_ns:  # out of order: fills a hole, the run goes on undisturbed
            self._lay(_Segment(chunk, self.sample_rate_hz), chunk.samples, last=True)
            return
        overlap_ns = segment.expected_ns - chunk.stamp_ns
        held = round(overlap_ns * chunk.sample_rate_hz / NANOSECONDS) if overlap_ns > JITTER_NS else 0
        if held < chunk.samples.size:
            self._note_stillness(segment.expected_ns, chunk.samples[held:], segment.rate_hz)
            self._lay(segment, chunk.samples[held:])

    def _note_stillness(self, start_ns: int, samples: Float32, rate_hz: int) -> None:
        for stretch in self._stillness.feed(start_ns, samples, rate_hz):
            first, last = (round(stamp_ns * self.sample_rate_hz / NANOSECONDS) for stamp_ns in stretch)
            if self._flat and self._flat[-1][1] >= first:
                first = self._flat.pop()[0]
            self._flat.append((first, last))
        oldest = (self.end_ns or 0) * self.sample_rate_hz // NANOSECONDS - self._ring.capacity
        while self._flat and self._flat[0][1] < oldest:
            self._flat.popleft()

    def close(self) -> None:
        """The run is over: let out what the resampler still holds."""
        if self._segment:
            self._lay(self._segment, np.zeros(0, np.float32), last=True)
        self._segment = None

    def forget(self) -> None:
        """Drop all sound; the place in time stays."""
        self._segment = None
        self._ring.forget()
        self._flat.clear()
        self._stillness.forget()

    def read(self, start: int, stop: int) -> tuple[Float32, Bool]:
        """Samples [start, stop) of the grid and which of them were heard."""
        samples, seen = self._ring.read(start, stop)
        for first, last in self._flat:
            stretch = slice(max(first - start, 0), max(last - start, 0))
            samples[stretch], seen[stretch] = 0.0, False
        return samples, seen

    def _lay(self, segment: _Segment, samples: Float32, last: bool = False) -> None:
        out = segment.feed(samples, last)
        if out.size:
            self._ring.write(segment.place, out)
            segment.place += out.size


def pieces(chunk: AudioChunk, longest_ns: int) -> Iterator[AudioChunk]:
    """The chunk in pieces of at most `longest_ns`, so that a large one neither fills the ring nor lets windows out at once."""
    size = max(1, longest_ns * chunk.sample_rate_hz // NANOSECONDS)
    for start in range(0, chunk.samples.size, size):
        stamp_ns = chunk.stamp_ns + round(start * NANOSECONDS / chunk.sample_rate_hz)
        yield AudioChunk(stamp_ns, chunk.samples[start : start + size], chunk.sample_rate_hz)
