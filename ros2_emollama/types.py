"""What flows through emollama: plain data, units in the names.

Every stamp is an integer number of nanoseconds on ONE clock (the ROS clock in a node, the clip's own clock offline),
so that grid arithmetic is exact and replay equals live.
Knows nothing about ROS, models or threads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

NANOSECONDS = 1_000_000_000
UNKNOWN = "unknown"
"""The label of a state with nobody to be seen or heard. No model has it among its own."""


def seconds_to_ns(seconds: float) -> int:
    """Nearest integer nanosecond."""
    return round(seconds * NANOSECONDS)


@dataclass(frozen=True)
class Frame:
    """One picture.

    pixels  (H, W, 3) uint8, RGB
    """

    stamp_ns: int
    pixels: UInt8


@dataclass(frozen=True)
class AudioChunk:
    """Consecutive sound; `stamp_ns` is the time of its first sample.

    samples  (S,) float32 in [-1, 1], mono
    """

    stamp_ns: int
    samples: Float32
    sample_rate_hz: int

    @property
    def end_ns(self) -> int:
        return self.stamp_ns + round(self.samples.size * NANOSECONDS / self.sample_rate_hz)


@dataclass(frozen=True)
class GridFrame:
    """The frame that stands for one tick of the grid; `tick` is the tick's number (stamp = tick * hop)."""

    tick: int
    frame: Frame


@dataclass(frozen=True)
class Window:
    """One aligned window, ending at `end_ns`, a tick of the grid.

    frames       one entry a tick, oldest first; None where the camera gave nothing for that tick
    samples      (S,) float32, mono at `sample_rate_hz`; zeros where the microphone gave nothing
    audio_seen   (S_blocks,) bool, one entry a tick: True where sound covers at least half of that hop
    dropped      what was lost since the previous window, by cause (see windows.py for the causes)
    transcript   what the person said, the newest stamped within the window; empty if nothing
    missing      of video and audio: what has stopped, or never came, by the window's end; the window may still hold some of it
    """

    tick: int
    start_ns: int
    end_ns: int
    frames: tuple[GridFrame | None, ...]
    samples: Float32
    sample_rate_hz: int
    audio_seen: npt.NDArray[np.bool_]
    dropped: Mapping[str, int] = field(default_factory=dict)
    transcript: str = ""
    missing: tuple[str, ...] = ()

    @property
    def newest_frame_ns(self) -> int | None:
        """Stamp of the newest frame in the window, None when it holds none."""
        for entry in reversed(self.frames):
            if entry is not None:
                return entry.frame.stamp_ns
        return None


@dataclass(frozen=True)
class EmotionState:
    """What one window says.

    probabilities  one a label, same order, sums to 1
    face, speech   presence, 0 to 1; NaN where there are pictures or sound but the model does not say who is in them
    valence, arousal  NaN unless the model was trained for them
    modalities     of "video", "audio", "text": what the window really held
    stage_seconds  time spent, by stage
    face_box       (centre x, centre y, size) as fractions of the picture's width, height and height; None without a face
    missing        of "video", "audio": what has stopped or never came
    held           the label that holds, after hysteresis, or UNKNOWN (see triggers.py); None while only the network has spoken
    """

    start_ns: int
    end_ns: int
    newest_frame_ns: int | None
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    face: float
    speech: float
    modalities: tuple[str, ...]
    valence: float
    arousal: float
    dropped: Mapping[str, int]
    stage_seconds: Mapping[str, float]
    model_id: str
    runtime: str
    face_box: tuple[float, float, float] | None = None
    missing: tuple[str, ...] = ()
    held: str | None = None

    @property
    def likeliest(self) -> str:
        return self.labels[int(np.argmax(self.probabilities))]

    @property
    def label(self) -> str:
        """The label that holds; the likeliest one where nobody has decided yet."""
        return self.held or self.likeliest

    @property
    def presence(self) -> float:
        """How sure somebody is there to be seen or heard; 1 where the model does not say."""
        return 1.0 if math.isnan(self.face) or math.isnan(self.speech) else max(self.face, self.speech)

    @property
    def confidence(self) -> float:
        """Probability of `label`; of UNKNOWN, how sure that nobody is there."""
        if self.label == UNKNOWN:
            return 1.0 - self.presence
        return self.probabilities[self.labels.index(self.label)]


@dataclass(frozen=True)
class Percept:
    """A state and the prefix that lets the language model talk about it.

    prefix  (P, hidden) float32, embeddings of the LLM's width
    """

    state: EmotionState
    prefix: Float32
    transcript: str = ""


@dataclass(frozen=True)
class Explanation:
    """What the language model says of one state; `finish_reason` is stop, length, deadline, cancelled or empty while partial."""

    state: EmotionState
    text: str
    final: bool
    finish_reason: str
    token_count: int
    first_token_seconds: float
    total_seconds: float
