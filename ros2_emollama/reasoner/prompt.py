"""The exact prompt of nano, and what a transcript may bring into any prompt. Those of published checkpoints: published.py.

    <s> You see and hear a person through a robot's camera and microphone.     constant: its KV is kept for good
    [prefix: the window's tokens]
    (They said: "…")                                                           only where there is a transcript
    [task] question                                                            emotion, face, voice, cues or reason
    (The person seems LABEL:)                                                  only for labels that were learnt after the language model
Training and run time both call `build_prompt`, so they cannot disagree. A transcript is hostile: control characters and anything that
looks like one of our marks is taken out, its length is capped in characters and in tokens, and it is quoted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ..model.presets import Preset
from ..types import EmotionState

NANO, BEGUN = "nano", "nano_begun"
PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
SPECIAL_TOKENS = (PAD, BOS, EOS, UNK)
CONSTANT = "You see and hear a person through a robot's camera and microphone."
QUESTIONS = {
    "emotion": "[emotion] Which emotion is it?",
    "face": "[face] What is seen?",
    "voice": "[voice] What is heard?",
    "cues": "[cues] What is measured?",
    "reason": "[reason] The emotion is {label}. Why?",
}
OPENING = "The person seems {label}:"
"""What an answer to why begins with where the language model never read the model's labels: asked about "calm" it says "fear", but after
these words it goes on with what it sees and hears (docs/LOG.md)."""
TRANSCRIPT_CHARACTERS = 160
QUESTION_CHARACTERS = 160
SAID_TOKENS = 64
"""Of a transcript: as long as the longest that nano is taught with; after 90 and more (letters apart, pictures) its answers broke off."""
TEXT_TOKENS = 96  # of anything else; a script the tokenizer never saw takes three tokens a character and must not fill the context


@dataclass(frozen=True)
class Prompt:
    """Token ids around the prefix. `before_prefix` is the same for every prompt; `opening` is what the answer begins with in any case."""

    before_prefix: tuple[int, ...]
    after_prefix: tuple[int, ...]
    opening: tuple[int, ...] = ()


class Prompts(Protocol):
    """How one model is asked.

    end          id that ends an answer
    unsayable    ids of marks that never stand in an answer
    after_scene  ids that stand inside the prefix, after the scene's tokens
    names_label  whether every answer to why was taught to name its label, and no other
    """

    end: int
    unsayable: frozenset[int]
    after_scene: tuple[int, ...]
    names_label: bool

    def build(self, task: str, label: str = "", transcript: str = "", question: str = "") -> Prompt:
        """See `build_prompt`."""


class NanoPrompts:
    """`build_prompt`, with the tokenizer it belongs to. Where its labels are not known, answers to why begin with OPENING."""

    def __init__(self, tokenizer: Tokenizer, knows_labels: bool = True) -> None:
        self._tokenizer, self.names_label = tokenizer, knows_labels
        special = {token: special_id(tokenizer, token) for token in SPECIAL_TOKENS}
        self.end = special[EOS]
        self.unsayable = frozenset(special.values()) - {self.end}
        self.after_scene: tuple[int, ...] = ()

    def build(self, task: str, label: str = "", transcript: str = "", question: str = "") -> Prompt:
        if task != "reason" or self.names_label:
            return build_prompt(self._tokenizer, task, label, transcript, question)
        if not label:
            return build_prompt(self._tokenizer, "face", "", transcript, question)
        prompt = build_prompt(self._tokenizer, task, label, transcript, question)
        return replace(prompt, opening=tuple(plain_ids(self._tokenizer, OPENING.format(label=label))))


def label_to_explain(state: EmotionState, preset: Preset) -> str:
    """The label that an answer to why is about: the one that holds, or the likeliest where nobody is there.

    "" for nobody where the language model never read the labels: its answers begin with the label, and nobody seems anything.
    """
    if state.label in state.labels:
        return state.label
    return state.likeliest if reads_labels(preset) else ""


def reads_labels(preset: Preset) -> bool:
    """Whether the language model was trained with this model's labels."""
    return preset.prompt != BEGUN


def names_label(text: str, label: str, labels: Sequence[str]) -> bool:
    """Whether a text names this label and none of the others."""
    words = set("".join(c if c.isalpha() else " " for c in text.lower()).split())
    return words & set(labels) == {label}


def prompts_of(preset: Preset, tokenizer: Tokenizer) -> Prompts:
    """How that preset's language model is asked. ValueError when the tokenizer is not its own."""
    if preset.prompt in (NANO, BEGUN):
        return NanoPrompts(tokenizer, knows_labels=reads_labels(preset))
    from .published import STYLES, PublishedPrompts

    if preset.prompt not in STYLES:
        raise ValueError(
            f"preset.prompt must be {NANO}, {BEGUN}, {', '.join(STYLES)}, got {preset.prompt!r}; import or export the model again"
        )
    return PublishedPrompts(STYLES[preset.prompt], tokenizer, preset)


def clean_text(text: str, limit: int) -> str:
    """One line of plain text: no control or formatting characters, no marks of ours, single spaces, at most `limit` characters."""
    normal = unicodedata.normalize("NFKC", text[: 8 * limit])  # full-width marks become plain ones here, so this comes first
    plain = "".join(" " if unicodedata.category(c).startswith("C") or c.isspace() else c for c in normal)
    without_marks = re.sub(r"[<>\[\]{}|\"]", " ", plain)
    return re.sub(r" +", " ", without_marks).strip()[:limit].rstrip()


def build_prompt(tokenizer: Tokenizer, task: str, label: str = "", transcript: str = "", question: str = "") -> Prompt:
    """Ids of one prompt. KeyError for an unknown task.

    label       named in the `reason` task
    transcript  what the person said; empty for none
    question    asked instead of the task's own question, after its mark; empty for none
    """
    asked = QUESTIONS[task].format(label=label)
    own = first_tokens(tokenizer, clean_text(question, QUESTION_CHARACTERS))
    if own:
        asked = f"{asked.split(']')[0]}] The emotion is {label}. {own}" if label else f"{asked.split(']')[0]}] {own}"
    said = first_tokens(tokenizer, clean_text(transcript, TRANSCRIPT_CHARACTERS), SAID_TOKENS)
    after = (f' They said: "{said}".' if said else "") + f" {asked}"
    return Prompt((special_id(tokenizer, BOS), *plain_ids(tokenizer, CONSTANT)), tuple(plain_ids(tokenizer, after)))


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """Id of one of SPECIAL_TOKENS. ValueError when the tokenizer is not one of ours."""
    found: int | None = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"the tokenizer has no token {token}; export the language model again with its own tokenizer")
    return found


def plain_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of plain text; a special token spelled out in it is refused by construction (see clean_text) and never parsed."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def first_tokens(tokenizer: Tokenizer, text: str, limit: int = TEXT_TOKENS) -> str:
    """As much of a text as `limit` tokens hold, in whole characters."""
    ids = plain_ids(tokenizer, text)
    if len(ids) <= limit:
        return text
    kept: str = tokenizer.decode(ids[:limit])
    return kept.rstrip("\N{REPLACEMENT CHARACTER} ")


def train_tokenizer(texts: Iterable[str], vocab: int) -> Tokenizer:
    """Byte-level BPE of `vocab` entries whose first four are PAD, BOS, EOS and UNK; any text can be encoded and decoded exactly."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    prompts = [CONSTANT, *(question.format(label="happy") for question in QUESTIONS.values()), ' They said: "hello".']
    tokenizer.train_from_iterator([*prompts, *texts], trainer)
    return tokenizer
