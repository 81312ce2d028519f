"""Cues are measured, words are found again in texts, and what a person says changes no answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("parselmouth")
pytest.importorskip("soundfile")
pytest.importorskip("skimage")

from ros2_emollama.model.presets import LABELS  # noqa: E402
from ros2_emollama.reasoner.prompt import clean_text, train_tokenizer  # noqa: E402
from training import measures  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.bank import FaceBank, SceneBank, VoiceBank  # noqa: E402
from training.check import Told, names_label, report_of, summary  # noqa: E402
from training.cues import LEAST, MOST, Cues, cues_of  # noqa: E402
from training.data import Row, _write_rows  # noqa: E402
from training.face_measures import (  # noqa: E402
    FACE_MEASURES,
    LANDMARK_MODEL,
    LEFT_EYE,
    LOWER_LIP,
    MOUTH_CORNERS,
    NOSE_BASE,
    NOSE_BRIDGE,
    RIGHT_EYE,
    UPPER_LIP,
    Landmarks,
    measures_of,
)
from training.hearing import Heard  # noqa: E402
from training.language import corpus, sample_of, some_cues  # noqa: E402
from training.lexicon import FACE_CUES, PHRASES, VOICE_CUES, parse, without_claims  # noqa: E402
from training.measures import Norm, Norms  # noqa: E402
from training.paths import Paths  # noqa: E402
from training.readout import measured_ranks, told_ranks  # noqa: E402
from training.sentences import SHEET, describe_face, describe_voice, explain, sheet  # noqa: E402
from training.transcripts import some_transcript  # noqa: E402
from training.voice_measures import VOICE_MEASURES, measure_voice, speaking, speaking_level  # noqa: E402
from training.voices import Measured  # noqa: E402
from training.windows_of import WindowMaker  # noqa: E402

RATE = 16000


def voiced(seconds: float, hertz: float, jitter: float = 0.0, syllables: float = 0.0, seed: int = 0) -> np.ndarray:
    """A buzz of glottal pulses; `jitter` is the deviation of a period, `syllables` how often a second its loudness rises and falls."""
    rng, samples = np.random.default_rng(seed), np.zeros(round(seconds * RATE))
    place = 0.0
    while place < samples.size - 200:
        shape = np.exp(-np.arange(200) / 25) * np.sin(2 * np.pi * 700 * (np.arange(200) - place % 1) / RATE)
        samples[int(place) : int(place) + 200] += shape
        place += RATE / hertz * (1 + jitter * rng.standard_normal())
    if syllables:
        samples *= 0.05 + 0.95 * np.sin(np.pi * syllables * np.arange(samples.size) / RATE) ** 2
    return (0.2 * samples).astype(np.float32)


def measured(samples: np.ndarray) -> dict[str, float]:
    return dict(zip(VOICE_MEASURES, map(float, measure_voice(samples)), strict=True))


def test_the_pitch_and_the_level_of_a_tone_are_found() -> None:
    for hertz in (110.0, 230.0, 400.0):
        found = measured(voiced(1.5, hertz))
        assert found["pitch_hz"] == pytest.approx(hertz, rel=0.03)
        assert found["pitch_range_semitones"] < 1.0
    quiet, loud = measured(voiced(1.5, 150.0) * 0.1), measured(voiced(1.5, 150.0))
    assert loud["level_dbfs"] - quiet["level_dbfs"] == pytest.approx(20.0, abs=0.5)
    glide = np.sin(2 * np.pi * np.cumsum(np.linspace(120, 240, 2 * RATE)) / RATE).astype(np.float32) * 0.2
    assert measured(glide)["pitch_range_semitones"] == pytest.approx(12 * np.log2(228 / 132), abs=1.0)


def test_an_uneven_voice_has_more_jitter_and_is_rougher() -> None:
    even, uneven = measured(voiced(2.0, 140.0)), measured(voiced(2.0, 140.0, jitter=0.04))
    assert uneven["jitter"] > 0.02 > even["jitter"]
    assert uneven["hnr_db"] < even["hnr_db"] and uneven["roughness"] > even["roughness"]


def test_syllables_and_pauses_are_counted() -> None:
    slow, fast = measured(voiced(3.0, 150.0, syllables=2.0)), measured(voiced(3.0, 150.0, syllables=5.0))
    assert 1.5 < slow["rate_per_second"] < 3.2 and 4.0 < fast["rate_per_second"] < 6.0
    spoken, silence = voiced(1.0, 150.0), np.zeros(RATE // 2, np.float32)
    assert measured(spoken)["pause_share"] == 0.0
    broken = measured(np.concatenate([silence, spoken, silence, spoken, silence]))  # silence around a voice is no pause
    assert broken["pause_share"] == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.ones(100, np.float32),
        np.zeros(RATE, np.float32),
        np.full(RATE, np.nan, np.float32),
        (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32),
        np.eye(1, RATE, 8000, dtype=np.float32)[0],
    ],
    ids=["nothing", "short", "silence", "NaN", "noise", "click"],
)
def test_what_is_no_voice_has_no_pitch_and_breaks_nothing(samples: np.ndarray) -> None:
    assert measure_voice(samples).shape == (len(VOICE_MEASURES),)
    assert np.isnan(measured(samples)["pitch_hz"]) and np.isnan(measured(samples)["roughness"])


def a_face(open_by: float = 0.0, corners_up: float = 0.0) -> np.ndarray:
    points = np.zeros((468, 3))
    points[RIGHT_EYE[0]], points[RIGHT_EYE[1]], points[LEFT_EYE[1]], points[LEFT_EYE[0]] = (-50, 0, 0), (-20, 0, 0), (20, 0, 0), (50, 0, 0)
    points[NOSE_BRIDGE], points[NOSE_BASE] = (0, 0, -10), (0, 50, -10)
    points[UPPER_LIP], points[LOWER_LIP] = (0, 75, 0), (0, 75 + open_by, 0)
    points[MOUTH_CORNERS[0]], points[MOUTH_CORNERS[1]] = (-25, 75 - corners_up, 0), (25, 75 - corners_up, 0)
    return points


def test_measures_of_a_face_do_not_depend_on_size_place_or_turn() -> None:
    plain = dict(zip(FACE_MEASURES, measures_of(a_face()), strict=True))
    smiling = dict(zip(FACE_MEASURES, measures_of(a_face(open_by=20, corners_up=10)), strict=True))
    assert plain["mouth_opening"] == 0 and smiling["mouth_opening"] == pytest.approx(0.2)
    assert plain["lip_corners"] == pytest.approx(0) and smiling["lip_corners"] == pytest.approx(0.15)
    angle = 0.5
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    roll = np.array([[np.cos(0.2), -np.sin(0.2), 0], [np.sin(0.2), np.cos(0.2), 0], [0, 0, 1]])
    moved = 1.7 * a_face(20, 10) @ turn @ roll + np.array([30, -8, 2])
    np.testing.assert_allclose(measures_of(moved), measures_of(a_face(20, 10)), atol=1e-5)
    assert np.isnan(measures_of(np.zeros((468, 3)))).all()


def test_a_landmark_model_that_is_missing_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make landmarks"):
        Landmarks(tmp_path / "none.tflite")


@pytest.mark.skipif(not LANDMARK_MODEL.is_file(), reason="no landmarks; make landmarks")
def test_a_portrait_has_a_face_and_noise_has_none() -> None:
    pytest.importorskip("ai_edge_litert")
    import cv2
    import skimage.data

    landmarks = Landmarks()
    portrait = cv2.resize(
        cv2.cvtColor(skimage.data.astronaut()[30:210, 140:320], cv2.COLOR_RGB2GRAY), (48, 48), interpolation=cv2.INTER_AREA
    )
    found = dict(zip(FACE_MEASURES, landmarks.measure(portrait), strict=True))
    assert all(np.isfinite(value) for value in found.values()) and found["lip_corners"] > 0
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    assert np.isnan(landmarks.measure(noise)).all()


def test_ranks_follow_the_quantiles_and_equal_values_share_one() -> None:
    norm = Norm.of([*range(101), float("nan")])
    assert [norm.rank(value) for value in (-5.0, 50.0, 200.0)] == [-1.0, 0.0, 1.0]
    assert norm.rank(90.0) == pytest.approx(0.8, abs=0.02) and norm.z(50.0) == 0.0 and np.isnan(norm.rank(float("nan")))
    flat = Norm.of([0.0] * 80 + [1.0] * 20)
    assert flat.rank(0.0) == 0.0 and flat.rank(1.0) > 0.7  # at the median, neither side is true
    with pytest.raises(ValueError, match="at least one"):
        Norm.of([float("nan")])


def norms() -> Norms:
    names = [*FACE_MEASURES, *VOICE_MEASURES]
    return Norms({name: Norm.of(np.linspace(0, 1, 101)) for name in names})


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
        assert names_label(text, label) and len(text.split()) <= 60
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


def a_cache(cache: Path, split: str = "train") -> None:
    rng = np.random.default_rng(0)
    np.save(cache / "faces.npy", rng.integers(0, 256, (3, 48, 48), dtype=np.uint8))
    _write_rows(cache / "faces.json", [Row("face_fer2013", f"{i}.png", "sad", "", split) for i in range(3)])
    pieces = [(voiced(1.0, hertz) * 32767).astype(np.int16) for hertz in (120.0, 240.0, 360.0)]
    np.save(cache / "voices.npy", np.concatenate(pieces))
    np.save(cache / "voice_ends.npy", np.cumsum([piece.size for piece in pieces]))
    _write_rows(cache / "voices.json", [Row("speech_nemo", f"{i}.flac", "sad", "s", s) for i, s in enumerate(("train", "val", "train"))])


class StandIn:
    """Landmarks that tell a picture by its first pixel."""

    def __init__(self, model: Path) -> None:
        pass

    def measure(self, picture: np.ndarray) -> np.ndarray:
        return np.full(len(FACE_MEASURES), picture[0, 0], np.float32)


def test_measures_lie_in_the_order_of_the_rows_and_norms_are_those_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_cache(tmp_path)
    monkeypatch.setattr(measures, "Landmarks", StandIn)
    found = measures.prepare_measures(tmp_path)
    table = measures.read_measures(tmp_path, "voices")
    np.testing.assert_allclose(table[:, 0], [120, 240, 360], rtol=0.03)
    assert found["pitch_hz"].median == pytest.approx(240, rel=0.03) and found["pitch_hz"].knots[0] == pytest.approx(table[0, 0])
    np.testing.assert_array_equal(measures.read_measures(tmp_path, "faces")[:, 0], np.load(tmp_path / "faces.npy")[:, 0, 0])
    assert Norms.read(tmp_path) == found


def test_measuring_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_cache(tmp_path)
    monkeypatch.setattr(measures, "SAVE_EVERY", 1)
    asked: list[int] = []

    def measure(samples: np.ndarray) -> np.ndarray:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return measure_voice(samples)

    monkeypatch.setattr(measures, "measure_voice", measure)
    with pytest.raises(KeyboardInterrupt):
        measures.measure_voices(tmp_path)
    table = measures.measure_voices(tmp_path)
    assert len(asked) == 4 and table.shape == (3, len(VOICE_MEASURES)) and np.isfinite(table).all()
    measures.measure_voices(tmp_path)
    assert len(asked) == 4 and not list(tmp_path.glob("*part*"))


def test_the_level_is_that_of_the_speaking_part() -> None:
    samples = np.zeros(64000, np.float32)
    samples[:16000] = 0.1 * voiced(1.0, 150.0)
    active = (np.arange(64) < 16).astype(np.float32)
    assert speaking(samples).sum() == 16
    expected = 10 * np.log10(np.square(samples[:16000]).mean())
    assert speaking_level(samples, active) == pytest.approx(expected, abs=1e-3)
    assert np.isnan(speaking_level(samples, 0 * active)) and np.isnan(speaking_level(samples[:0], active[:0]))


def test_measures_are_those_of_the_window_as_it_was_played(tmp_path: Path) -> None:
    norms().write(tmp_path)
    table = np.tile(np.linspace(1, 2, len(VOICE_MEASURES), dtype=np.float32), (2, 1))
    np.save(tmp_path / "voice_measures.npy", table)
    active = torch.stack([(torch.arange(64) < count).float() for count in (16, 8)])
    level, pitch, pace = torch.tensor([-20.0, -30.0]), torch.tensor([1.1, 0.9]), torch.tensor([0.8, 1.2])
    windows = Heard(torch.zeros(2, 1, 1), active, torch.ones(2, 64), level, pitch, pace)
    found = Measured(Paths(tmp_path, tmp_path, tmp_path)).raw(np.array([0, 1]), windows).numpy()
    own = [dict(zip(VOICE_MEASURES, row, strict=True)) for row in found]
    assert own[0]["pitch_hz"] == pytest.approx(1.1 * table[0, 0]) and own[1]["level_dbfs"] == -30.0
    rate = VOICE_MEASURES.index("rate_per_second")
    assert own[0]["rate_per_second"] == pytest.approx(0.8 * table[0, rate])
    assert np.isnan(own[1]["rate_per_second"]) and np.isnan(own[1]["pause_share"])  # half a second is too little


def test_windows_carry_the_cues_of_the_face_and_the_voice_they_were_made_of() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(7)
    faces = FaceBank(np.zeros((7, 1, 4, 8), np.float16), labels, np.repeat(labels[:, None] / 6, len(FACE_MEASURES), 1).astype(np.float32))
    heard = np.repeat(np.r_[labels / 6, np.nan][:, None], len(VOICE_MEASURES), 1).astype(np.float32)
    voices = VoiceBank(np.zeros((8, 64, 8), np.float16), np.ones((8, 64), np.float32), np.r_[labels, -1], heard)
    boxes = np.array([[0.9, 0.9, 0.5, 0.9], [0.1, 0.5, 0.5, 0.5]], np.float32)
    scenes = SceneBank(
        np.zeros((2, 16, 8), np.float16), np.zeros((2, 8), np.float16), boxes, np.zeros((2, 4, 8), np.float16), np.array([True, False])
    )
    ranks = tuple(measured_ranks(norms(), names, bank.measures) for names, bank in ((FACE_MEASURES, faces), (VOICE_MEASURES, voices)))
    maker = WindowMaker(faces, voices, scenes, ranks)
    for kind, face, speech in (("both", True, True), ("face", True, False), ("voice", False, True), ("nobody", False, False)):
        batch = maker.batch(rng, 12, {kind: 1.0})
        assert all(cues.face == face and cues.speech == speech for cues in batch.cues)
        for cues, target in zip(batch.cues, batch.targets, strict=True):
            expected = norms()["pitch_hz"].rank(int(target.argmax()) / 6)
            assert not face or cues.ranks["brow_height"] == pytest.approx(expected, abs=0.03)
            assert not speech or cues.ranks["pitch_hz"] == pytest.approx(expected, abs=0.03)
            assert not face or cues.holds(("face_size", 1))


def test_what_tokens_tell_is_learned_from_train_and_what_was_not_measured_stays_unknown() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.uniform(0, 1, (400, len(FACE_MEASURES))).astype(np.float32)

    def bank(rows: slice) -> tuple[FaceBank, VoiceBank]:
        """Faces whose tokens hold all measures but the last; voices whose tokens hold nothing."""
        tokens = np.zeros((400, 2, 4, 8), np.float32)
        tokens[..., : hidden.shape[1] - 1] = hidden[:, None, None, :-1]
        measures = hidden.copy()
        measures[::10, 0] = np.nan
        nothing = rng.uniform(0, 1, (400, len(VOICE_MEASURES))).astype(np.float32)
        voices = VoiceBank(rng.normal(size=(400, 64, 8)).astype(np.float16), np.ones((400, 64), np.float32), np.zeros(400, int), nothing)
        faces = FaceBank(tokens.astype(np.float16), np.zeros(400, int), measures)
        return FaceBank(*(getattr(faces, name)[rows] for name in ("tokens", "labels", "measures"))), VoiceBank(
            *(getattr(voices, name)[rows] for name in ("tokens", "mask", "labels", "measures"))
        )

    train, held = bank(slice(0, 300)), bank(slice(300, 400))
    (_, _), (faces, voices) = told_ranks(train, held, norms())
    assert np.isnan(faces[::10, 0]).all() and np.isfinite(faces[1, 0])
    measured = measured_ranks(norms(), FACE_MEASURES, held[0].measures)
    known = np.isfinite(measured[:, 0])
    assert np.corrcoef(faces[known, 0], measured[known, 0])[0, 1] > 0.99
    assert np.abs(faces[:, -1]).max() < 0.4 and np.abs(voices).mean() < 0.4  # what is not in the tokens is not named


def test_a_sheet_holds_every_rank_once_in_figures() -> None:
    cues = Cues(True, True, {"brow_height": -1.0, "lip_corners": 0.0, "pitch_hz": 1.0})
    assert sheet(cues) == "brows 1 corners 5 pitch 9" and sheet(Cues(False, False)) == "nothing"
    assert set(SHEET) == set(FACE_CUES + VOICE_CUES) and len(set(SHEET.values())) == len(SHEET)


def test_the_check_tells_true_texts_from_shuffled_ones() -> None:
    rng = np.random.default_rng(0)
    told = []
    for _ in range(120):
        cues, label = some_cues(rng), str(rng.choice(LABELS))
        kind = {(True, True): "both", (True, False): "face", (False, True): "voice", (False, False): "nobody"}[cues.face, cues.speech]
        told.append(Told(kind, cues, label, explain(cues, label, rng)))
    report = report_of(told)
    for name in ("three_cues", "true", "own_text", "label_named"):
        assert report[name]["share"] > 0.97, name
    assert report["shuffled"]["share"] < 0.65 and report["shuffled_alike"]["share"] < 0.75
    assert report["strong_named"]["share"] > 0.7 and report["differing_pairs"] > 0.99
    low, high = report["shuffled"]["interval_95"]
    assert low < report["shuffled"]["share"] < high
    assert "raised" not in summary({"model": "m", **report}) and "brow_height +1" in summary({"model": "m", **report})
    blank = report_of([Told("both", Cues(True, True), "sad", "") for _ in range(3)])
    assert blank["three_cues"]["share"] == 0.0 and np.isnan(blank["true"]["share"]) and summary({"model": "m", **blank})
    assert names_label("The person seems sad.", "sad") and not names_label("Sad, or happy?", "sad") and not names_label("", "sad")


def test_the_check_runs_a_model_folder_and_writes_its_report(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_cache(tmp_path, split="val")
    norms().write(tmp_path)
    np.save(tmp_path / "face_measures.npy", np.full((3, len(FACE_MEASURES)), 0.9, np.float32))
    np.save(tmp_path / "voice_measures.npy", np.full((3, len(VOICE_MEASURES)), 0.9, np.float32))
    ask = ["check", "--model", str(tiny_model_folder), "--cache", str(tmp_path), "--output", str(tmp_path / "report.json")]
    assert main([*ask, "--windows", "6"]) == 0
    report = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert report["windows"] == 6 and sum(kind["windows"] for kind in report["kinds"].values()) == 6 and report["examples"]
    assert "cues an explanation" in capsys.readouterr().out
    assert main([*ask, "--windows", "0"]) == 2 and "--windows" in capsys.readouterr().err
