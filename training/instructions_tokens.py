"""`Sample` → tokens of one training or evaluation sequence, position by position.

    <s> │ [INST] <Vid> │ 64 fusion · 256 scene · 64 frames · 64 audio │ </Vid> The person … [/INST] │ answer </s>
                         no ids: embeddings of the prefix go here                                     the loss is on these alone
The text before and the text after the prefix are encoded each on its own, as the reference does: a LLaMA tokenizer begins either with its
word mark. <s> and </s> are ids here, never text, so that nothing in a transcript can stand for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ros2_emollama.model.presets import PrefixPreset

from .instructions import prompt_text
from .records import STREAMS, Sample, Stream

Encode = Callable[[str], Sequence[int]]
PLACE, SECOND_PLACE = "<VideoHere>", "<FeatureHere>"
NO_TOKEN, NO_LOSS = -1, -100
V2_PREFIX = PrefixPreset(fusion=64, scene=256, frames=64, audio=64)
MAX_ANSWER_TOKENS, MAX_TOKENS = 1024, 3800  # max_txt_len of the training configurations, max_context_len of the model


@dataclass(frozen=True)
class Tokens:
    """One sequence of T positions.

    ids      (T,) int64; NO_TOKEN where an embedding of the prefix goes
    labels   (T,) int64; the id to be predicted, NO_LOSS elsewhere
    visible  (T,) bool; False for the prefix of a stream that is absent
    slots    fusion, scene, frames, audio, or whatever parts the prefix has → their positions
    prompt   positions before the answer
    """

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    visible: npt.NDArray[np.bool_]
    slots: Mapping[str, slice]
    prompt: int


def tokenize(
    sample: Sample,
    encode: Encode,
    bos: int,
    eos: int,
    prefix: PrefixPreset = V2_PREFIX,
    with_answer: bool = True,
    masked: bool = True,
    double_bos: bool = False,
    max_tokens: int = MAX_TOKENS,
    inside: str = "",
    absent: Collection[Stream] | None = None,
) -> Tokens:
    """The sequence of a sample.

    encode       text → ids without special tokens
    with_answer  False for the prompt alone, which generation continues
    masked       absent streams are masked; the reference computes that mask and does not use it (False)
    double_bos   the reference begins an evaluation prompt with <s> twice (True)
    inside       text that stands in the prefix, after the scene: see `around_prefix`
    absent       streams that are not there; None: what the record itself says
    ValueError when the prompt has no room in `max_tokens`; a long answer is cut, its </s> with it, as in the reference.
    """
    prompt, tail = around_prefix(sample, encode, bos, 2 if double_bos else 1, inside)
    slots = {}
    for name, size in prefix.parts.items():
        slots[name] = slice(len(prompt), len(prompt) + size)
        prompt += [NO_TOKEN] * size
        if name == "scene" and inside:
            prompt += encode(inside)
    prompt += tail
    answer = [*encode(sample.answer), eos][:MAX_ANSWER_TOKENS] if with_answer else []
    if len(prompt) + len(answer) > max_tokens:
        asked = f"{len(prompt)} tokens of prompt and {len(answer)} of answer"
        raise ValueError(f"{sample.key}: {asked}, the context holds {max_tokens}; shorten the transcript")
    ids = np.array(prompt + answer, np.int64)
    labels = np.full(len(ids), NO_LOSS, np.int64)
    labels[len(prompt) :] = answer
    visible = np.ones(len(ids), np.bool_)
    if masked:
        for name in absent_streams(sample) if absent is None else absent:
            for part in ("scene", "cls") if name == "scene" else (name,):
                if part in slots:
                    visible[slots[part]] = False
    return Tokens(ids, labels, visible, slots, len(prompt))


def around_prefix(sample: Sample, encode: Encode, bos: int, begins: int = 1, inside: str = "") -> tuple[list[int], list[int]]:
    """Ids of the prompt before and after the visual prefix.

    begins  times that <s> stands first
    inside  text that stands within the prefix and so in neither: v1's "</video> <feature>", whose second place is then no text
    ValueError where the sample's template has not that text.
    """
    before, found, after = prompt_text(sample).partition(PLACE)
    if not found:
        raise ValueError(f"template {sample.template!r} has no {PLACE}")
    if inside:
        between, _, after = after.partition(SECOND_PLACE)
        if between != inside:
            raise ValueError(
                f"template {sample.template!r} has {between!r} in its prefix, the model {inside!r}; give a template of its own"
            )
    return [bos] * begins + list(encode(before)), list(encode(after))


def absent_streams(sample: Sample) -> tuple[Stream, ...]:
    """Streams the sample does not show, or that its media do not have: sound of a silent clip, sound and frames of a picture."""
    there = {
        "scene": bool(sample.media.video or sample.media.image),
        "frames": bool(sample.media.video),
        "audio": bool(sample.media.audio or (sample.media.video and sample.media.has_audio is not False)),
    }
    return tuple(name for name in STREAMS if name not in sample.streams or not there[name])
