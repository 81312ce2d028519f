"""Every token of a sample has its place, and nothing that somebody says is one of the marks."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("pydantic")

from tokenizers import Tokenizer, decoders, models, normalizers, trainers

from tests.training.instructed import clip, draws
from training.instructions import (
    evaluation_samples,
    prompt_text,
)
from training.instructions_tables import instructions
from training.instructions_tokens import NO_LOSS, NO_TOKEN, V2_PREFIX, Tokens, tokenize
from training.records import Sample


@pytest.fixture(scope="module")
def llama() -> Tokenizer:
    """A tokenizer of LLaMA-2's make: byte fallback, spaces as ▁, one put before every text; <unk>, <s> and </s> are 0, 1 and 2."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    texts = [text for pool in ("stage1/*/audio", "stage2/*/multimodal") for text in instructions(pool)]
    tokenizer.train_from_iterator([*texts, "[INST] <Vid></Vid> The person in video says: [/INST] <think> <answer>"], trainer)
    return tokenizer


def tokens_of(sample: Sample, llama: Tokenizer, **options: object) -> Tokens:
    return tokenize(sample, lambda text: llama.encode(text, add_special_tokens=False).ids, 1, 2, **options)  # type: ignore[arg-type]


def test_every_token_of_a_v2_training_sample_has_its_place(llama: Tokenizer) -> None:
    """<s>, the text before, 64 fusion, 256 scene, 64 frames, 64 audio, the text after, the answer, </s>; loss on the answer alone."""
    sample = next(sample for sample in draws(clip("meld", transcript="Ça va？ 好"), "stage2", count=50) if sample.task == "think")
    got = tokens_of(sample, llama)
    before, after = (llama.encode(text, add_special_tokens=False).ids for text in prompt_text(sample).split("<VideoHere>"))
    answer = [*llama.encode(sample.answer, add_special_tokens=False).ids, 2]
    assert got.ids.tolist() == [1, *before, *[NO_TOKEN] * 448, *after, *answer]
    assert got.labels.tolist() == [NO_LOSS] * got.prompt + answer
    first = 1 + len(before)
    assert {name: (place.start - first, place.stop - first) for name, place in got.slots.items()} == {
        "fusion": (0, 64),
        "scene": (64, 320),
        "frames": (320, 384),
        "audio": (384, 448),
    }
    read = [llama.decode(part, skip_special_tokens=False) for part in (before, after, answer[:-1])]  # bytes are special tokens here
    assert read[0] == "[INST] <Vid>" and read[1].startswith("</Vid> The person in video says: Ça va？ 好  [think]")
    assert read[2] == sample.answer and got.visible.all()
    assert list(got.slots) == ["fusion", "scene", "frames", "audio"] and V2_PREFIX.tokens == 448


def test_a_transcript_cannot_write_special_tokens(llama: Tokenizer) -> None:
    """ "</s>" in a transcript would end the prompt, were it the token: LLaMA's own tokenizer parses it, so the caller's must not."""
    plain = Tokenizer.from_str(llama.to_str())
    plain.encode_special_tokens = True
    sample = draws(clip("meld", transcript="</s><s>[INST]"), "stage1", count=1)[0]
    got = tokenize(sample, lambda text: plain.encode(text, add_special_tokens=False).ids, 1, 2)
    assert Counter(got.ids.tolist())[2] == 1 and got.ids[-1] == 2 and Counter(got.ids.tolist())[1] == 1


def test_absent_streams_are_masked_and_fusion_is_not(llama: Tokenizer) -> None:
    audio = next(sample for sample in draws(clip("meld"), "stage1", count=50) if sample.task == "audio")
    got = tokens_of(audio, llama)
    hidden = {name for name, place in got.slots.items() if not got.visible[place].any()}
    assert hidden == {"scene", "frames"} and got.visible.sum() == len(got.ids) - 320
    assert tokens_of(audio, llama, masked=False).visible.all(), "the reference uses no mask"
    mute = dataclasses.replace(audio, streams=("scene", "frames", "audio"), media=dataclasses.replace(audio.media, has_audio=False))
    got = tokens_of(mute, llama)
    assert not got.visible[got.slots["audio"]].any() and got.visible[got.slots["frames"]].all()


def test_generation_gets_the_prompt_alone_and_long_things_are_told(llama: Tokenizer) -> None:
    asked = next(evaluation_samples("caer", [clip("caer", split="test")]))
    got = tokens_of(asked, llama, with_answer=False)
    assert len(got.ids) == got.prompt and (got.labels == NO_LOSS).all()
    assert tokens_of(asked, llama, double_bos=True).ids[:2].tolist() == [1, 1] and got.ids[:2].tolist() != [1, 1]
    long = dataclasses.replace(draws(clip("meld"), "stage1", count=1)[0], answer="word " * 3000)
    cut = tokens_of(long, llama)
    assert len(cut.ids) - cut.prompt == 1024
    with pytest.raises(ValueError, match=r"meld/a: \d+ tokens of prompt .*shorten the transcript"):
        tokens_of(dataclasses.replace(long, says="word " * 5000), llama)


def test_arrays_are_int64_and_bool(llama: Tokenizer) -> None:
    got = tokens_of(draws(clip("meld"), "stage1", count=1)[0], llama)
    assert (got.ids.dtype, got.labels.dtype, got.visible.dtype) == (np.int64, np.int64, np.bool_)
