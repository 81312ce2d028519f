"""A model folder whose language model is of the published kind, answering benchmarks in words.

    question ─► frames, scene, sound ─► encoders ─► fusion ─► prefix ┐
             └► the benchmark's own prompt, token by token ──────────┴► language model ─► text
Encoders and language model run on any runtime of the folder. A batch's clips are decoded side by side and a clip's frames encoded
together; the language model has one KV cache and answers one question after the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
from tokenizers import Tokenizer

from ros2_emollama.model.folder import ModelFolder, ModelFolderError, find_model, open_folder
from ros2_emollama.model.graphs import graph_specs
from ros2_emollama.pipeline import read_utterances
from ros2_emollama.reasoner import Decoding, Reasoner
from ros2_emollama.reasoner.prompt import Prompt, special_id
from ros2_emollama.reasoner.published import STYLES
from ros2_emollama.runtime.factory import open_runtime

from ..features import Arrays, Features
from ..features_clip import Sampling, Views
from ..features_encoders import BY_MMEVERSE, RuntimeEncoder, fitting_runtime, open_features
from ..instructions_tokens import around_prefix
from ..records import Sample, Stream, from_json
from .generation import Response
from .questions import Question

if TYPE_CHECKING:
    from ros2_emollama.encoding import StreamEncoders
    from ros2_emollama.model.presets import Preset
    from ros2_emollama.types import Float32

CLIP_ERRORS = (RuntimeError, ValueError, OSError, KeyError)  # MediaError and ModelFolderError are RuntimeErrors
TEMPLATES_OF: Mapping[str, str] = {"emotion_llama": "emotion_llama", "emotion_llama_published": "emotion_llama"}
"""Prompt of a preset → the template it was trained with, where that is not the benchmark's own, which is Emotion-LLaMAv2's."""
PARTS: Mapping[str, Stream] = {
    "frames": "frames",
    "frame_mask": "frames",
    "scene": "scene",
    "scene_cls": "scene",
    "audio": "audio",
    "audio_mask": "audio",
}
"""What the fusion takes of a clip → the stream it belongs to."""
TENSORS: Mapping[str, str] = {"frames": "frame_tokens", "scene": "scene_tokens", "audio": "audio_tokens"}
"""Part → the fusion graph's name for it, where that is another."""


@dataclass(frozen=True)
class Settings:
    """How a folder is asked; the defaults are the published evaluation's, but for the frames, which are the paper's (uniform).

    runtime     as model.runtime; "auto" is torch for a folder that has only weights
    sampling    which frames: see features_clip.py
    features    a folder of `python -m training features`, or "released" for those MMEVerse brings; what they lack is encoded
    utterances  folders of ID.npy that a model takes from outside, in its order (v1: FaceMAE, VideoMAE); () for zeros, as in its demo
    seed        of what is drawn at a temperature above 0
    workers     clips decoded side by side
    """

    runtime: str = "auto"
    threads: int = 1
    sampling: Sampling = "uniform"
    features: str = ""
    utterances: tuple[str, ...] = ()
    max_tokens: int = 200
    temperature: float = 0.0
    top_p: float = 0.9
    repeat_penalty: float = 1.0
    seed: int = 0
    workers: int = 2

    @property
    def decoding(self) -> Decoding:
        """ValueError where a number is out of its range."""
        return Decoding(self.max_tokens, self.temperature, self.top_p, self.repeat_penalty, tidy=False)


@dataclass(frozen=True)
class Opened:
    """A question's clip: what features it came with, and its pictures and sound where they are needed."""

    sample: Sample
    stored: Arrays
    views: Views | None = None


def answers_in_words(preset: Preset) -> bool:
    """Whether a benchmark's prompt is one this model was trained on."""
    return preset.prompt in STYLES


def open_answerer(model: str, settings: Settings | None = None) -> ReasonerAnswerer:
    """Open, verify and load. ModelFolderError, RuntimeUnavailable, FileNotFoundError or ValueError with the cure."""
    settings = settings or Settings()
    folder = open_folder(find_model(model))
    if not answers_in_words(folder.preset):
        known = ", ".join(STYLES)
        raise ModelFolderError(f"{folder.root} is asked in the words of {folder.preset.prompt}, no benchmark is; a model of {known} can be")
    folder.verify()
    stored = open_features(settings.features)
    runtime = fitting_runtime(folder, settings.runtime)
    encoders, session = open_runtime(folder, runtime, settings.threads)
    if session is None:
        raise ModelFolderError(f"{folder.root} has no language model, and answers in words need one; export or import it again")
    reasoner = Reasoner(session, folder.language("tokenizer"), folder.preset)
    return ReasonerAnswerer(folder, RuntimeEncoder(folder.preset, encoders, sampling=settings.sampling), reasoner, settings, stored)


def needed_parts(preset: Preset) -> set[str]:
    """PARTS that this model's fusion takes."""
    inputs = {tensor.name for tensor in graph_specs(preset)["fusion"].inputs}
    return {part for part in PARTS if TENSORS.get(part, part) in inputs}


def completed(stored: Arrays, views: Views | None, encoder: RuntimeEncoder | None) -> Arrays:
    """A clip's arrays by part: those that are stored, and where it was looked at what they lack, encoded."""
    if views is None or encoder is None:
        return stored
    return {**encoder.encode(views, without=[PARTS[name] for name in stored if name in PARTS]), **stored}


def sample_of(question: Question) -> Sample:
    """The question's line as a record. ValueError naming file, row and field where it is none."""
    return from_json(Sample, json.dumps(question.sample), question.clip.where)


class ReasonerAnswerer:
    """Encoders and language model of one folder. Use `open_answerer`."""

    def __init__(
        self, folder: ModelFolder, encoder: RuntimeEncoder, reasoner: Reasoner, settings: Settings, stored: Features | None = None
    ) -> None:
        self._folder, self._encoder, self._reasoner, self._settings, self._stored = folder, encoder, reasoner, settings, stored
        self._decoding = settings.decoding
        tokenizer = Tokenizer.from_file(str(folder.language("tokenizer")))
        tokenizer.encode_special_tokens = True  # a </s> that somebody says is text
        self._tokenizer = tokenizer
        self._needed = needed_parts(folder.preset)
        self._bos = special_id(tokenizer, folder.preset.llama.bos_token)

    @property
    def name(self) -> str:
        """Model and all that an answer hangs on. Of runtimes only whether the language model is in floats or as it was quantised: a run
        that began on a GPU may go on without one."""
        settings, decoding = self._settings, self._decoding
        weights = "in floats" if self._reasoner.name.startswith("torch") else "as exported"
        chosen = "greedy"
        if decoding.temperature > 0:
            chosen = f"temperature {decoding.temperature:g}, top-p {decoding.top_p:g}, seed {settings.seed}"
        parts = [
            self._folder.model_id,
            f"language model {weights}",
            f"{settings.sampling} frames",
            f"{chosen}, at most {decoding.max_tokens} tokens, repeat penalty {decoding.repeat_penalty:g}",
        ]
        if self._stored is not None:
            parts.append(f"features {getattr(self._stored, 'encoder', BY_MMEVERSE)}")
        if settings.utterances:
            parts.append(f"utterances {', '.join(settings.utterances)}")
        return "; ".join(parts)

    def answer(self, questions: Sequence[Question]) -> list[Response]:
        clips = [self._find(question) for question in questions]
        with ThreadPoolExecutor(max(1, self._settings.workers)) as pool:
            looks = list(pool.map(self._look, clips))
        return [self._one(look) for look in looks]

    def prompt(self, sample: Sample) -> Prompt:
        """Ids of a benchmark's prompt around the prefix."""
        name = self._folder.preset.prompt
        style = STYLES[name]
        sample = replace(sample, template=TEMPLATES_OF.get(name, sample.template))
        before, after = around_prefix(sample, self.encode, self._bos, style.begins, style.after_scene)
        return Prompt(tuple(before), tuple(after))

    def encode(self, text: str) -> list[int]:
        """Ids of text alone, whatever marks it spells out."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def prefix(self, clip: Opened) -> Float32:
        """(P, hidden) of a clip. ValueError where it shows nothing, or a feature has another shape than this model's."""
        arrays = completed(clip.stored, clip.views, self._encoder)
        shown = {name: array for name, array in arrays.items() if PARTS.get(name) in clip.sample.streams}
        if not shown:
            raise ValueError(f"{clip.sample.key} has none of {', '.join(clip.sample.streams)}; mend its media or leave the clip out")
        files = [Path(folder) / f"{clip.sample.id}.npy" for folder in self._settings.utterances]
        vectors = read_utterances(files, self._folder) if files else None
        return prefix_of(self._encoder.streams, shown, self._reasoner.after_scene, vectors)

    def opened(self, question: Question) -> Opened | Exception:
        """A question's clip, or why it cannot be asked about."""
        return self._look(self._find(question))

    def score(self, sample: Sample, labels: Sequence[str]) -> Float32 | Exception:
        """(labels,) probabilities of a clip's labels as a robot scores them, or why there are none."""
        try:
            found = self._look(self._kept(sample))
            if isinstance(found, Exception):
                return found
            return self._reasoner.score_labels(self.prefix(found), labels)
        except CLIP_ERRORS as error:
            return error

    def _find(self, question: Question) -> Opened | Exception:
        """What is known of a clip before it is decoded."""
        try:
            return self._kept(sample_of(question))
        except CLIP_ERRORS as error:
            return error

    def _kept(self, sample: Sample) -> Opened:
        return Opened(sample, self._stored.of(sample) if self._stored is not None else {})

    def _look(self, clip: Opened | Exception) -> Opened | Exception:
        """With pictures and sound where they are needed. From several threads at once."""
        if isinstance(clip, Exception) or self._needed <= set(clip.stored):
            return clip
        try:
            return replace(clip, views=self._encoder.views(clip.sample))
        except CLIP_ERRORS as error:
            return error

    def _one(self, clip: Opened | Exception) -> Response:
        if isinstance(clip, Exception):
            return Response(error=str(clip.args[0] if isinstance(clip, KeyError) else clip))
        seed = crc32(f"{self._settings.seed}/{clip.sample.key}/{clip.sample.task}".encode())
        try:
            said = self._reasoner.answer(self.prefix(clip), self.prompt(clip.sample), self._decoding, seed=seed)
        except CLIP_ERRORS as error:
            return self._one(error)
        return Response(said.text.rpartition("[/INST]")[2].strip())


def prefix_of(streams: StreamEncoders, arrays: Arrays, after_scene: Float32, utterances: Float32 | None = None) -> Float32:
    """(P', hidden) rows that the language model sees of a clip, from its arrays by part (features_encoders.py).

    A stream that is not there is what the model takes for none. utterances (U, D): None for zeros.
    """
    preset = streams.preset
    vision, audio = preset.vision, preset.audio
    parts = {"frames": np.zeros((preset.frame_tokens, vision.width), np.float32), "audio": streams.no_sound[0]}
    if "scene" not in arrays:
        nothing = streams.no_scene
        parts |= {"scene": nothing["tokens"][0], "scene_cls": nothing["cls"][0]}
    parts["frame_mask"] = np.full(preset.window_frames, "frames" in arrays, np.float32)
    parts["audio_mask"] = np.full(audio.tokens, "audio" in arrays, np.float32)
    named = {TENSORS.get(name, name): np.asarray(array, np.float32)[None] for name, array in {**parts, **arrays}.items()}
    named["utterances"] = (utterances if utterances is not None else np.zeros((preset.prefix.utterances, audio.width), np.float32))[None]
    present = {"video": "scene" in arrays or "frames" in arrays, "audio": "audio" in arrays}
    return streams.assemble(streams.fuse(named)["prefix"][0], present, after_scene)
