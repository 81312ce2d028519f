"""The spine: window → percept (labels, presence, prefix), percept → explanation.

Each frame is encoded once: in this method a frame gives tokens of its own, with no attention across frames, so a ring of frame tokens is
exact and the frame stream's cost per hop does not grow with the window.
Knows nothing about ROS or threads; one caller at a time for `perceive`, one for `explain`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from .config import Config
from .model.folder import ModelFolder, find_model, open_folder
from .model.logmel import log_mel
from .model.pixels import box_to_picture, to_canvas
from .reasoner import Reasoner
from .runtime.base import Encoders
from .runtime.factory import open_runtime
from .types import EmotionState, Explanation, Float32, Frame, GridFrame, Percept, Window, seconds_to_ns
from .windows import WindowSpec

SILENCE_RMS = 1e-4  # -80 dBFS: below it there is nothing to hear, whatever a network says of it
PRESENCE_TICKS = 4  # face presence is the mean over the frames of the newest second


class _Stopwatch:
    """Seconds spent by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class _EncodedFrame:
    """tokens (4, D), face (4,) of one frame."""

    frame: Frame
    tokens: Float32
    face: Float32


class Pipeline:
    """One model folder, running."""

    def __init__(self, folder: ModelFolder, encoders: Encoders, reasoner: Reasoner | None, config: Config) -> None:
        self.folder = folder
        self.preset = folder.preset
        self.config = config
        self._encoders = encoders
        self._reasoner = reasoner
        self._model_id = folder.model_id
        self._lock = threading.Lock()  # of the two below
        self._ring: dict[int, _EncodedFrame] = {}  # by the frame object's identity, which the ring itself keeps alive
        self._epoch = 0

    @classmethod
    def load(cls, config: Config) -> Pipeline:
        """Open, verify and load the configured model. ModelFolderError or RuntimeUnavailable with the cure."""
        folder = open_folder(find_model(config.model.path))
        folder.verify()
        # NumPy's own threads too: waiting for a second one on a busy core made log-mel five times as long at the 95th percentile.
        threadpool_limits(config.model.threads, user_api="blas")
        engines = Path(config.model.engines).expanduser() if config.model.engines else None
        encoders, session = open_runtime(folder, config.model.runtime, config.model.threads, config.reasoner.enabled, engines)
        reasoner = Reasoner(session, folder.language("tokenizer"), folder.preset) if session is not None else None
        return cls(folder, encoders, reasoner, config)

    @property
    def window_spec(self) -> WindowSpec:
        """The window this model sees, at the configured hop and patience."""
        return WindowSpec(
            seconds=self.preset.window_seconds,
            frames=self.preset.window_frames,
            hop_ticks=self.config.window.hop_ticks,
            sample_rate_hz=self.preset.audio.sample_rate_hz,
            patience_seconds=self.config.window.patience_seconds,
            stall_seconds=self.config.window.stall_seconds,
        )

    def describe(self) -> str:
        """One line for a log: model, runtime, window."""
        reasoner = self._reasoner.name if self._reasoner else "labels only"
        return (
            f"model {self._model_id}, encoders {self._encoders.name}, language {reasoner}, "
            f"window {self.preset.window_seconds:g} s of {self.preset.window_frames} frames"
        )

    def warm_up(self) -> None:
        """Run everything once on an empty and on a full window, so that the first real one is not the slow one."""
        spec = self.window_spec
        tick_ns = seconds_to_ns(spec.seconds / spec.frames)
        side = self.preset.vision.canvas_pixels
        picture = np.zeros((side, side, 3), np.uint8)
        frames = tuple(GridFrame(i, Frame(i * tick_ns, picture)) for i in range(spec.frames))
        samples = np.zeros(round(spec.seconds * spec.sample_rate_hz), np.float32)
        seen = np.ones(spec.frames, np.bool_)
        window = Window(spec.frames, 0, spec.frames * tick_ns, frames, samples, spec.sample_rate_hz, seen)
        self.perceive(window)
        self.forget()
        if self._reasoner:
            self._reasoner.warm_up()

    def forget(self) -> None:
        """Drop the frames and their tokens: the clock jumped, or nobody may be watched any more. Results never depend on them, only speed
        does. From any thread, at once: a window that is being perceived just then leaves nothing behind either."""
        with self._lock:
            self._ring = {}
            self._epoch += 1

    def perceive(self, window: Window) -> Percept:
        """Labels, presence and prefix of one window."""
        watch = _Stopwatch()
        frame_tokens, frame_mask, faces = self._frame_stream(window, watch)
        scene = self._scene_stream(window, watch)
        audio_tokens, audio_mask, speech = self._audio_stream(window, watch)
        with watch.stage("fusion"):
            fused = self._encoders.run(
                "fusion",
                {
                    "frame_tokens": frame_tokens,
                    "frame_mask": frame_mask,
                    "scene_tokens": scene["tokens"],
                    "scene_cls": scene["cls"],
                    "audio_tokens": audio_tokens,
                    "audio_mask": audio_mask,
                },
            )
        state = self._state(window, fused["probabilities"][0], faces, speech, watch.seconds)
        return Percept(state, fused["prefix"][0], window.transcript)

    def explain(
        self,
        percept: Percept,
        question: str = "",
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
        deadline_seconds: float | None = None,
    ) -> Explanation:
        """Say why, streaming the text so far to `on_text`; `deadline_seconds` None: the configured one. RuntimeError when the reasoner is
        off."""
        if self._reasoner is None:
            raise RuntimeError("this pipeline runs labels only; set reasoner.enabled to true")
        limits = self.config.reasoner
        return self._reasoner.explain(
            percept,
            question=question,
            on_text=on_text,
            cancelled=cancelled,
            max_tokens=limits.max_tokens,
            deadline_seconds=limits.deadline_seconds if deadline_seconds is None else deadline_seconds,
            temperature=limits.temperature,
        )

    def _frame_stream(self, window: Window, watch: _Stopwatch) -> tuple[Float32, Float32, list[Float32 | None]]:
        """Tokens (1, 16·4, D), mask (1, 16) and each tick's face, None where it has no frame."""
        with self._lock:
            held, epoch = self._ring, self._epoch
        present = {id(entry.frame): entry.frame for entry in window.frames if entry}
        ring = {key: encoded for key, encoded in held.items() if key in present}
        ring |= self._encode_frames([frame for key, frame in present.items() if key not in ring], watch)
        with self._lock:
            if epoch == self._epoch:
                self._ring = ring
        vision = self.preset.vision
        tokens = np.zeros((len(window.frames), vision.tokens_per_frame, vision.width), np.float32)
        mask = np.zeros((1, len(window.frames)), np.float32)
        faces: list[Float32 | None] = [None] * len(window.frames)
        for place, entry in enumerate(window.frames):
            if entry is not None:
                encoded = ring[id(entry.frame)]
                tokens[place], mask[0, place] = encoded.tokens, 1.0
                faces[place] = encoded.face
        return tokens.reshape(1, -1, vision.width), mask, faces

    def _encode_frames(self, frames: list[Frame], watch: _Stopwatch) -> dict[int, _EncodedFrame]:
        if not frames:
            return {}
        with watch.stage("resize"):
            side = self.preset.vision.canvas_pixels
            pixels = np.stack([to_canvas(frame.pixels, side) for frame in frames])
        with watch.stage("frames"):
            out = self._encoders.run("frame_encoder", {"pixels": pixels})
        encoded = zip(frames, out["tokens"], out["face"], strict=True)
        return {id(frame): _EncodedFrame(frame, tokens, face) for frame, tokens, face in encoded}

    def _scene_stream(self, window: Window, watch: _Stopwatch) -> dict[str, Float32]:
        present = [entry for entry in window.frames if entry]
        vision = self.preset.vision
        if not present:
            empty = np.zeros((1, vision.scene_grid**2, vision.width), np.float32)
            return {"tokens": empty, "cls": np.zeros((1, vision.width), np.float32)}
        chosen = present[-1] if self.preset.scene_frame == "newest" else present[len(present) // 2]
        with watch.stage("scene"):
            canvas = to_canvas(chosen.frame.pixels, vision.canvas_pixels)
            return self._encoders.run("scene_encoder", {"pixels": canvas[None]})

    def _audio_stream(self, window: Window, watch: _Stopwatch) -> tuple[Float32, Float32, float]:
        """Tokens (1, 64, D), mask (1, 64), speech presence."""
        preset = self.preset.audio
        per_tick = preset.tokens // window.audio_seen.size
        mask = np.repeat(window.audio_seen.astype(np.float32), per_tick)[None]
        if not window.audio_seen.any():
            return np.zeros((1, preset.tokens, preset.width), np.float32), mask, 0.0
        with watch.stage("audio"):
            out = self._encoders.run("audio_encoder", {"logmel": log_mel(window.samples, preset, window.audio_seen)[None]})
        loud = float(np.sqrt(np.mean(np.square(window.samples)))) > SILENCE_RMS
        return out["tokens"], mask, float(out["speech"][0]) if loud else 0.0

    def _state(
        self, window: Window, probabilities: Float32, faces: list[Float32 | None], speech: float, seconds: dict[str, float]
    ) -> EmotionState:
        newest = [face for face in faces[-PRESENCE_TICKS:] if face is not None]
        held = {"video": any(window.frames), "audio": bool(window.audio_seen.any()), "text": bool(window.transcript)}
        return EmotionState(
            start_ns=window.start_ns,
            end_ns=window.end_ns,
            newest_frame_ns=window.newest_frame_ns,
            labels=self.preset.labels,
            probabilities=tuple(float(p) for p in probabilities),
            face=float(np.mean([face[0] for face in newest])) if newest else 0.0,
            speech=speech,
            modalities=tuple(name for name, present in held.items() if present),
            valence=math.nan,
            arousal=math.nan,
            dropped=window.dropped,
            stage_seconds=seconds,
            model_id=self._model_id,
            runtime=self._encoders.name,
            face_box=self._box(window, newest),
            missing=window.missing,
        )

    def _box(self, window: Window, newest: list[Float32]) -> tuple[float, float, float] | None:
        entry = next((entry for entry in reversed(window.frames) if entry), None)
        if entry is None or not newest or newest[-1][0] < 0.5:
            return None
        height, width = entry.frame.pixels.shape[:2]
        _, x, y, size = (float(value) for value in newest[-1])
        return box_to_picture((x, y, size), height, width)
