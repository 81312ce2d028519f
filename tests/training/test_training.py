"""Training draws what it says it draws, and reports what scikit-learn would."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
soundfile = pytest.importorskip("soundfile")
pytest.importorskip("skimage")

from ros2_emollama.model.presets import LABELS, TINY  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.compose import ViewOptions, compose  # noqa: E402
from training.data import Faces, Voices, prepare_faces, prepare_voices  # noqa: E402
from training.evaluate import RowError, read_manifest  # noqa: E402
from training.locate import overlap, targets_of  # noqa: E402
from training.scores import bootstrap_uar, report_of  # noqa: E402
from training.sounds import heard  # noqa: E402

FACES = np.random.default_rng(0).integers(0, 256, (6, 48, 48), dtype=np.uint8)


def test_views_depend_on_the_seed_alone_and_nobody_is_nobody() -> None:
    first, second = (compose(FACES, np.random.default_rng(4), 128) for _ in range(2))
    np.testing.assert_array_equal(first.picture, second.picture)
    assert first.picture.shape == (128, 128) and 0 <= first.picture.min() <= first.picture.max() <= 1
    options = ViewOptions(nobody=1.0)
    assert all(len(compose(FACES, np.random.default_rng(i), 64, options).boxes) == 0 for i in range(20))


def test_faces_lie_inside_the_view() -> None:
    for seed in range(40):
        for x, y, height in compose(FACES, np.random.default_rng(seed), 64, ViewOptions(nobody=0.0)).boxes:
            assert 0 < x < 1 and 0 < y < 1 and 0.05 < height <= ViewOptions().max_height


def test_the_target_of_a_face_is_its_cell_with_its_box() -> None:
    view = compose(FACES, np.random.default_rng(1), 64, ViewOptions(nobody=0.0, second_face=0.0))
    heat, box, asked = targets_of([view], 16)
    x, y, height = view.boxes[0]
    row, column = int(y * 16), int(x * 16)
    assert heat[0, 0, row, column] == 1.0 and asked[0, 0, row, column] == 1.0
    expected = [x * 16 - column - 0.5, y * 16 - row - 0.5, np.log2(height)]
    np.testing.assert_allclose(box[0, :, row, column].numpy(), expected, atol=1e-5)
    assert overlap(np.array([0.5, 0.5, 0.2]), np.array([0.6, 0.5, 0.2])) == pytest.approx(1 / 3)


def test_a_window_without_a_voice_marks_no_speech_and_one_with_it_does() -> None:
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 180 * np.arange(32000) / 16000).astype(np.float32)
    silent = [heard(None, TINY.audio, 4.0, rng) for _ in range(10)]
    spoken = [heard(tone, TINY.audio, 4.0, rng) for _ in range(10)]
    assert all(sound.samples.shape == (64000,) and np.abs(sound.samples).max() <= 1.0 for sound in silent + spoken)
    assert all(sound.active.sum() == 0 for sound in silent)
    assert 8 <= max(sound.active.sum() for sound in spoken) <= 40
    late = [sound for sound in silent + spoken if sound.mask.min() == 0]
    assert late and all(np.abs(sound.samples[: 1000 * int((1 - sound.mask).sum())]).max() == 0 for sound in late)
    assert all((sound.active <= sound.mask).all() for sound in spoken)


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def write_tar(path: Path, files: dict[str, bytes], rows: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["path", "label7", "speaker", "split"])
    writer.writeheader()
    writer.writerows(rows)
    with tarfile.open(path, "w") as tar:
        add(tar, "index.csv", text.getvalue().encode())
        for name, content in files.items():
            add(tar, name, content)


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    picture = cv2.imencode(".png", FACES[0])[1].tobytes()
    sound = io.BytesIO()
    soundfile.write(sound, np.linspace(-0.5, 0.5, 800, dtype=np.float32), 16000, format="FLAC")
    for name in ("face_fer2013", "face_muxspace"):
        rows = [
            {"path": "a.png", "label7": "happy", "speaker": "", "split": "train"},
            {"path": "bad.png", "label7": "sad", "speaker": "", "split": "val"},
        ]
        write_tar(data / f"{name}.tar", {"a.png": picture, "bad.png": b"not a picture"}, rows)
    for name in ("speech_ravdess", "speech_nemo", "speech_emodb"):
        rows = [
            {"path": "v.flac", "label7": "angry", "speaker": "s1", "split": "val"},
            {"path": "w.flac", "label7": "", "speaker": "s2", "split": "val"},
        ]
        write_tar(data / f"{name}.tar", {"v.flac": sound.getvalue(), "w.flac": sound.getvalue()}, rows)
    return data


def test_the_cache_holds_what_the_tars_hold_and_leaves_out_what_does_not_decode(tars: Path, tmp_path: Path) -> None:
    assert prepare_faces(tars, tmp_path) == 2 and prepare_voices(tars, tmp_path) == 6
    faces, voices = Faces(tmp_path), Voices(tmp_path)
    np.testing.assert_array_equal(faces.pictures[0], FACES[0])
    assert list(faces.where("train", "face_fer2013")) == [0] and list(faces.where("val")) == []
    assert list(voices.where("val")) == [0, 2, 4]
    np.testing.assert_allclose(voices.voice(4), np.linspace(-0.5, 0.5, 800), atol=1e-4)


def test_a_manifest_is_unpacked_for_evaluation(tars: Path, tmp_path: Path) -> None:
    output = tmp_path / "ravdess"
    assert main(["manifest", "--data", str(tars), "--set", "speech_ravdess", "--output", str(output)]) == 0
    items, problems = read_manifest(output / "manifest.csv", LABELS, strict=True)
    assert [(item.label, item.speaker) for item in items] == [("angry", "s1")] and problems == []
    assert main(["manifest", "--data", str(tars), "--set", "speech_ravdess", "--split", "test", "--output", str(output)]) == 2
    assert main(["manifest", "--data", str(tmp_path), "--set", "speech_ravdess", "--output", str(output)]) == 2


def test_a_margin_puts_grey_around_pictures_and_nothing_else(tars: Path, tmp_path: Path) -> None:
    output, ask = tmp_path / "faces", ["manifest", "--data", str(tars), "--margin", "0.5"]
    assert main([*ask, "--set", "face_muxspace", "--split", "train", "--output", str(output)]) == 0
    picture = cv2.imread(str(output / "a.png"), cv2.IMREAD_GRAYSCALE)
    assert picture.shape == (96, 96) and (picture[:24] == 127).all()
    np.testing.assert_array_equal(picture[24:72, 24:72], FACES[0])
    assert main([*ask, "--set", "speech_ravdess", "--output", str(output)]) == 2


def test_unusable_rows_are_named_and_counted_or_fatal(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    table = tmp_path / "m.csv"
    table.write_text("image,audio,video,label,speaker\na.jpg,,,happy,\nb.jpg,,,happy,\na.jpg,,,bored,\n,,,sad,\n")
    items, problems = read_manifest(table, LABELS, strict=False)
    assert len(items) == 1
    assert [problem.split(": ", 1)[0].rsplit(":", 1)[1] for problem in problems] == ["3", "4", "5"]
    assert "'bored' is not one of neutral" in problems[1]
    with pytest.raises(RowError, match=r"m\.csv:3"):
        read_manifest(table, LABELS, strict=True)
    with pytest.raises(FileNotFoundError, match="no manifest"):
        read_manifest(tmp_path / "none.csv", LABELS, strict=False)


def test_the_report_agrees_with_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(7), 200)
    truth = [LABELS[i] for i in rng.integers(0, 6, 200)]  # the seventh label never occurs
    report = report_of(probabilities, truth, [""] * 200, LABELS)
    said = [LABELS[i] for i in probabilities.argmax(1)]
    assert report["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said))
    assert report["uar"] == pytest.approx(metrics.recall_score(truth, said, labels=LABELS[:6], average="macro"))
    assert report["confusion"] == metrics.confusion_matrix(truth, said, labels=LABELS).tolist()
    assert report["nll"] == pytest.approx(metrics.log_loss(truth, probabilities[:, np.argsort(LABELS)], labels=sorted(LABELS)))


def test_the_interval_is_over_speakers_where_there_are_several() -> None:
    true, said = np.array([0, 0, 1, 1] * 10), np.array([0, 1, 1, 1] * 10)
    low, high = bootstrap_uar(true, said, [""] * 40)
    assert low < 0.75 < high and high - low < 0.4
    certain = bootstrap_uar(true, said, ["a"] * 20 + ["b"] * 20)
    assert certain == [pytest.approx(0.75)] * 2  # both speakers are alike, so nothing varies


def test_stages_side_by_side_say_which_of_them_failed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "fit",
        "--recipe",
        "tiny",
        "--data",
        str(tmp_path),
        "--cache",
        str(tmp_path),
        "--run",
        str(tmp_path / "run"),
        "--threads",
        "2",
    ]
    assert main(arguments) == 2
    said = capfd.readouterr().err
    assert "training face, voice and locate failed" in said and said.count("python -m training prepare") == 2
