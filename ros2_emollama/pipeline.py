"""The spine: window → percept (labels, presence, prefix), percept → explanation.

Each frame is encoded once: in this method a frame gives tokens of its own, with no attention across frames, so a ring of frame tokens is
exact and the frame stream's cost per hop does not grow with the window.
Knows nothing about ROS or threads; one caller at a time for `perceive`, one for `explain`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from .config import Config
from .encoding import EncodedFrame, StreamEncoders
from .model.folder import ModelFolder, ModelFolderError, find_model, open_folder
from .model.pixels import box_to_picture
from .reasoner import Reasoner, Talker
from .runtime.base import Encoders, RuntimeUnavailable
from .runtime.factory import open_runtime
from .types import EmotionState, Explanation, Float32, Frame, GridFrame, Int64, Percept, Window, seconds_to_ns
from .windows import WindowSpec

SILENCE_RMS = 1e-4  # -80 dBFS: below it there is nothing to hear, whatever a network says of it
UNKNOWN_AFFECT = np.full(2, np.nan, np.float32)
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
class _Held:
    """A frame and what its encoder made of it."""

    frame: Frame
    encoded: EncodedFrame


@dataclass(frozen=True)
class EncodedWindow:
    """What the encoders make of a window, before anything is fused.

    tensors  inputs of the fusion graph by name, a batch of one window each (model/graphs.py)
    faces    each tick's face, as in `EncodedFrame`; None where it has no frame or its encoder looks for none
    speech   probability that somebody speaks; NaN from an encoder that does not say
    """

    tensors: dict[str, Float32]
    faces: list[Float32 | None]
    speech: float

    @property
    def newest_faces(self) -> list[Float32]:
        """Those of the newest second."""
        return [face for face in self.faces[-PRESENCE_TICKS:] if face is not None]

    @property
    def face(self) -> float:
        """Mean presence of the newest faces; 0 where there are none."""
        newest = self.newest_faces
        return float(np.mean([face[0] for face in newest])) if newest else 0.0


@dataclass(frozen=True)
class _Sensed:
    """A window encoded and fused; `probabilities` is empty without a label head, `affect` (valence, arousal) then NaN."""

    encoded: EncodedWindow
    prefix: Float32
    probabilities: Float32
    affect: Float32


class Pipeline:
    """One model folder, running."""

    def __init__(
        self, folder: ModelFolder, encoders: Encoders, reasoner: Talker | None, config: Config, utterances: Float32 | None = None
    ) -> None:
        """utterances (2, D): vectors of the whole clip, for a preset that takes some; zeros where none are given."""
        self.folder = folder
        self.preset = folder.preset
        self.config = config
        self._encoders = encoders
        self._streams = StreamEncoders(folder.preset, encoders)
        self._reasoner = reasoner
        self._speaking = threading.Lock()  # one language model: labels that it scores wait for what it is saying
        if not self.preset.has_head and reasoner is None:
            raise ModelFolderError(f"{folder.root} has no label head and no language model to score labels with; import the model again")
        self._after_scene = reasoner.after_scene if reasoner else np.zeros((0, self.preset.llama.hidden), np.float32)
        self._utterances = utterances
        self._model_id = folder.model_id
        self._lock = threading.Lock()  # of the two below
        self._ring: dict[int, _Held] = {}  # by the frame object's identity, which the ring itself keeps alive
        self._epoch = 0

    @classmethod
    def load(cls, config: Config, utterances: Sequence[Path] = (), remote: Callable[[ModelFolder], Talker] | None = None) -> Pipeline:
        """Open, verify and load the configured model. ModelFolderError or RuntimeUnavailable with the cure.

        utterances  files of the vectors that a preset takes from outside, in its order (FaceMAE, VideoMAE)
        remote      makes who is asked where reasoner.mode is "remote"; the folder then need not hold the language model's files
        """
        folder = open_folder(find_model(config.model.path))
        elsewhere = config.reasoner.mode == "remote"
        if elsewhere and remote is None:
            raise RuntimeUnavailable("reasoner.mode is remote, and only the perception node can ask another machine; set it to local")
        folder.verify(language=not elsewhere)
        given = read_utterances(utterances, folder) if utterances else None
        # NumPy's own threads too: waiting for a second one on a busy core made log-mel five times as long at the 95th percentile.
        threadpool_limits(config.model.threads, user_api="blas")
        speaks = config.reasoner.enabled or not folder.preset.has_head
        engines = Path(config.model.engines).expanduser() if config.model.engines else None
        here = speaks and not elsewhere
        encoders, session = open_runtime(folder, config.model.runtime, config.model.threads, here, engines)
        reasoner: Talker | None = Reasoner(session, folder.language("tokenizer"), folder.preset) if session is not None else None
        if speaks and elsewhere and remote is not None:
            reasoner = remote(folder)
        return cls(folder, encoders, reasoner, config, given)

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
        scored = "" if self.preset.has_head else ", labels scored by the language model"
        given = "as given" if self._utterances is not None else "zeros, as in the published demo"
        vectors = f", FaceMAE and VideoMAE vectors {given}" if self.preset.prefix.utterances else ""
        return (
            f"model {self._model_id}, encoders {self._encoders.name}, language {reasoner}{scored}{vectors}, "
            f"window {self.preset.window_seconds:g} s of {self.preset.window_frames} frames"
        )

    def warm_up(self) -> None:
        """Run everything once on an empty and on a full window, so that the first real one is not the slow one."""
        spec = self.window_spec
        tick_ns = seconds_to_ns(spec.seconds / spec.frames)
        side = self.preset.vision.scene_pixels
        picture = np.zeros((side, side, 3), np.uint8)
        frames = tuple(GridFrame(i, Frame(i * tick_ns, picture)) for i in range(spec.frames))
        samples = np.zeros(round(spec.seconds * spec.sample_rate_hz), np.float32)
        seen = np.ones(spec.frames, np.bool_)
        window = Window(spec.frames, 0, spec.frames * tick_ns, frames, samples, spec.sample_rate_hz, seen)
        self._sense(window, _Stopwatch())
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
        sensed = self._sense(window, watch)
        probabilities = sensed.probabilities if self.preset.has_head else self._scored(sensed.prefix, watch)
        return Percept(self._state(window, sensed, probabilities, watch.seconds), sensed.prefix, window.transcript)

    def _sense(self, window: Window, watch: _Stopwatch) -> _Sensed:
        """All but what the language model says."""
        encoded = self._encode(window, watch)
        with watch.stage("fusion"):
            fused = self._streams.fuse(encoded.tensors)
        present = {"video": any(window.frames), "audio": bool(window.audio_seen.any())}
        prefix = self._streams.assemble(fused["prefix"][0], present, self._after_scene)
        probabilities = fused["probabilities"][0] if self.preset.has_head else np.zeros(0, np.float32)
        affect = fused["affect"][0] if self.preset.has_affect else UNKNOWN_AFFECT
        return _Sensed(encoded, prefix, probabilities, affect)

    def encode(self, window: Window) -> EncodedWindow:
        """A window's tokens, as `perceive` makes them before it fuses them: what fusion and label head can be trained on."""
        return self._encode(window, _Stopwatch())

    def _encode(self, window: Window, watch: _Stopwatch) -> EncodedWindow:
        frame_tokens, frame_mask, faces = self._frame_stream(window, watch)
        scene = self._scene_stream(window, watch)
        audio_tokens, audio_mask, speech = self._audio_stream(window, watch)
        tensors = {
            "frame_tokens": frame_tokens,
            "frame_mask": frame_mask,
            "scene_tokens": scene["tokens"],
            "scene_cls": scene["cls"],
            "audio_tokens": audio_tokens,
            "audio_mask": audio_mask,
            "utterances": self._given_utterances(),
        }
        return EncodedWindow(tensors, faces, speech)

    def _given_utterances(self) -> Float32:
        """(1, 2, D) of the clip, or zeros."""
        if self._utterances is not None:
            return self._utterances[None]
        return np.zeros((1, self.preset.prefix.utterances, self.preset.audio.width), np.float32)

    def _scored(self, prefix: Float32, watch: _Stopwatch) -> Float32:
        """Label probabilities of a checkpoint without a head."""
        assert self._reasoner is not None
        with watch.stage("labels"), self._speaking:
            return self._reasoner.score_labels(prefix, self.preset.labels)

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
        limits = self.config.reasoner
        if self._reasoner is None or not limits.enabled:
            raise RuntimeError("this pipeline runs labels only; set reasoner.enabled to true")
        with self._speaking:
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
        """Tokens (1, 16·4, D), mask (1, 16) and each tick's face, None where it has no frame or its encoder looks for none."""
        vision = self.preset.vision
        tokens = np.zeros((len(window.frames), vision.tokens_per_frame, vision.width), np.float32)
        mask = np.array([[entry is not None for entry in window.frames]], np.float32)
        faces: list[Float32 | None] = [None] * len(window.frames)
        if not self._streams.has_frames:
            return tokens.reshape(1, -1, vision.width), mask, faces
        ring = self._encoded(window, watch)
        for place, entry in enumerate(window.frames):
            if entry is not None:
                encoded = ring[id(entry.frame)].encoded
                tokens[place], faces[place] = encoded.tokens, encoded.face
        if self.preset.prefix.absent != "zeros" and mask.any():
            tokens = tokens[held_places(mask[0])]
        return tokens.reshape(1, -1, vision.width), mask, faces

    def _encoded(self, window: Window, watch: _Stopwatch) -> dict[int, _Held]:
        """Every frame of a window, encoded now or held from before."""
        with self._lock:
            held, epoch = self._ring, self._epoch
        present = {id(entry.frame): entry.frame for entry in window.frames if entry}
        ring = {key: encoded for key, encoded in held.items() if key in present}
        new = [frame for key, frame in present.items() if key not in ring]
        if new:
            with watch.stage("resize"):
                pixels = self._streams.fit([frame.pixels for frame in new], "frames")
            with watch.stage("frames"):
                ring |= {id(frame): _Held(frame, encoded) for frame, encoded in zip(new, self._streams.frames(pixels), strict=True)}
        with self._lock:
            if epoch == self._epoch:
                self._ring = ring
        return ring

    def _scene_stream(self, window: Window, watch: _Stopwatch) -> dict[str, Float32]:
        present = [entry for entry in window.frames if entry]
        if not present:
            return self._streams.no_scene
        chosen = present[-1] if self.preset.scene_frame == "newest" else present[len(present) // 2]
        with watch.stage("scene"):
            return self._streams.scene(self._streams.fit([chosen.frame.pixels], "scene"))

    def _audio_stream(self, window: Window, watch: _Stopwatch) -> tuple[Float32, Float32, float]:
        """Tokens (1, 64, D), mask (1, 64), speech presence."""
        per_tick = max(1, self.preset.audio.tokens // window.audio_seen.size)
        mask = np.repeat(window.audio_seen.astype(np.float32), per_tick)[None]
        if not window.audio_seen.any():
            return self._streams.no_sound, mask, 0.0
        with watch.stage("audio"):
            tokens, speech = self._streams.sound(window.samples, window.audio_seen)
        loud = float(np.sqrt(np.mean(np.square(window.samples)))) > SILENCE_RMS
        return tokens, mask, speech if loud else 0.0

    def _state(self, window: Window, sensed: _Sensed, probabilities: Float32, seconds: dict[str, float]) -> EmotionState:
        encoded, affect = sensed.encoded, sensed.affect
        held = {"video": any(window.frames), "audio": bool(window.audio_seen.any()), "text": bool(window.transcript)}
        return EmotionState(
            start_ns=window.start_ns,
            end_ns=window.end_ns,
            newest_frame_ns=window.newest_frame_ns,
            labels=self.preset.labels,
            probabilities=tuple(float(p) for p in probabilities),
            face=self._face_presence(window, encoded),
            speech=encoded.speech,
            modalities=tuple(name for name, present in held.items() if present),
            valence=float(affect[0]),
            arousal=float(affect[1]),
            dropped=window.dropped,
            stage_seconds=seconds,
            model_id=self._model_id,
            runtime=self._encoders.name,
            face_box=self._box(window, encoded.newest_faces),
            missing=window.missing,
        )

    def _face_presence(self, window: Window, encoded: EncodedWindow) -> float:
        if not self.preset.vision.locates:
            return math.nan if any(window.frames) else 0.0
        return encoded.face

    def _box(self, window: Window, newest: list[Float32]) -> tuple[float, float, float] | None:
        entry = next((entry for entry in reversed(window.frames) if entry), None)
        if entry is None or not newest or newest[-1][0] < 0.5:
            return None
        height, width = entry.frame.pixels.shape[:2]
        _, x, y, size = (float(value) for value in newest[-1])
        return box_to_picture((x, y, size), height, width)


def held_places(mask: Float32) -> Int64:
    """(T,) mask -> for each tick the tick whose frame stands for it: the last one before it, or else the first there is."""
    there = np.flatnonzero(mask)
    places: Int64 = there[np.maximum(0, np.searchsorted(there, np.arange(mask.size), side="right") - 1)]
    return places


def read_utterances(paths: Sequence[Path], folder: ModelFolder) -> Float32:
    """(2, D) of as many .npy files, each (D,) or (1, D). ModelFolderError naming the file that does not fit."""
    count, width = folder.preset.prefix.utterances, folder.preset.audio.width
    if len(paths) != count:
        raise ModelFolderError(
            f"{folder.root} takes {count} utterance vectors, got {len(paths)}; give the files of FaceMAE and VideoMAE, or none"
        )
    rows = []
    for path in paths:
        try:
            row = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ModelFolderError(f"{path} cannot be read as a vector: {error}; give an .npy of {width} numbers") from error
        if row.size != width or not np.isfinite(row).all():
            raise ModelFolderError(f"{path} holds {row.shape}, not {width} finite numbers; give the vector of one clip")
        rows.append(row.reshape(width).astype(np.float32))
    return np.stack(rows)
