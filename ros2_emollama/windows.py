"""Two stamped streams → aligned sliding windows on a fixed grid of time. No threads, no clock: only stamps decide, so replay equals live.

Tick k stands at k · tick (0.25 s). Its frame is the FIRST one stamped in [t_k, t_k + tick): a label leaves the moment that frame is here.
The window of tick k holds the frames of ticks k-15 … k and the sound of [t_k - 4 s, t_k). It is emitted once, in order, when each stream
* has delivered up to t_k, or
* is not waited for: it lags by more than `patience`, or the other stream (re)started more than `patience` ago and it did not.

Counted, and reported with the next window:
  late_frames, late_audio_blocks   came after the window of their tick; later windows still use them
  bad_audio                        a chunk with NaN or infinity, of the wrong shape or without a rate; refused
  audio_format_changes             the sample rate changed; sound held so far is dropped
  clock_jumps                      stamps jumped back; everything held is dropped
  gap_ticks                        ticks skipped because nothing at all came for longer than a window
  flat_audio_ticks                 ticks whose sound stood still (a dead or muted microphone); it counts as not heard
and whatever the caller adds with `count`.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from .sound import JITTER_NS, SoundTrack, pieces
from .types import NANOSECONDS, AudioChunk, Frame, GridFrame, Window, seconds_to_ns

TRANSCRIPTS_HELD = 64
TRANSCRIPT_CHARACTERS_HELD = 2000  # of each: more than a prompt takes, less than a flood fills memory with


@dataclass(frozen=True)
class WindowSpec:
    """The grid: `frames` ticks in `seconds`; a window every `hop_ticks`. ValueError unless a tick is whole in ns and in samples."""

    seconds: float = 4.0
    frames: int = 16
    hop_ticks: int = 1
    sample_rate_hz: int = 16000
    patience_seconds: float = 0.3
    stall_seconds: float = 0.5

    def __post_init__(self) -> None:
        for name in ("seconds", "frames", "hop_ticks", "sample_rate_hz"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.stall_seconds <= 0:
            raise ValueError(f"stall_seconds must be positive, got {self.stall_seconds}")
        if not 0 <= self.patience_seconds <= self.seconds:
            raise ValueError(f"patience_seconds must be in [0, {self.seconds}], got {self.patience_seconds}")
        if self.window_ns % self.frames:
            raise ValueError(f"seconds / frames must be a whole number of nanoseconds, got {self.seconds} / {self.frames}")
        if self.tick_ns * self.sample_rate_hz % NANOSECONDS:
            raise ValueError(f"a tick ({self.seconds / self.frames} s) must hold a whole number of samples at {self.sample_rate_hz} Hz")

    @property
    def window_ns(self) -> int:
        return seconds_to_ns(self.seconds)

    @property
    def tick_ns(self) -> int:
        return self.window_ns // self.frames

    @property
    def patience_ns(self) -> int:
        return seconds_to_ns(self.patience_seconds)

    @property
    def stall_ns(self) -> int:
        return seconds_to_ns(self.stall_seconds)

    @property
    def samples_per_tick(self) -> int:
        return self.tick_ns * self.sample_rate_hz // NANOSECONDS


@dataclass
class _Stream:
    """How far one stream has come. `run_start_ns`: where it began, or began again after both streams paused together."""

    newest_ns: int | None = None
    run_start_ns: int | None = None
    behind_since_ns: int | None = None

    def forget(self) -> None:
        self.newest_ns = self.run_start_ns = self.behind_since_ns = None

    def reached(self, stamp_ns: int) -> bool:
        return self.newest_ns is not None and self.newest_ns >= stamp_ns

    def extend(self, stamp_ns: int | None) -> None:
        if stamp_ns is not None:
            self.newest_ns = stamp_ns if self.newest_ns is None else max(self.newest_ns, stamp_ns)


class WindowAssembler:
    """Takes frames and sound as they come, gives back the windows that became whole. Memory is bounded by the window, not by the input."""

    def __init__(self, spec: WindowSpec) -> None:
        self.spec = spec
        self._totals: Counter[str] = Counter()
        self._unreported: Counter[str] = Counter()
        self._video, self._audio = _Stream(), _Stream()
        self._reset()

    def _reset(self) -> None:
        spec = self.spec
        self._video.forget()
        self._audio.forget()
        self._held: dict[int, Frame] = {}
        self._sound = SoundTrack(spec.sample_rate_hz, 2 * spec.seconds + spec.patience_seconds + spec.seconds / spec.frames)
        self._transcripts: deque[tuple[int, str]] = deque(maxlen=TRANSCRIPTS_HELD)
        self._next: int | None = None  # the next tick to pass; None before the first data
        self._passed: int | None = None  # the newest tick passed
        self._gap_from: int | None = None  # the first tick that a gap swallowed, until it is counted
        self._emitted = False

    @property
    def counters(self) -> dict[str, int]:
        """Everything counted since the assembler was made, by cause."""
        return dict(self._totals)

    def count(self, cause: str, n: int = 1) -> None:
        """Add to a counter; the next window reports it."""
        self._totals[cause] += n
        self._unreported[cause] += n

    def set_transcript(self, stamp_ns: int, text: str) -> None:
        """What was heard at `stamp_ns`. Windows that hold that moment carry it, until a newer one comes."""
        self._transcripts.append((stamp_ns, text[:TRANSCRIPT_CHARACTERS_HELD]))

    def flush(self, cause: str) -> None:
        """Drop everything held and begin anew with the next data; counted under `cause`."""
        self.count(cause)
        self._reset()

    def wants_frame(self, stamp_ns: int) -> bool:
        """True when a frame of this stamp would stand in a window; others need not be decoded (tell `skip_frame` of them)."""
        newest = self._video.newest_ns
        if newest is None or stamp_ns < newest - self.spec.patience_ns or self._next is None:
            return True
        tick = stamp_ns // self.spec.tick_ns
        return tick not in self._held and tick > self._next - self.spec.frames

    def skip_frame(self, stamp_ns: int) -> list[Window]:
        """A frame came that was not wanted: time has passed, nothing more."""
        return self._see_frame(stamp_ns, None)

    def add_frame(self, frame: Frame) -> list[Window]:
        """Take a frame; the windows that became whole, oldest first."""
        return self._see_frame(frame.stamp_ns, frame)

    def _see_frame(self, stamp_ns: int, frame: Frame | None) -> list[Window]:
        windows, usable = self._admit(self._video, self._audio, stamp_ns)
        if not usable:
            self.count("late_frames")
            return windows
        tick = stamp_ns // self.spec.tick_ns
        held = self._held.get(tick)
        if (held is None and self._passed is not None and tick <= self._passed) or (held is not None and stamp_ns < held.stamp_ns):
            self.count("late_frames")
        if frame is not None and self.wants_frame(stamp_ns):
            self._held[tick] = frame
        self._video.extend(stamp_ns)
        return windows + self._drain()

    def add_audio(self, chunk: AudioChunk) -> list[Window]:
        """Take sound of any rate and length; the windows that became whole, oldest first."""
        if chunk.sample_rate_hz <= 0 or chunk.samples.ndim != 1 or not np.isfinite(chunk.samples).all():
            self.count("bad_audio")
            return []
        if chunk.samples.size == 0:
            return []
        windows, usable = self._admit(self._audio, self._video, chunk.stamp_ns)
        if not usable or self._is_late(chunk):
            self.count("late_audio_blocks")
        if not usable:
            return windows
        if self._sound.rate_hz not in (None, chunk.sample_rate_hz):
            self.count("audio_format_changes")
            self._sound.forget()
        for piece in pieces(chunk, self.spec.tick_ns):
            self._sound.add(piece)
            self._audio.extend(self._sound.end_ns)
            windows += self._drain()
        return windows

    def finish(self) -> list[Window]:
        """The clip is over: the windows of all ticks up to the newest data, at least one if there was any data. Then begin anew."""
        self._sound.close()
        self._audio.extend(self._sound.end_ns)
        windows = self._remaining()
        if not self._emitted and self._next is not None:
            windows.append(self._window(self._next))
        self._reset()
        return windows

    def _is_late(self, chunk: AudioChunk) -> bool:
        """True when it brings sound that a window already gone should have held."""
        if self._passed is None:
            return False
        start, stop = (round(stamp_ns * self.spec.sample_rate_hz / NANOSECONDS) for stamp_ns in (chunk.stamp_ns, chunk.end_ns))
        stop = min(stop, self._passed * self.spec.samples_per_tick)
        jitter = JITTER_NS * self.spec.sample_rate_hz // NANOSECONDS
        return stop - start > jitter and not self._sound.read(start, stop)[1].all()

    def _admit(self, stream: _Stream, other: _Stream, stamp_ns: int) -> tuple[list[Window], bool]:
        """Where does this stamp stand? Flushes on jumps. Gives the windows a gap lets out, and False when the data is too old for any."""
        windows: list[Window] = []
        ahead_ns = stamp_ns - max((s.newest_ns for s in (stream, other) if s.newest_ns is not None), default=stamp_ns)
        if stream.newest_ns is not None and stamp_ns < stream.newest_ns - self.spec.patience_ns:
            self.flush("clock_jumps")
        elif ahead_ns > self.spec.window_ns:
            windows = self._close_gap()
        elif ahead_ns < -self.spec.window_ns:
            if stream.behind_since_ns is None:
                stream.behind_since_ns = stamp_ns
            if abs(stamp_ns - stream.behind_since_ns) <= self.spec.patience_ns:
                return [], False
            self.flush("clock_jumps")  # the other stream has been silent all the while: its last word came from before the jump
        stream.behind_since_ns = other.behind_since_ns = None
        self._note_run(stream, other, stamp_ns)
        return windows, True

    def _note_run(self, stream: _Stream, other: _Stream, stamp_ns: int) -> None:
        """Keep where a stream began: the other one is given `patience` from there to (re)appear."""
        if stream.run_start_ns is None:
            stream.run_start_ns = stamp_ns
            first = -(-stamp_ns // self.spec.tick_ns) + 1
            in_time = other.newest_ns is None or other.newest_ns - stamp_ns <= self.spec.patience_ns
            if self._passed is None and in_time:
                self._next = first if self._next is None else min(self._next, first)
        elif stream.newest_ns is not None and other.newest_ns is not None:
            # Only when both fell silent together: a slow camera beside a dead microphone must not wait for it at every frame.
            paused = stamp_ns - stream.newest_ns > self.spec.patience_ns
            if paused and other.newest_ns >= stream.newest_ns - self.spec.patience_ns:
                stream.run_start_ns = stamp_ns

    def _waited_for(self, stream: _Stream, other: _Stream) -> bool:
        if other.newest_ns is None or other.run_start_ns is None:
            return True
        since_ns = other.run_start_ns if stream.newest_ns is None else max(stream.newest_ns, other.run_start_ns)
        return other.newest_ns - since_ns <= self.spec.patience_ns

    def _drain(self) -> list[Window]:
        """Pass every tick for which both streams are resolved."""
        windows: list[Window] = []
        video, audio = self._video, self._audio
        while self._next is not None:
            stamp_ns = self._next * self.spec.tick_ns
            seen, heard = video.reached(stamp_ns), audio.reached(stamp_ns)
            if not (seen or heard) or (not seen and self._waited_for(video, audio)) or (not heard and self._waited_for(audio, video)):
                break
            windows += self._pass_tick(self._next)
        return windows

    def _remaining(self) -> list[Window]:
        """Pass every tick up to the newest data, waiting for nothing."""
        windows: list[Window] = []
        streams = (self._video, self._audio)
        while self._next is not None and any(stream.reached(self._next * self.spec.tick_ns) for stream in streams):
            windows += self._pass_tick(self._next)
        return windows

    def _close_gap(self) -> list[Window]:
        """Nothing came for longer than a window: let out what is whole, skip to the new data."""
        self._sound.close()
        self._audio.extend(self._sound.end_ns)
        windows = self._remaining()
        resume = self._next
        self._reset()
        self._gap_from = resume
        return windows

    def _pass_tick(self, tick: int) -> list[Window]:
        if self._gap_from is not None:
            self.count("gap_ticks", tick - self._gap_from)
            self._gap_from = None
        heard_ns = self._sound.heard_ns
        if heard_ns is not None and heard_ns < (tick - 1) * self.spec.tick_ns and self._audio.reached(tick * self.spec.tick_ns):
            self.count("flat_audio_ticks")
        windows = [] if tick % self.spec.hop_ticks else [self._window(tick)]
        self._passed, self._next = tick, tick + 1
        self._held = {k: frame for k, frame in self._held.items() if k > self._next - self.spec.frames}
        return windows

    def _window(self, tick: int) -> Window:
        spec = self.spec
        end_ns = tick * spec.tick_ns
        start_ns = end_ns - spec.window_ns
        samples, seen = self._sound.read((tick - spec.frames) * spec.samples_per_tick, tick * spec.samples_per_tick)
        said = [text for stamp_ns, text in self._transcripts if start_ns < stamp_ns <= end_ns]
        dropped, self._unreported = dict(self._unreported), Counter()
        self._emitted = True
        return Window(
            tick=tick,
            start_ns=start_ns,
            end_ns=end_ns,
            frames=tuple(GridFrame(k, self._held[k]) if k in self._held else None for k in range(tick - spec.frames + 1, tick + 1)),
            samples=samples,
            sample_rate_hz=spec.sample_rate_hz,
            audio_seen=2 * seen.reshape(spec.frames, -1).sum(axis=1) >= spec.samples_per_tick,
            dropped=dropped,
            transcript=said[-1] if said else "",
            missing=self._missing(end_ns),
        )

    def _missing(self, end_ns: int) -> tuple[str, ...]:
        """Streams of which nothing came for `stall_seconds` before `end_ns`."""
        newest = {"video": self._video.newest_ns, "audio": self._sound.heard_ns}
        return tuple(name for name, at_ns in newest.items() if at_ns is None or at_ns < end_ns - self.spec.stall_ns)
