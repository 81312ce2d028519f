"""Guessing ahead and scoring in one pass change no answer and no score; they only take fewer passes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ros2_emollama.model.folder import open_folder
from ros2_emollama.model.presets import LABELS, TINY
from ros2_emollama.reasoner import Reasoner, decoder
from ros2_emollama.reasoner.lookahead import LONGEST_DRAFT, Lookahead, SeenBefore
from ros2_emollama.reasoner.prompt import EOS, train_tokenizer
from ros2_emollama.reasoner.sampling import ends_a_sentence, goes_round
from ros2_emollama.types import EmotionState, Percept
from tests.reasoner.toys import HIDDEN, VOCABULARY, ToySession

TOKENIZER = train_tokenizer(["plain words"], 300)
PRESET = dataclasses.replace(TINY, llama=dataclasses.replace(TINY.llama, vocab=VOCABULARY))
STATE = EmotionState(0, 4, 4, LABELS, (0.7, *[0.05] * 6), 1.0, 1.0, ("video",), math.nan, math.nan, {}, {}, "tiny", "test")
ALPHABET: list[int] = TOKENIZER.encode("abcdefghijklmnopqrstuvwxyz", add_special_tokens=False).ids
END = TOKENIZER.token_to_id(EOS)


def percept(seed: int = 0, transcript: str = "", tokens: int = TINY.prefix.tokens) -> Percept:
    prefix = np.random.default_rng(seed).standard_normal((tokens, HIDDEN)).astype(np.float32)
    return Percept(STATE, prefix, transcript)


@pytest.fixture(scope="module")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    TOKENIZER.save(str(path))
    return path


@pytest.fixture(scope="module")
def make_reasoner(tiny_model_folder: Path) -> Callable[..., Reasoner]:
    from ros2_emollama.runtime.onnx_runtime import OnnxLlama

    folder = open_folder(tiny_model_folder)
    return lambda **more: Reasoner(OnnxLlama(folder), folder.language("tokenizer"), folder.preset, **more)


def alphabet(first: int, second: int) -> int:
    """The alphabet, then the end, whatever came before."""
    return ALPHABET[0] if second not in ALPHABET else (*ALPHABET, END)[ALPHABET.index(second) + 1]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_guessing_ahead_changes_no_answer(make_reasoner: Callable[..., Reasoner], temperature: float) -> None:
    ahead, plain = make_reasoner(), make_reasoner(speculate=False)
    for seed in (0, 1, 0, 2, 0):
        asked = {"max_tokens": 40, "temperature": temperature, "deadline_seconds": 60.0}
        found, expected = ahead.explain(percept(seed), **asked), plain.explain(percept(seed), **asked)
        assert (found.text, found.token_count, found.finish_reason) == (expected.text, expected.token_count, expected.finish_reason)


def test_what_was_said_before_comes_in_fewer_passes(tokenizer_path: Path) -> None:
    session = ToySession(alphabet)
    reasoner = Reasoner(session, tokenizer_path, PRESET)
    passes = []
    for seed in (0, 1):
        before = session.passes
        assert reasoner.explain(percept(seed)).text == "abcdefghijklmnopqrstuvwxyz"
        passes.append(session.passes - before)
    assert passes[1] < passes[0] / 2
    assert session.position <= PRESET.llama.context


def test_a_session_that_does_not_branch_is_asked_token_by_token(tokenizer_path: Path) -> None:
    session = ToySession(alphabet, branches=False)
    reasoner = Reasoner(session, tokenizer_path, PRESET)
    for seed in (0, 1):
        before = session.passes
        reasoner.explain(percept(seed))
        assert session.passes - before >= len(ALPHABET)


def test_guesses_that_never_come_true_cost_little() -> None:
    session = ToySession(lambda first, second: 0)
    ahead = Lookahead(session, 512, ())
    said = [token for number in range(40) for token in (5, 6, 100 + number)]  # what came after 5 and 6 never comes again
    for token in said:
        ahead.after(token)
    assert session.passes == session.position == len(said)
    assert session.computed - len(said) < 40


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.lists(st.integers(0, 3), max_size=20), max_size=3), st.integers(0, 10))
@settings(max_examples=200, deadline=None)
def test_a_draft_is_what_followed_the_same_two_tokens(said: list[int], sources: list[list[int]], length: int) -> None:
    seen = SeenBefore(sources)
    for token in said:
        seen.add(token)
    draft = seen.what_followed(length)
    assert len(draft) <= length
    joined = [(*said[-2:], *draft)] if draft else []
    held = [tuple(source[i : i + 2 + len(draft)]) for source in (said, *sources) for i in range(len(source))]
    assert all(piece in held for piece in joined)
    known = any(tuple(source[i : i + 2]) == tuple(said[-2:]) for source in (said, *sources) for i in range(len(source) - 2))
    assert bool(draft) == (length > 0 and len(said) >= 2 and known)


def test_drafts_never_leave_the_context(tokenizer_path: Path) -> None:
    small = dataclasses.replace(PRESET, llama=dataclasses.replace(PRESET.llama, context=90))
    session = ToySession(lambda first, second: ALPHABET[(ALPHABET.index(second) + 3) % 26] if second in ALPHABET else ALPHABET[0])
    reasoner = Reasoner(session, tokenizer_path, small)
    for seed in range(3):
        answer = reasoner.explain(percept(seed), max_tokens=1000)
        assert session.position <= 90 and answer.finish_reason in ("length", "stop")


def test_labels_are_scored_in_one_pass_with_the_scores_of_one_by_one(
    make_reasoner: Callable[..., Reasoner], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = (*LABELS, "happy and sad", "happy and angry", "happ")
    together, by_turns = make_reasoner(), make_reasoner()
    monkeypatch.setattr(type(together._session), "branches", property(lambda session: session is together._session))
    lengths: list[int] = []
    extend_tree = together._session.extend_tree  # type: ignore[attr-defined]
    monkeypatch.setattr(together._session, "extend_tree", lambda rows, parents: lengths.append(len(rows)) or extend_tree(rows, parents))
    # The second session's graph still wants its tree inputs; they are bound as `extend` of a branching session binds them.
    monkeypatch.setattr(by_turns._session, "extend", lambda rows: extend_by_turns(by_turns, rows))
    for seed in range(3):
        found = together.score_labels(percept(seed).prefix, labels)
        expected = by_turns.score_labels(percept(seed).prefix, labels)
        np.testing.assert_allclose(np.log(found), np.log(expected), atol=2e-4)
        assert found.argmax() == expected.argmax()
    tokens = {tuple(ids[:i]) for ids in (together._tokenizer.encode(label).ids for label in labels) for i in range(1, len(ids) + 1)}
    assert lengths == [len(tokens)] * 3


def extend_by_turns(reasoner: Reasoner, rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = reasoner._session.extend_tree(rows, range(-1, len(rows) - 1))[-1]  # type: ignore[attr-defined]
    return found


def test_scoring_leaves_the_window_in_the_cache_for_its_explanation(tokenizer_path: Path) -> None:
    """Prefix and transcript are computed once for both."""
    session = ToySession(alphabet)
    reasoner = Reasoner(session, tokenizer_path, PRESET)
    heard = percept(3, transcript="I have waited for this day")
    reasoner.score_labels(heard.prefix, LABELS, transcript=heard.transcript)
    held = session.position
    computed: list[int] = []
    extend = session.extend
    session.extend = lambda rows: computed.append(len(rows)) or extend(rows)  # type: ignore[method-assign]
    reasoner.explain(heard, max_tokens=1)
    assert len(computed) == 1 and computed[0] < held - TINY.prefix.tokens - len(reasoner._constant)


def test_a_long_prompt_can_be_cancelled_half_way_and_asked_again(tokenizer_path: Path) -> None:
    session = ToySession(alphabet)
    reasoner = Reasoner(session, tokenizer_path, PRESET)
    long = percept(0, tokens=3 * decoder.PIECE)
    looks = iter([False, False, True])
    answer = reasoner.explain(long, cancelled=lambda: next(looks))
    assert (answer.finish_reason, answer.token_count) == ("cancelled", 0)
    assert session.position < 3 * decoder.PIECE and session.widest == decoder.PIECE
    assert reasoner.explain(long, max_tokens=5).text == "abcde"


def test_near_the_cap_the_end_of_a_sentence_is_the_end(tokenizer_path: Path) -> None:
    text = "ab. cdefg! hijk? lmnop"
    ids = TOKENIZER.encode(text, add_special_tokens=False).ids
    script = dict(zip(zip([-1, *ids], ids, strict=False), [*ids[1:], END], strict=False))
    session = ToySession(lambda first, second: script.get((first, second), script.get((-1, second), ids[0])))
    assert len(set(zip([-1, *ids], ids, strict=False))) == len(ids)
    answer = Reasoner(session, tokenizer_path, PRESET).explain(percept(), max_tokens=18)
    assert (answer.text, answer.finish_reason) == ("ab. cdefg! hijk?", "length")


@pytest.mark.parametrize(
    ("text", "ends"),
    [("She smiles.", True), ('He said "no!"', True), ("她很高兴。", True), ("She smiles", False), ("", False), ("a, ", False)],
)
def test_a_sentence_ends_with_its_mark(text: str, ends: bool) -> None:
    assert ends_a_sentence(text) is ends


def test_a_sentence_said_twice_is_a_circle_and_a_word_is_not() -> None:
    sentence = list(range(20))
    assert goes_round([99, *sentence, *sentence])
    assert not goes_round([*sentence, *sentence[:-1]])
    assert not goes_round([7, 8, 7, 8])


def test_drafts_grow_with_success_up_to_a_limit() -> None:
    session = ToySession(lambda first, second: (second + 1) % 300)
    ahead = Lookahead(session, 512, [list(range(200))])
    for token in range(150):
        ahead.after(token)
    assert session.widest == LONGEST_DRAFT + 1
    assert session.passes < 40
