"""Numbers of a mixture → batches a student takes: tokens of the prompt, rows of the prefix, tokens of frozen encoders.

    number ─► Sample ─► look (threads: shards, or pictures and sound) ─► encode what no shard holds ─► Lesson
A lesson depends on its numbers alone. A clip that cannot be read is named and counted and has weight 0: hour nine goes on without it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from ros2_emollama.model.graphs import graph_specs
from ros2_emollama.model.presets import Preset
from ros2_emollama.reasoner.prompt import special_id
from ros2_emollama.reasoner.published import STYLES

from ..benchmarks.reasoning import CLIP_ERRORS, PARTS, TEMPLATES_OF, TENSORS, completed, needed_parts
from ..benchmarks.registry import FORMS
from ..features import Arrays, Features
from ..features_clip import Views
from ..features_encoders import RuntimeEncoder
from ..instructions_tokens import NO_LOSS, Tokens, tokenize
from ..problems import Problems
from ..records import STREAMS, Clip, Sample

NO_LABEL, NOT_USED = -1, "clip not used"
Nothing = Mapping[str, npt.NDArray[np.float32]]
Numbered = tuple[int, Sample]


@dataclass(frozen=True)
class Lesson:
    """A batch of B samples, T positions.

    streams  the fusion graph's inputs by name, (B, …) float32
    ids      (B, T) int64; 0 where a row of the prefix stands, and behind a sample's end
    rows     (B, T) int64: which row of the prefix stands there, -1 for text
    labels   (B, T) int64: the id to be predicted, NO_LOSS elsewhere
    mask     (B, T) int64: 1 up to a sample's end
    emotion  (B,) int64: place of the label in the preset's, NO_LABEL where it is not known
    affect   (B, 2) float32: valence and arousal in [-1, 1], NaN where not known
    weight   (B,) float32: 0 for a clip that could not be read
    keys     of the clips
    """

    streams: dict[str, Tensor]
    ids: Tensor
    rows: Tensor
    labels: Tensor
    mask: Tensor
    emotion: Tensor
    affect: Tensor
    weight: Tensor
    keys: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Lesson:
        moved = {item.name: getattr(self, item.name).to(device) for item in fields(self) if item.name not in ("streams", "keys")}
        return replace(self, streams={name: value.to(device) for name, value in self.streams.items()}, **moved)


@dataclass(frozen=True)
class Looked:
    """A clip's features as far as shards hold them, and its pictures and sound where they do not."""

    stored: Arrays
    views: Views | None = None


class Teacher:
    """Makes lessons of samples.

    features  shards; None: everything is encoded here
    encoder   encodes what they lack; None: what they lack is not there
    nothing   what stands for a stream that a sample does not show (see `StreamEncoders.no_scene`)
    labels    clip key → label, for the head; affect: clip key → valence and arousal
    utterances  vectors of a clip that come from outside (v1); None: zeros
    """

    def __init__(
        self,
        preset: Preset,
        tokenizer: Tokenizer,
        nothing: Nothing,
        features: Features | None = None,
        encoder: RuntimeEncoder | None = None,
        labels: Mapping[str, int] | None = None,
        affect: Mapping[str, tuple[float, float]] | None = None,
        problems: Problems | None = None,
        utterances: Callable[[Sample], npt.NDArray[np.float32]] | None = None,
    ) -> None:
        if features is None and encoder is None:
            raise ValueError("give features, an encoder, or both")
        tokenizer.encode_special_tokens = True  # a </s> that somebody says is text
        self.preset, self.problems = preset, problems if problems is not None else Problems()
        self._tokenizer, self._nothing, self._features, self._encoder = tokenizer, nothing, features, encoder
        self._labels, self._affect, self._utterances = labels or {}, affect or {}, utterances
        self._inputs = {tensor.name: tensor.shape[1:] for tensor in graph_specs(preset)["fusion"].inputs}
        self._needed = needed_parts(preset)
        self._style = STYLES[preset.prompt]
        self._ends = tuple(special_id(tokenizer, mark) for mark in (preset.llama.bos_token, preset.llama.eos_token))

    def tokens(self, sample: Sample, shown: Iterable[str]) -> Tokens:
        """The sequence of a sample, its prefix masked where a stream is not among those shown. ValueError where it is too long."""
        template = TEMPLATES_OF.get(self.preset.prompt, sample.template)
        if sample.template == "unsaid" and template != "unsaid":
            template += "_unsaid"
        sample = replace(sample, template=template)
        return tokenize(
            sample,
            self.encode,
            *self._ends,
            prefix=self.preset.prefix,
            masked=self.preset.prefix.absent == "left_out",
            max_tokens=self.preset.llama.context,
            inside=self._style.after_scene,
            absent=[stream for stream in STREAMS if stream not in set(shown)],
        )

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def look(self, sample: Sample) -> Looked | Exception:
        """What a clip has. From several threads at once."""
        try:
            stored = self._features.of(sample) if self._features is not None else {}
            if self._encoder is None or self._needed <= set(stored):
                return Looked(stored)
            return Looked(stored, self._encoder.views(sample))
        except CLIP_ERRORS as error:
            return error

    def arrays(self, sample: Sample, looked: Looked) -> Arrays:
        """What of a clip this sample shows, by part. ValueError where that is nothing."""
        arrays = completed(looked.stored, looked.views, self._encoder)
        shown = {name: array for name, array in arrays.items() if PARTS.get(name) in sample.streams and name in self._needed}
        if not shown:
            raise ValueError(f"it shows none of {', '.join(sample.streams)}")
        return shown

    def lesson(self, samples: Sequence[Sample], looks: Sequence[Looked | Exception]) -> Lesson:
        """A batch. Where not one clip can be read it is an empty one of weight 0."""
        rows = [self._row(sample, look) for sample, look in zip(samples, looks, strict=True)]
        whole = [row for row in rows if row is not None]
        blank = whole[0] if whole else self._blank(samples[0])
        chosen = [row if row is not None else blank for row in rows]
        sizes = [int(row.visible.sum()) for row, _ in chosen]
        ids, places, labels, mask = (np.full((len(rows), max(sizes)), fill, np.int64) for fill in (0, -1, NO_LOSS, 0))
        for i, (tokens, _) in enumerate(chosen):
            size, kept = sizes[i], tokens.visible
            place = np.full(len(tokens.ids), -1, np.int64)
            place[tokens.ids < 0] = np.arange(self.preset.prefix.tokens)
            # What is not shown is taken out, as a robot leaves it out: a mask over it with positions counted without it is the same.
            ids[i, :size], places[i, :size], labels[i, :size] = np.maximum(tokens.ids, 0)[kept], place[kept], tokens.labels[kept]
            mask[i, :size] = 1
        streams = {name: torch.from_numpy(np.stack([given[name] for _, given in chosen])) for name in self._inputs}
        emotion = [self._labels.get(sample.key, NO_LABEL) for sample in samples]
        affect = [self._affect.get(sample.key, (math.nan, math.nan)) for sample in samples]
        weight = [float(row is not None) for row in rows]
        numbers = (torch.from_numpy(array) for array in (ids, places, labels, mask))
        told = tuple(sample.key for sample in samples)
        return Lesson(streams, *numbers, torch.tensor(emotion), torch.tensor(affect), torch.tensor(weight), told)

    def _row(self, sample: Sample, looked: Looked | Exception) -> tuple[Tokens, Arrays] | None:
        try:
            if isinstance(looked, Exception):
                raise looked
            shown = self.arrays(sample, looked)
            if self._utterances is not None:
                shown = {**shown, "utterances": self._utterances(sample)}
            return self.tokens(sample, {PARTS[name] for name in shown if name in PARTS}), self._given(shown)
        except CLIP_ERRORS as error:
            told = str(error.args[0] if isinstance(error, KeyError) else error)
            self.problems.add(NOT_USED, sample.provenance.file, sample.provenance.row, sample.key, told)
            return None

    def _blank(self, sample: Sample) -> tuple[Tokens, Arrays]:
        empty = replace(sample, says="", instruction="", answer="", streams=())
        return self.tokens(empty, ()), self._given({})

    def _given(self, shown: Arrays) -> Arrays:
        """The fusion graph's inputs of one sample. ValueError naming one of another shape."""
        named = {**self._nothing, **{TENSORS.get(name, name): array for name, array in shown.items()}}
        given = {name: np.asarray(named[name], np.float32) for name in self._inputs}
        for name, shape in self._inputs.items():
            if given[name].shape != shape:
                raise ValueError(f"{name} must be {shape}, got {given[name].shape}; make the features with this model's encoders")
        return given


def nothing_of(preset: Preset, no_scene: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
    """What stands for absent streams, by the fusion graph's names; `no_scene` as `StreamEncoders` gives it."""
    audio = np.zeros((preset.audio.tokens, preset.audio.width), np.float32)
    return {
        "frame_tokens": np.zeros((preset.frame_tokens, preset.vision.width), np.float32),
        "scene_tokens": no_scene["tokens"][0],
        "scene_cls": no_scene["cls"][0],
        "audio_tokens": audio,
        "utterances": np.zeros((preset.prefix.utterances, preset.audio.width), np.float32),
    }


def lessons(teacher: Teacher, numbered: Iterator[Numbered], batch: int, workers: int = 2, ahead: int = 2) -> Iterator[Lesson]:
    """Endless batches, looked at by `workers` threads, `ahead` batches before they are asked for."""
    waiting: deque[tuple[list[Sample], list[Future[Looked | Exception]]]] = deque()
    with ThreadPoolExecutor(max(1, workers)) as pool:

        def call_in() -> None:
            samples = [sample for _, sample in islice(numbered, batch)]
            if len(samples) == batch:
                waiting.append((samples, [pool.submit(teacher.look, sample) for sample in samples]))

        try:
            for _ in range(ahead):
                call_in()
            while waiting:
                samples, looks = waiting.popleft()
                call_in()
                yield teacher.lesson(samples, [look.result() for look in looks])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def label_places(clips: Mapping[str, Iterable[Clip]], labels: Sequence[str]) -> dict[str, int]:
    """Clip key → place of its emotion among `labels`, whichever form its set writes it in; no other clips."""
    places: dict[str, int] = {}
    for found in clips.values():
        for clip in found:
            word = clip.label("emotion")
            forms = {word, word.lower()} | next((forms for forms in FORMS if word.lower() in forms), frozenset())
            place = next((place for place, label in enumerate(labels) if label in forms), None)
            if word and place is not None:
                places[clip.key] = place
    return places


AFFECT: Mapping[str, tuple[tuple[str, float, float], tuple[str, float, float]]] = {
    "iemocap": (("valence", 1.0, 5.0), ("activation", 1.0, 5.0)),
    "bold": (("valence", 1.0, 10.0), ("arousal", 1.0, 10.0)),
    "mer2023": (("valence", -5.0, 5.0), ("arousal", 0.0, 0.0)),
    "own": (("valence", -1.0, 1.0), ("arousal", -1.0, 1.0)),
}
"""Set → name and range of its valence and its arousal; a range of nothing: it has none. IEMOCAP's is published; MER2023's and BoLD's are
from memory, so look at `stats` of the real files before training on them."""


def affect_of(clips: Mapping[str, Iterable[Clip]]) -> dict[str, tuple[float, float]]:
    """Clip key → valence and arousal in [-1, 1], NaN for one that is not known; of the clips where either is."""
    found: dict[str, tuple[float, float]] = {}
    for name, scales in AFFECT.items():
        for clip in clips.get(name, ()):
            values = [_scaled(clip.values.get(value, math.nan), low, high) for value, low, high in scales]
            if not all(map(math.isnan, values)):
                found[clip.key] = (values[0], values[1])
    return found


def _scaled(value: float, low: float, high: float) -> float:
    return 2 * (value - low) / (high - low) - 1 if low <= value <= high and high > low else math.nan


def repeated(numbered: Iterator[Numbered], batch: int) -> Iterator[Numbered]:
    """The first `batch` of a stream over and over."""
    first = list(islice(numbered, batch))
    while True:
        yield from first
