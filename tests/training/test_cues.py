"""Cues hold what was measured, words are found again in texts, and what a person says changes no answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("parselmouth")
pytest.importorskip("soundfile")
pytest.importorskip("skimage")

from ros2_emollama.model.presets import LABELS  # noqa: E402
from ros2_emollama.reasoner.prompt import clean_text, names_label, train_tokenizer  # noqa: E402
from tests.training.measured_people import norms  # noqa: E402
from training.cues import LEAST, MOST, Cues, cues_of  # noqa: E402
from training.language import corpus, sample_of, some_cues  # noqa: E402
from training.lexicon import FACE_CUES, PHRASES, VOICE_CUES, parse, without_claims  # noqa: E402
from training.measures import Norms  # noqa: E402
from training.sentences import SHEET, describe_face, describe_voice, explain, sheet  # noqa: E402
from training.transcripts import some_transcript  # noqa: E402


def test_cues_hold_what_was_measured_and_nothing_of_who_is_not_there(tmp_path: Path) -> None:
    cues = cues_of(norms(), (0.8, 0.5, 0.1), {"brow_height": 0.95, "lip_corners": float("nan")}, {"pitch_hz": 0.02, "level_dbfs": -15.0})
    assert cues.holds(("brow_height", 1)) and not cues.holds(("brow_height", -1)) and not cues.holds(("lip_corners", 1))
    assert {("pitch_hz", -1), ("level_dbfs", 1), ("face_size", -1), ("face_place", 1), ("brow_height", 1)} == cues.strong()
    assert cues.holds(("face", 1)) and not cues.holds(("speech", -1))
    nobody = cues_of(norms())
    assert nobody.absent == [("face", -1), ("speech", -1)] and not nobody.worth_saying()
    with pytest.raises(ValueError, match="pitch_hz"):
        Cues(face=True, speech=False, ranks={"pitch_hz": 0.9})
    norms().write(tmp_path)
    assert Norms.read(tmp_path) == norms()


def test_no_phrase_belongs_to_two_claims_or_hides_in_another() -> None:
    texts = [(text, claim) for claim, phrases in PHRASES.items() for phrase in phrases for text in phrase]
    assert len({text for text, _ in texts}) == len(texts)
    for text, claim in texts:
        for written in (text, text.upper(), f"And {text}.", f"({text[0].upper()}{text[1:]},"):
            assert parse(written) == (claim,), written
    assert {name for name, _ in PHRASES} == {"face", "speech", *FACE_CUES, *VOICE_CUES}


def test_every_paragraph_is_parsed_back_to_the_claims_that_went_in() -> None:
    rng = np.random.default_rng(0)
    for _ in range(3000):
        cues, label = some_cues(rng), str(rng.choice(LABELS))
        text = explain(cues, label, rng)
        claims = parse(text)
        named = [claim for claim in claims if claim[0] not in ("face", "speech")]
        assert set(named) == set(cues.worth_saying(least=LEAST - len(cues.absent)))
        assert {claim for claim in claims if claim[1] < 0 and claim not in named} == set(cues.absent)
        assert all(cues.holds(claim) for claim in claims)
        assert len(claims) >= min(LEAST, len(cues.ranks) + len(cues.absent)) and len(named) <= MOST
        assert names_label(text, label, LABELS) and len(text.split()) <= 60
        assert all(parse(word) == () for word in without_claims(text).split())
        for describe, names in ((describe_face, FACE_CUES), (describe_voice, VOICE_CUES)):
            assert all(cues.holds(claim) and claim[0] in (*names, "face", "speech") for claim in parse(describe(cues, rng)))


def test_with_nobody_there_the_text_says_so_and_claims_nothing_else() -> None:
    for seed in range(30):
        text = explain(Cues(face=False, speech=False), "neutral", np.random.default_rng(seed))
        assert set(parse(text)) == {("face", -1), ("speech", -1)} and "neutral" in text


def test_other_cues_give_another_text_and_the_order_varies() -> None:
    rng = np.random.default_rng(0)
    told: dict[str, frozenset] = {}
    for _ in range(500):
        cues = some_cues(rng)
        text, claims = explain(cues, "sad", rng), frozenset(cues.worth_saying(least=LEAST - len(cues.absent)))
        assert told.setdefault(text, claims) == claims
    cues = Cues(True, True, {"mouth_opening": 0.9, "pitch_hz": 0.85, "level_dbfs": -0.8})
    assert len({parse(explain(cues, "sad", np.random.default_rng(seed))) for seed in range(40)}) >= 3


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return train_tokenizer(corpus(np.random.default_rng(2), 300), 700)


def test_paragraphs_are_short_in_tokens(tokenizer: object) -> None:
    rng = np.random.default_rng(3)
    counts = [len(tokenizer.encode(explain(some_cues(rng), str(rng.choice(LABELS)), rng)).ids) for _ in range(300)]  # type: ignore[attr-defined]
    assert np.median(counts) <= 50 and max(counts) <= 80


def test_what_is_said_never_changes_the_answer_of_a_sample(tokenizer: object) -> None:
    target = torch.eye(7)[2]
    for seed in range(200):
        cues = some_cues(np.random.default_rng((1, seed)))
        for task in ("reason", "emotion", "face", "voice"):
            silent, spoken = (sample_of(tokenizer, cues, target, task, np.random.default_rng(seed), share) for share in (0.0, 1.0))  # type: ignore[arg-type]
            assert silent.answer == spoken.answer and silent.before == spoken.before
            # As at run time, only the question why comes with a transcript.
            assert (silent.after == spoken.after) == (task != "reason")


def test_transcripts_are_of_every_kind_and_come_through_the_cleaning() -> None:
    said = [some_transcript(np.random.default_rng(seed)) for seed in range(400)]
    assert all(clean_text(text, 400) == text for text in said)
    assert sum(any(label in text for label in LABELS) for text in said) > 80
    assert len(set(said)) > 200


def test_a_sheet_holds_every_rank_once_in_figures() -> None:
    cues = Cues(True, True, {"brow_height": -1.0, "lip_corners": 0.0, "pitch_hz": 1.0})
    assert sheet(cues) == "brows 1 corners 5 pitch 9" and sheet(Cues(False, False)) == "nothing"
    assert set(SHEET) == set(FACE_CUES + VOICE_CUES) and len(set(SHEET.values())) == len(SHEET)
