"""How an answer begins, grows and ends, over a session that says what a test wants."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from ros2_emollama.model.presets import LABELS, TINY
from ros2_emollama.reasoner import Decoding, Reasoner, decoder
from ros2_emollama.reasoner.prompt import BOS, EOS, PAD, Prompt, prompts_of, train_tokenizer
from ros2_emollama.types import EmotionState, Percept
from tests.reasoner.toys import VOCABULARY, ScriptedSession

TOKENIZER = train_tokenizer(["plain words"], 300)
PRESET = dataclasses.replace(TINY, llama=dataclasses.replace(TINY.llama, vocab=VOCABULARY))
STATE = EmotionState(0, 4, 4, LABELS, (0.7, *[0.05] * 6), 1.0, 1.0, ("video",), math.nan, math.nan, {}, {}, "tiny", "test")
PERCEPT = Percept(STATE, np.zeros((TINY.prefix.tokens, TINY.llama.hidden), np.float32))


@pytest.fixture(scope="module")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    TOKENIZER.save(str(path))
    return path


def ids(text: str) -> list[int]:
    return list(TOKENIZER.encode(text, add_special_tokens=False).ids)


END = TOKENIZER.token_to_id(EOS)
ALPHABET = ids("abcdefghijklmnopqrstuvwxyz")


def test_an_answer_ends_with_its_end_token(tokenizer_path: Path) -> None:
    answer = Reasoner(ScriptedSession([*ids("plain words"), END]), tokenizer_path, PRESET).explain(PERCEPT)
    assert (answer.text, answer.finish_reason, answer.token_count) == ("plain words", "stop", len(ids("plain words")))
    assert 0 < answer.first_token_seconds <= answer.total_seconds


def test_a_character_is_streamed_only_once_all_its_bytes_are_there(tokenizer_path: Path) -> None:
    text = "é🙂ü"
    assert len(ids(text)) == 8
    said: list[str] = []
    answer = Reasoner(ScriptedSession([*ids(text), END]), tokenizer_path, PRESET).explain(PERCEPT, on_text=said.append)
    assert said == ["é", "é🙂", "é🙂ü"] and answer.text == text


def test_half_a_character_at_the_cap_is_not_said(tokenizer_path: Path) -> None:
    answer = Reasoner(ScriptedSession(ids("a🙂")), tokenizer_path, PRESET).explain(PERCEPT, max_tokens=3)
    assert (answer.text, answer.finish_reason, answer.token_count) == ("a", "length", 3)


def test_no_step_is_computed_after_the_last_token(tokenizer_path: Path) -> None:
    session = ScriptedSession(ALPHABET)
    reasoner = Reasoner(session, tokenizer_path, PRESET)
    assert reasoner.explain(PERCEPT, max_tokens=5).finish_reason == "length"
    assert session.lengths[3:] == [1] * 4  # constant, prefix and question come before


def test_the_context_is_never_overrun(tokenizer_path: Path) -> None:
    session = ScriptedSession([*ALPHABET, *reversed(ALPHABET), *ALPHABET[::2], *ALPHABET[1::2], *ALPHABET[::3]])
    answer = Reasoner(session, tokenizer_path, PRESET).explain(PERCEPT, max_tokens=10_000)
    assert session.position <= PRESET.llama.context
    assert answer.finish_reason == "length"


def test_a_cancel_ends_it_before_the_next_token(tokenizer_path: Path) -> None:
    said: list[str] = []
    reasoner = Reasoner(ScriptedSession(ALPHABET), tokenizer_path, PRESET)
    answer = reasoner.explain(PERCEPT, on_text=said.append, cancelled=lambda: len(said) == 2)
    assert (answer.text, answer.finish_reason, answer.token_count) == ("ab", "cancelled", 2)


def test_a_request_cancelled_before_it_began_computes_nothing(tokenizer_path: Path) -> None:
    session = ScriptedSession(ALPHABET)
    answer = Reasoner(session, tokenizer_path, PRESET).explain(PERCEPT, cancelled=lambda: True)
    assert (answer.text, answer.finish_reason, answer.first_token_seconds, session.lengths) == ("", "cancelled", 0.0, [])


def test_the_deadline_keeps_what_was_said(tokenizer_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 0.25)
    monkeypatch.setattr(decoder.time, "monotonic", lambda: next(clock))
    answer = Reasoner(ScriptedSession(ALPHABET), tokenizer_path, PRESET).explain(PERCEPT, deadline_seconds=2.0)
    assert answer.finish_reason == "deadline"
    assert answer.text == "abcdefgh"[: answer.token_count] and answer.token_count >= 1


@pytest.mark.parametrize("forbidden", [TOKENIZER.token_to_id(BOS), TOKENIZER.token_to_id(PAD), VOCABULARY - 1])
def test_special_tokens_and_ids_without_a_text_are_never_said(tokenizer_path: Path, forbidden: int) -> None:
    assert TOKENIZER.get_vocab_size() <= VOCABULARY - 1
    session = ScriptedSession([forbidden], second=ids("z")[0])
    assert Reasoner(session, tokenizer_path, PRESET).explain(PERCEPT, max_tokens=3).text == "zzz"


def test_an_answer_that_circles_is_ended(tokenizer_path: Path) -> None:
    answer = Reasoner(ScriptedSession(ids("ab")), tokenizer_path, PRESET).explain(PERCEPT, max_tokens=80)
    assert answer.finish_reason == "stop" and answer.token_count < 12


def test_an_answer_that_need_not_be_tidy_goes_on_to_its_cap_and_no_further(tokenizer_path: Path) -> None:
    """As published evaluations decode: a circle goes round, and the end of a sentence near the cap is none."""
    reasoner = Reasoner(ScriptedSession(ids("ab.")), tokenizer_path, PRESET)
    prompt = Prompt((1,), tuple(ids("asked")))
    said = reasoner.answer(PERCEPT.prefix, prompt, Decoding(20, tidy=False))
    assert (said.text, said.finish_reason, said.token_count) == (("ab." * 7)[:20], "length", 20)
    assert reasoner.answer(PERCEPT.prefix, prompt, Decoding(20)).token_count < 20


def test_an_opening_is_said_first_and_the_model_goes_on_from_there(tokenizer_path: Path) -> None:
    """For labels that the language model never read: what it must not get wrong is said for it."""
    preset = dataclasses.replace(PRESET, prompt="nano_begun", labels=("calm", *PRESET.labels[1:]))
    percept = dataclasses.replace(PERCEPT, state=dataclasses.replace(PERCEPT.state, labels=preset.labels, held="calm"))
    session, parts = ScriptedSession([*ids("z"), END]), []
    said = Reasoner(session, tokenizer_path, preset).explain(percept, on_text=parts.append)
    assert said.text == parts[-1] == "The person seems calm:z" and said.finish_reason == "stop"
    nobody = dataclasses.replace(percept, state=dataclasses.replace(percept.state, held="unknown"))
    assert Reasoner(session, tokenizer_path, preset).explain(nobody).text == "z", "nobody seems calm"
    assert prompts_of(preset, TOKENIZER).build("reason") == prompts_of(preset, TOKENIZER).build("face")
    assert prompts_of(preset, TOKENIZER).build("face").opening == () == prompts_of(PRESET, TOKENIZER).build("reason", "calm").opening
    short = Reasoner(session, tokenizer_path, preset).explain(percept, max_tokens=1)
    assert (short.text, short.finish_reason) == ("The person seems calm:", "length")


def test_a_drawn_answer_of_a_seed_hangs_on_nothing_said_before(tokenizer_path: Path) -> None:
    reasoner = Reasoner(ScriptedSession(ids("ab"), second=ids("z")[0]), tokenizer_path, PRESET)
    drawn = Decoding(12, temperature=4.0, top_p=1.0, tidy=False)
    prompt = Prompt((1,), tuple(ids("asked")))
    first = [reasoner.answer(PERCEPT.prefix, prompt, drawn, seed=seed).text for seed in (1, 2)]
    assert first[0] != first[1]
    assert [reasoner.answer(PERCEPT.prefix, prompt, drawn, seed=seed).text for seed in (2, 1)] == first[::-1]


def test_what_was_just_said_is_penalised_where_that_is_asked_for(tokenizer_path: Path) -> None:
    session = ScriptedSession(ids("a"), second=ids("z")[0])
    said = Reasoner(session, tokenizer_path, PRESET).answer(PERCEPT.prefix, Prompt((1,), (2,)), Decoding(4, repeat_penalty=2.0, tidy=False))
    assert said.text == "azaa", "a has 9, then 4.5 against z's 5; both said, it is the likelier one again"


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"repeat_penalty": 0.0}])
def test_numbers_that_decode_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Decoding(**wrong)  # type: ignore[arg-type]


def test_a_second_question_on_the_same_window_computes_only_what_is_new(tokenizer_path: Path) -> None:
    session = ScriptedSession([END])
    reasoner = Reasoner(session, tokenizer_path, PRESET)
    heard = dataclasses.replace(PERCEPT, transcript="hello there")
    reasoner.explain(heard, question="why now")
    assert len(session.lengths) == 3
    reasoner.explain(heard, question="why now")
    assert session.lengths[3:] == [1]


def test_warming_up_leaves_only_the_constant_prompt(tokenizer_path: Path) -> None:
    session = ScriptedSession([END])
    reasoner = Reasoner(session, tokenizer_path, PRESET)
    reasoner.warm_up()
    computed = len(session.lengths)
    reasoner.explain(PERCEPT)
    assert session.lengths[computed] == TINY.prefix.tokens and len(session.lengths) == computed + 2


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="no token <pad>; export the language model again"):
        Reasoner(ScriptedSession([END]), tmp_path / "tokenizer.json", PRESET)
