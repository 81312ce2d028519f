"""Two streams for the window assembler, and the windows it makes of them."""

from collections.abc import Iterable, Sequence

import numpy as np

from ros2_emollama.types import AudioChunk, Frame, Window
from ros2_emollama.windows import WindowAssembler, WindowSpec

RATE = 1600  # a tenth of the real rate keeps the tests quick; the grid arithmetic is the same
SPEC = WindowSpec(sample_rate_hz=RATE)
TICK = SPEC.tick_ns
MS = 1_000_000

Item = Frame | AudioChunk


def source(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, round(seconds * RATE)).astype(np.float32)


def chunks(sound: np.ndarray, sizes: Iterable[int], start_ns: int = 0) -> list[AudioChunk]:
    found, place = [], 0
    for size in sizes:
        if place >= sound.size:
            break
        found.append(AudioChunk(start_ns + round(place * 1e9 / RATE), sound[place : place + size], RATE))
        place += size
    return found


def regular(sound: np.ndarray, size: int = 32, start_ns: int = 0) -> list[AudioChunk]:
    return chunks(sound, [size] * (sound.size // size + 1), start_ns)


def frames(stamps_ns: Iterable[int]) -> list[Frame]:
    return [Frame(stamp, np.full((1, 1, 3), stamp // MS % 251, np.uint8)) for stamp in stamps_ns]


def camera(seconds: float, hz: float = 30.0, start_ns: int = 7 * MS) -> list[Frame]:
    return frames(start_ns + round(i * 1e9 / hz) for i in range(int(seconds * hz)))


def arrival(item: Item) -> int:
    """A frame comes at its stamp, sound when its last sample has been heard."""
    return item.end_ns if isinstance(item, AudioChunk) else item.stamp_ns


def feed(items: Iterable[Item], spec: WindowSpec = SPEC, finish: bool = True) -> tuple[list[Window], WindowAssembler]:
    assembler = WindowAssembler(spec)
    windows: list[Window] = []
    for item in items:
        windows += assembler.add_audio(item) if isinstance(item, AudioChunk) else assembler.add_frame(item)
    return (windows + assembler.finish() if finish else windows), assembler


def live(*streams: Sequence[Item]) -> list[Item]:
    everything: list[Item] = [item for stream in streams for item in stream]
    return sorted(everything, key=arrival)


def content(windows: Iterable[Window]) -> list[tuple[object, ...]]:
    return [
        (w.tick, tuple(e and (e.tick, e.frame.stamp_ns) for e in w.frames), w.samples.tobytes(), w.audio_seen.tobytes()) for w in windows
    ]


def ticks(windows: Iterable[Window]) -> list[int]:
    return [w.tick for w in windows]
