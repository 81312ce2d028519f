"""Figures are what they are called, windows hold what is said of them, and a card says what its report says."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("skimage")
pytest.importorskip("scipy")

from ros2_emollama.model.folder import open_folder  # noqa: E402
from ros2_emollama.model.presets import LABELS  # noqa: E402
from ros2_emollama.windows import WindowSpec  # noqa: E402
from tests.conftest import REPOSITORY  # noqa: E402
from training import compose, probes, report, suite  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.card import CARD, FIGURES, REPORT, SECTIONS, end_marker, fill, marker  # noqa: E402
from training.probes import Sample, faces_in_scenes, nobody, overlap, pair_up, pairs, scene_with  # noqa: E402
from training.scores import brier_score, chance_calibration_error, crossfit, expected_calibration_error, report_of, restrict, share_interval  # noqa: E402

SPEC = WindowSpec()


def two_labels(*first: float) -> np.ndarray:
    return np.array([[p, 1 - p] for p in first])


def test_the_calibration_error_is_the_one_worked_out_by_hand() -> None:
    """0.9 twice, once right: |1/2 - 0.9|. 0.6 and 0.55 share the bin (8/15, 9/15], both right: |1 - 0.575|. Half the windows each."""
    probabilities, true = two_labels(0.9, 0.9, 0.6, 0.55), np.array([0, 1, 0, 0])
    assert expected_calibration_error(probabilities, true) == pytest.approx(0.5 * 0.4 + 0.5 * 0.425)
    assert expected_calibration_error(two_labels(1.0, 1.0), np.array([0, 0])) == 0.0
    assert expected_calibration_error(two_labels(1.0, 1.0), np.array([1, 1])) == 1.0


def test_brier_is_0_when_certain_and_right_and_2_when_certain_and_wrong() -> None:
    assert brier_score(two_labels(1.0), np.array([0])) == 0.0
    assert brier_score(two_labels(1.0), np.array([1])) == 2.0
    assert brier_score(two_labels(0.7), np.array([0])) == pytest.approx(0.3**2 + 0.3**2)


def test_cross_fitted_answers_are_tempered_by_other_people_alone() -> None:
    """Both speakers are right in three of four and say 0.99: fitted to the other one, each says about 0.75. A lone speaker's halves too."""
    probabilities, true = two_labels(*[0.99] * 16), np.array([0, 0, 0, 1] * 4)
    for names in (["x"] * 8 + ["y"] * 8, ["x"] * 16):
        tempered = crossfit(probabilities, true, names)
        assert (tempered.argmax(1) == probabilities.argmax(1)).all()
        assert expected_calibration_error(probabilities, true) > 0.2 and tempered[0, 0] == pytest.approx(0.75, abs=0.3)
    assert expected_calibration_error(crossfit(probabilities, true, ["x"] * 8 + ["y"] * 8), true) < 0.05
    # x's own truth has no say in how x's answers are tempered.
    other = np.concatenate([1 - true[:8], true[8:]])
    np.testing.assert_array_equal(
        crossfit(probabilities, other, ["x"] * 8 + ["y"] * 8)[:8], crossfit(probabilities, true, ["x"] * 8 + ["y"] * 8)[:8]
    )


def test_few_windows_look_uncalibrated_by_chance_alone() -> None:
    rng = np.random.default_rng(3)

    def calibrated(count: int) -> tuple[np.ndarray, np.ndarray]:
        first = rng.uniform(0.5, 1.0, count)
        return np.column_stack([first, 1 - first]), (rng.random(count) > first).astype(np.int64)

    few, many = chance_calibration_error(calibrated(100)[0]), chance_calibration_error(calibrated(10_000)[0])
    assert few > 0.06 and many < 0.015
    measured = np.mean([expected_calibration_error(*calibrated(100)) for _ in range(100)])
    assert measured == pytest.approx(few, abs=0.01)


def test_what_two_corpora_share_is_scored_alone() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.2, 0.7]])
    figures = report_of(probabilities, np.array([0, 1, 2]), None, ("a", "b", "c"), among=("a", "b"))
    assert figures["n"] == 2 and figures["recall"] == {"a": 1.0, "b": 0.0} and figures["uar"] == 0.5
    closed = restrict(probabilities, ("a", "b", "c"), ("a", "b"))
    np.testing.assert_allclose(closed[1], [0.4, 0.6, 0.0])
    assert report_of(closed, ["a", "b", "c"], None, ("a", "b", "c"), among=("a", "b"))["uar"] == 1.0
    with pytest.raises(ValueError, match="true label is one of c"):
        report_of(probabilities[:2], ["a", "b"], None, ("a", "b", "c"), among=("c",))
    with pytest.raises(ValueError, match="'d'; it must be one of a, b, c"):
        report_of(probabilities, ["a", "b", "d"], None, ("a", "b", "c"))


def test_an_interval_says_what_was_drawn_and_a_share_of_none_still_has_one() -> None:
    probabilities = two_labels(0.9, 0.2, 0.8, 0.1)
    assert report_of(probabilities, [0, 1, 0, 1], ["x", "x", "y", "z"], ("a", "b"))["interval_over"] == "3 speakers"
    assert report_of(probabilities, [0, 1, 0, 1], ["x"] * 4, ("a", "b"))["interval_over"] == "windows"
    low, high = share_interval(0, 100)
    assert low == 0.0 and 0.03 < high < 0.04


def faces(count: int = 14, side: int = 48) -> list[Sample]:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (count, side, side, 1), dtype=np.uint8)
    return [Sample(f"{i}.png", LABELS[i % 7], "", np.repeat(grey[i], 3, axis=2)) for i in range(count)]


def voices(count: int = 21) -> list[Sample]:
    rng = np.random.default_rng(1)
    return [Sample(f"{i}.flac", LABELS[i % 5], f"s{i % 2}", rng.uniform(-0.5, 0.5, 8000 + i).astype(np.float32)) for i in range(count)]


@pytest.mark.parametrize("height", [0.5, 0.25, 0.125])
def test_a_face_in_a_scene_is_where_it_is_said_and_nothing_else_is_changed(height: float) -> None:
    flat = [np.full((48, 48, 3), value, np.uint8) for value in (40, 220)]
    for seed in range(20):
        dark, light = (scene_with(face, height, np.random.default_rng(seed)) for face in flat)
        assert dark[1] == light[1] and dark[0].shape == (480, 640, 3)
        x, y, size = dark[1]
        half = size * 480 / 2
        left, top, right, bottom = (round(value) for value in (x * 640 - half, y * 480 - half, x * 640 + half, y * 480 + half))
        assert size == height and 0 <= left < right <= 640 and 0 <= top < bottom <= 480
        changed = np.argwhere((dark[0] != light[0]).any(axis=2))
        assert (changed >= (top, left)).all() and (changed < (bottom, right)).all()
        middle = (slice(top + round(half / 2), bottom - round(half / 2)), slice(left + round(half / 2), right - round(half / 2)))
        assert (dark[0][middle] == 40).all() and (light[0][middle] == 220).all()


def test_boxes_that_are_the_same_overlap_wholly_and_width_counts_as_width() -> None:
    assert overlap((0.5, 0.5, 0.25), (0.5, 0.5, 0.25), 4 / 3) == pytest.approx(1.0)
    aside = 0.125 * 3 / 4  # half a box to the side, as a share of the width
    assert overlap((0.5, 0.5, 0.25), (0.5 + aside, 0.5, 0.25), 4 / 3) == pytest.approx(1 / 3)
    assert overlap((0.5, 0.5, 0.1), (0.5, 0.5, 0.2), 4 / 3) == pytest.approx(0.25)
    assert overlap((0.2, 0.5, 0.1), (0.8, 0.5, 0.1), 4 / 3) == 0.0


def test_a_part_of_a_set_holds_the_same_windows_as_the_whole() -> None:
    scenes = faces_in_scenes(SPEC, faces(), 0.25, 3)
    assert scenes.some() == list(range(14)) and scenes.some(5) == [0, 2, 5, 8, 11] and len(scenes.some(99)) == 14
    first, again = scenes.make(5), scenes.make(5)
    np.testing.assert_array_equal(first.window.frames[0].frame.pixels, again.window.frames[0].frame.pixels)  # type: ignore[union-attr]
    assert first.box == again.box and first.box != scenes.make(6).box
    assert {id(entry.frame) for entry in first.window.frames if entry} == {id(first.window.frames[0].frame)}  # type: ignore[union-attr]


def test_pairs_are_of_one_label_evenly_and_the_same_each_time() -> None:
    chosen = pair_up(faces(), voices(), 100, 20)
    assert chosen == pair_up(faces(), voices(), 100, 20) != pair_up(faces(), voices(), 100, 21)
    labels = [faces()[face].label for face, _ in chosen]
    assert labels == [voices()[voice].label for _, voice in chosen]
    assert {labels.count(label) for label in LABELS[:5]} == {20} and len(chosen) == 100  # no voice has the last two
    with pytest.raises(ValueError, match="--data DIR"):
        pair_up(faces()[5:7], voices(), 10, 0)


def test_a_pair_without_a_stream_is_the_same_pair() -> None:
    streams = ((True, True), (True, False), (False, True))
    sets = [pairs(SPEC, faces(), voices(), 30, 0.5, 20, seen=seen, heard=heard) for seen, heard in streams]
    for index in (0, 7):
        both, face, voice = (made.make(index) for made in sets)
        assert both.label == face.label == voice.label and both.box == face.box and voice.box is None
        pictures = [probe.window.frames[0].frame.pixels for probe in (both, face)]  # type: ignore[union-attr]
        np.testing.assert_array_equal(*pictures)
        np.testing.assert_array_equal(both.window.samples, voice.window.samples)
        assert not face.window.audio_seen.any() and not any(voice.window.frames)
        assert both.speaker == voice.speaker != "" and face.speaker == ""


def test_nobody_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    views: list[compose.View] = []

    def watched(*arguments: object) -> compose.View:
        views.append(compose.compose(*arguments))  # type: ignore[arg-type]
        return views[-1]

    monkeypatch.setattr(probes, "compose", watched)
    made = [nobody(SPEC, faces(), 64, 40, 30).make(i) for i in range(40)]
    assert len(views) == 40 and all(len(view.boxes) == 0 for view in views)
    assert {probe.kind for probe in made} == set(probes.SOUND_KINDS)
    for probe in made:
        assert probe.label == "" and probe.box is None and all(probe.window.frames)
        assert probe.window.audio_seen.any() == (probe.kind != "no microphone")
        assert np.abs(probe.window.samples).max() <= 1.0 and probe.window.samples.any() == (probe.kind == "other sounds")


def write_tar(path: Path, samples: list[Sample]) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "label7", "speaker", "split"])
    writer.writerows([sample.path, sample.label, sample.speaker, "val"] for sample in samples)
    writer.writerows([["train.png", "happy", "", "train"], ["unlabelled.png", "", "", "val"]])
    with tarfile.open(path, "w") as tar:
        files = {"index.csv": text.getvalue().encode()}
        for sample in samples:
            if sample.path.endswith("png"):
                files[sample.path] = cv2.imencode(".png", sample.content)[1].tobytes()
            else:
                sound = io.BytesIO()
                soundfile.write(sound, sample.content, 16000, format="FLAC")
                files[sample.path] = sound.getvalue()
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    write_tar(data / "face_fer2013.tar", faces())
    for name in ("speech_ravdess", "speech_nemo", "speech_emodb"):
        write_tar(data / f"{name}.tar", voices())
    return data


def test_the_held_people_are_the_labelled_val_rows_and_go_in_at_their_own_size(tars: Path) -> None:
    held = probes.Held(tars)
    assert [face.label for face in held.faces] == [face.label for face in faces()]
    np.testing.assert_array_equal(held.faces[3].content, faces()[3].content)
    assert len(held.voices()) == 63 and len(held.voices("speech_emodb")) == 21
    np.testing.assert_allclose(held.voices("speech_nemo")[2].content, voices()[2].content, atol=1e-4)


def test_a_report_goes_on_where_it_stopped_and_refuses_another_models(
    some_model_folder: Path, tars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.json"
    ask = ["report", "--model", str(some_model_folder), "--data", str(tars), "--output", str(output), "--limit", "6"]
    assert main([*ask, "--only", "faces_half", "pairs", "nobody"]) == 0
    first = json.loads(output.read_text())
    assert list(first["evaluations"]) == ["faces_half", "pairs", "nobody"] and first["model"] == open_folder(some_model_folder).model_id
    assert str(tmp_path) not in output.read_text() and str(some_model_folder) not in output.read_text()
    assert all(figures["n"] == 6 and "--only " + name in figures["command"] for name, figures in first["evaluations"].items())

    shown = []
    monkeypatch.setattr(suite.Bench, "show", lambda bench, window: shown.append(window))
    assert main([*ask, "--only", "pairs", "nobody"]) == 0
    assert shown == [] and json.loads(output.read_text()) == first
    monkeypatch.undo()

    assert main([*ask, "--only", "faces_half", "clips"]) == 2  # there are none
    assert "no clips in" in capsys.readouterr().err and json.loads(output.read_text()) == first
    assert main([*ask, "--only", "pairs", "--again"]) == 0
    again = json.loads(output.read_text())["evaluations"]["pairs"]
    assert {**again, "seconds": 0} == {**first["evaluations"]["pairs"], "seconds": 0}
    assert main([*ask[:-1], "8", "--only", "faces_half"]) == 0
    assert json.loads(output.read_text())["evaluations"]["faces_half"]["n"] == 8  # more was asked than stood there

    output.write_text(json.dumps({**first, "model": "nano@of-yesterday"}))
    assert main(ask) == 2
    assert re.search(r"holds the figures of nano@of-yesterday.* delete it and measure anew", capsys.readouterr().err)
    output.write_text("{}")
    assert main(ask) == 2 and "is no report" in capsys.readouterr().err
    assert main([*ask, "--only", "faces_third"]) == 2


def test_less_than_asked_for_is_not_enough() -> None:
    assert report._covers({"limit": 0}, 0) and report._covers({"limit": 0}, 9) and report._covers({"limit": 9}, 9)
    assert not report._covers(None, 9) and not report._covers({"limit": 9}, 10) and not report._covers({"limit": 9}, 0)


def figures_of(count: int) -> dict[str, object]:
    rng = np.random.default_rng(0)
    scored = report_of(rng.dirichlet(np.ones(7), count), rng.integers(0, 7, count), None, LABELS)
    return {"about": "noise", "command": "none", "seed": 0, "limit": 0, **report.rounded(scored)}


def card_with(*names: str) -> str:
    parts = [f"Prose before {name}.\n\n{marker(name)}\nold figures\n{end_marker(name)}\n\nProse after it \\1." for name in names]
    return "# A card\n" + "\n".join(parts) + "\n"


def test_prose_around_the_markers_stays_and_what_is_between_is_new(some_model_folder: Path) -> None:
    folder, measured = open_folder(some_model_folder), {"evaluations": {"faces_full": figures_of(50)}}
    card = fill(card_with(*SECTIONS), folder, measured)
    assert "old figures" not in card and "| faces_full | noise | 50 |" in card and "Not measured: faces_half" in card
    assert fill(card, folder, measured) == card
    blank = re.compile("(<!-- measured: .*? -->\n).*?\n(<!-- end of)", re.DOTALL)
    assert blank.sub(r"\1old figures\n\2", card) == card_with(*SECTIONS)


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("# nothing\n", "no place for figures"),
        (card_with("weather"), "'weather', which is not measured"),
        (card_with("faces").replace(end_marker("faces"), ""), "and, below it"),
        (card_with("faces", "faces"), "once each"),
    ],
)
def test_a_card_whose_markers_are_wrong_is_refused(some_model_folder: Path, card: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fill(card, open_folder(some_model_folder), {"evaluations": {}})


def numbers_in(svg: Path) -> list[int]:
    """The counts written into a confusion matrix, by rows."""
    texts = [element.text or "" for element in ElementTree.parse(svg).iter() if element.tag.endswith("}text")]
    return [int(text) for text in texts if text.strip().isdigit()]


def test_a_picture_of_a_matrix_holds_its_counts_and_is_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from training.confusion import draw

    figures = figures_of(200)
    for name in ("one.svg", "two.svg"):
        draw(figures, "noise", tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert numbers_in(tmp_path / "one.svg") == [count for row in figures["confusion"] for count in row]  # type: ignore[attr-defined]


def test_the_shipped_card_and_pictures_say_what_the_report_says() -> None:
    root = REPOSITORY / "models" / "nano"
    if not (root / REPORT).is_file():
        pytest.skip("models/nano has no report.json; make it: python -m training report --help")
    folder = open_folder(root)
    kept = report.read_report(root / REPORT, folder)  # says how to measure anew where it is another model's
    card = (root / CARD).read_text(encoding="utf-8")
    assert fill(card, folder, kept) == card, "write it anew: python -m training card --model models/nano"
    shown = re.findall(rf"\({FIGURES}/(\w+)\.svg\)", card)
    assert sorted(path.stem for path in (root / FIGURES).iterdir()) == sorted(shown) != []
    for name in shown:
        rows = [row for row in kept["evaluations"][name]["confusion"] if sum(row)]
        assert numbers_in(root / FIGURES / f"{name}.svg") == [count for row in rows for count in row], name


def test_every_evaluation_has_a_place_in_the_card() -> None:
    assert {name.split("_")[0] for name in suite.EVALUATIONS} <= set(SECTIONS)
