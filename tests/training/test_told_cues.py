"""What a model's tokens tell is learned from training alone, and the check knows true texts from shuffled ones."""

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
from ros2_emollama.reasoner.prompt import names_label  # noqa: E402
from tests.training.measured_people import a_cache, norms  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.bank import FaceBank, SceneBank, VoiceBank  # noqa: E402
from training.check import Told, report_of, summary  # noqa: E402
from training.cues import Cues  # noqa: E402
from training.face_measures import (  # noqa: E402
    FACE_MEASURES,
)
from training.language import some_cues  # noqa: E402
from training.readout import measured_ranks, told_ranks  # noqa: E402
from training.sentences import explain  # noqa: E402
from training.voice_measures import VOICE_MEASURES  # noqa: E402
from training.windows_of import WindowMaker  # noqa: E402


def one_of_each_label() -> WindowMaker:
    """A face and a voice of each label, whose measures are its number over six; a view with somebody, one without."""
    labels = np.arange(7)
    faces = FaceBank(np.zeros((7, 1, 4, 8), np.float16), labels, np.repeat(labels[:, None] / 6, len(FACE_MEASURES), 1).astype(np.float32))
    heard = np.repeat(np.r_[labels / 6, np.nan][:, None], len(VOICE_MEASURES), 1).astype(np.float32)
    voices = VoiceBank(np.zeros((8, 64, 8), np.float16), np.ones((8, 64), np.float32), np.r_[labels, -1], heard)
    boxes = np.array([[0.9, 0.9, 0.5, 0.9], [0.1, 0.5, 0.5, 0.5]], np.float32)
    scenes = SceneBank(
        np.zeros((2, 16, 8), np.float16), np.zeros((2, 8), np.float16), boxes, np.zeros((2, 4, 8), np.float16), np.array([True, False])
    )
    ranks = tuple(measured_ranks(norms(), names, bank.measures) for names, bank in ((FACE_MEASURES, faces), (VOICE_MEASURES, voices)))
    return WindowMaker(faces, voices, scenes, ranks)


def test_windows_carry_the_cues_of_the_face_and_the_voice_they_were_made_of() -> None:
    rng, maker = np.random.default_rng(0), one_of_each_label()
    for kind, face, speech in (("both", True, True), ("face", True, False), ("voice", False, True), ("nobody", False, False)):
        batch = maker.batch(rng, 12, {kind: 1.0})
        assert all(cues.face == face and cues.speech == speech for cues in batch.cues)
        for cues, target in zip(batch.cues, batch.targets, strict=True):
            expected = norms()["pitch_hz"].rank(int(target.argmax()) / 6)
            assert not face or cues.ranks["brow_height"] == pytest.approx(expected, abs=0.03)
            assert not speech or cues.ranks["pitch_hz"] == pytest.approx(expected, abs=0.03)
            assert not face or cues.holds(("face_size", 1))


def test_a_misread_face_or_voice_is_of_another_label_than_its_window() -> None:
    maker, pitch = one_of_each_label(), norms()["pitch_hz"]
    for misread in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.2)):
        batch = maker.batch(np.random.default_rng(1), 300, {"both": 1.0}, misread)
        own = np.array([pitch.rank(int(label) / 6) for label in batch.targets.argmax(1)])
        for share, name in zip(misread, ("brow_height", "pitch_hz"), strict=True):
            drawn = np.array([cues.ranks[name] for cues in batch.cues])
            assert np.mean(np.abs(drawn - own) > 0.03) == pytest.approx(share, abs=0.1)


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
    assert names_label("The person seems sad.", "sad", LABELS) and not names_label("Sad, or happy?", "sad", LABELS)
    assert not names_label("", "sad", LABELS)


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
