"""LLaMA's own kind of tokenizer: spaces are marks, and what it has no piece for is spelled in bytes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from ros2_emollama.model.presets import LABELS, TINY
from ros2_emollama.reasoner import Reasoner
from ros2_emollama.types import EmotionState, Percept
from tests.reasoner.toys import VOCABULARY, ScriptedSession

STATE = EmotionState(0, 4, 4, LABELS, (0.7, *[0.05] * 6), 1.0, 1.0, ("video",), math.nan, math.nan, {}, {}, "tiny", "test")
PERCEPT = Percept(STATE, np.zeros((TINY.prefix.tokens, TINY.llama.hidden), np.float32))
PRESET = dataclasses.replace(TINY, llama=dataclasses.replace(TINY.llama, vocab=VOCABULARY))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Path]:
    special = ("<pad>", "<s>", "</s>", "<unk>")
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz."]
    built = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True))
    built.add_special_tokens([AddedToken(token, special=True) for token in special])
    built.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    built.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    path = tmp_path_factory.mktemp("bytes") / "tokenizer.json"
    built.save(str(path))
    return built, path


@pytest.mark.parametrize("text", ["a smile 🙂 and tears.", "她很高兴", "é", "plain words."])
def test_only_whole_characters_are_streamed_and_all_arrive(tokenizer: tuple[Tokenizer, Path], text: str) -> None:
    built, path = tokenizer
    ids = built.encode(text, add_special_tokens=False).ids
    said: list[str] = []
    reasoner = Reasoner(ScriptedSession([*ids, built.token_to_id("</s>")]), path, PRESET)
    answer = reasoner.explain(PERCEPT, on_text=said.append)
    assert answer.text == said[-1] == text
    assert all(text.startswith(part) for part in said)
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(said)
