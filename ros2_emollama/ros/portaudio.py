"""A microphone through PortAudio (sounddevice): int16 blocks, each with the moment its first sample was heard.

PortAudio's own thread calls back; the callback copies, notes the time and never waits: blocks that nobody takes push out the oldest, and
are counted. Knows nothing about topics.
"""

from __future__ import annotations

import atexit
import itertools
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .running import Refused
from .source import SourceError, SourceHung

HELD_BLOCKS = 50
POLL_SECONDS = 0.1
STALL_SECONDS = 0.5  # a device that delivers never pauses for so long
FIRST_SECONDS = 4.0  # a sound server may take its time for the first block: PulseAudio's null sink takes two seconds
CLOSE_SECONDS = 2.0
OLDEST_SECONDS = 2.0  # no device holds sound back for longer: such an age is a broken clock
UNPLUGGED = "is it unplugged, or has its sound server ended? It is opened again by itself once it is back"


@dataclass(frozen=True)
class Block:
    """Interleaved int16 samples; `heard_ns` on the clock of time.monotonic_ns; `number` counts from 0, what was dropped included."""

    data: bytes
    heard_ns: int
    number: int


@dataclass
class Losses:
    """overflows: the device dropped sound because PortAudio was late; blocks: of those held here, nobody took them in time."""

    overflows: int = 0
    blocks: int = 0

    @property
    def total(self) -> int:
        return self.overflows + self.blocks


def load() -> Any:
    """The sounddevice module. Refused, with the cure, where it or PortAudio is not installed."""
    try:
        import sounddevice
    except ImportError as error:
        raise Refused(f"the microphone needs sounddevice ({error}); install it: pip install sounddevice") from error
    except OSError as error:
        raise Refused(f"the microphone needs the PortAudio library ({error}); install it: apt install libportaudio2") from error
    return sounddevice


def pick(wanted: str, devices: Sequence[Mapping[str, Any]], default: int) -> int:
    """Index of the input device that `wanted` names: an index, a name or a part of one; empty: the default.

    A full name is better than a part; case does not matter. SourceError lists what is there.
    """
    inputs = {index: str(entry["name"]) for index, entry in enumerate(devices) if entry["max_input_channels"] > 0}
    there = "; ".join(f"{index}: {name}" for index, name in inputs.items()) or "none, plug one in"
    if not wanted:
        if default in inputs:
            return default
        raise SourceError(f"there is no default input device; set device to one of these: {there}")
    if wanted.isdigit():
        if int(wanted) in inputs:
            return int(wanted)
        raise SourceError(f"no input device has index {wanted}; there are: {there}")
    full = [index for index, name in inputs.items() if name.lower() == wanted.lower()]
    partly = [index for index, name in inputs.items() if wanted.lower() in name.lower()]
    if not partly:
        raise SourceError(f"no input device has {wanted!r} in its name; there are: {there}")
    if len(partly) > 1 and len(full) != 1:
        several = "; ".join(f"{index}: {inputs[index]}" for index in partly)
        raise SourceError(f"{wanted!r} may be several input devices, give its index or more of its name: {several}")
    return (full or partly)[0]


class Microphone:
    """The input device that `wanted` names, opened; `name` is its own. What is lost adds to `losses`. SourceError: it cannot be opened."""

    def __init__(
        self, sounddevice: Any, wanted: str, rate_hz: int, channels: int, block_frames: int, losses: Losses, quiet: bool = False
    ) -> None:
        self._sounddevice, self._rate_hz, self._frames, self._losses = sounddevice, rate_hz, block_frames, losses
        self._blocks: queue.SimpleQueue[Block] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._newest, self._heard = time.monotonic(), False
        devices = list(sounddevice.query_devices())
        index = pick(wanted, devices, _default(sounddevice))
        self.name = str(devices[index]["name"])
        with _silent(quiet):
            self._stream = self._open(index, channels, devices[index])

    def _open(self, index: int, channels: int, facts: Mapping[str, Any]) -> Any:
        try:
            stream = self._sounddevice.RawInputStream(
                samplerate=self._rate_hz, blocksize=self._frames, device=index, channels=channels, dtype="int16", callback=self._on_block
            )
            stream.start()
        except self._sounddevice.PortAudioError as error:
            able = f"it has {facts['max_input_channels']} channels and runs at {facts['default_samplerate']:g} Hz by default"
            raise SourceError(
                f"cannot open {self.name!r} with {channels} channels at {self._rate_hz} Hz: {error}; {able}, set channels and "
                "sample_rate_hz to what it can, and see that no other program holds it"
            ) from error
        return stream

    def _on_block(self, data: Any, frames: int, moments: Any, flags: Any) -> None:
        # An age is at least the block's own length: some plug-ins (ALSA's for PulseAudio) say less, as if sound came from the future.
        age = moments.currentTime - moments.inputBufferAdcTime
        age = max(age, frames / self._rate_hz) if age < OLDEST_SECONDS else frames / self._rate_hz
        heard_ns = time.monotonic_ns() - round(age * 1e9)
        self._losses.overflows += bool(flags.input_overflow)
        if self._blocks.qsize() >= HELD_BLOCKS:
            try:
                self._blocks.get_nowait()
                self._losses.blocks += 1
            except queue.Empty:  # it was taken in this very moment
                pass
        self._blocks.put(Block(bytes(data), heard_ns, next(self._numbers)))

    def next(self) -> Block | None:
        """The oldest block, waited for shortly. SourceError once the device has ended or fallen silent."""
        try:
            block = self._blocks.get(timeout=POLL_SECONDS)
        except queue.Empty:
            self._check(time.monotonic() - self._newest)
            return None
        self._newest, self._heard = time.monotonic(), True
        return block

    def _check(self, silent_seconds: float) -> None:
        if not self._stream.active:
            raise SourceError(f"the microphone {self.name!r} ended; {UNPLUGGED}")
        if silent_seconds > (STALL_SECONDS if self._heard else FIRST_SECONDS):
            raise SourceError(f"nothing comes from the microphone {self.name!r} for {silent_seconds:.1f} s; {UNPLUGGED}")

    def close(self) -> None:
        """SourceHung when PortAudio does not come back: seen when a sound server died."""
        ending = threading.Thread(target=self._stream.close, daemon=True)
        ending.start()
        ending.join(CLOSE_SECONDS)
        if ending.is_alive():
            atexit.unregister(getattr(self._sounddevice, "_exit_handler", print))  # it would wait for the same thing for ever
            raise SourceHung(f"PortAudio hangs while it closes {self.name!r}; start the node again (launch does by itself)")


def _default(sounddevice: Any) -> int:
    try:
        return int(sounddevice.query_devices(kind="input")["index"])
    except sounddevice.PortAudioError:  # its way of saying that there is none
        return -1


def list_anew(sounddevice: Any) -> None:
    """Let PortAudio look which devices there are: it does so only when it starts. No stream may be open."""
    sounddevice._terminate()
    sounddevice._initialize()


@contextmanager
def _silent(wanted: bool) -> Iterator[None]:
    """PortAudio and ALSA write to the terminal what they also return; said once is enough when opening is tried every other second."""
    if not wanted:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
