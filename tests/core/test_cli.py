"""The command line: the same windows and pipeline as the node; every failure says why and what to do."""

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ros2_emollama import analysis, cli, pipeline
from ros2_emollama.config import Config
from ros2_emollama.types import EmotionState, Explanation, Percept, Window
from ros2_emollama.windows import WindowSpec
from tests.core.clips import write_clip


class BrightnessPipeline:
    """Sees brightness only: bright is happy, dark is sad, nothing is neutral."""

    window_spec = WindowSpec()

    def __init__(self, config: Config) -> None:
        self.config = config

    def describe(self) -> str:
        return "brightness"

    def perceive(self, window: Window) -> Percept:
        pictures = [entry.frame.pixels for entry in window.frames if entry]
        bright = float(np.mean(pictures[-1]) / 255) if pictures else 0.0
        heard = bool(window.audio_seen.any())
        seen = tuple(name for name, there in (("video", bool(pictures)), ("audio", heard)) if there)
        state = EmotionState(
            window.start_ns,
            window.end_ns,
            window.newest_frame_ns,
            ("neutral", "happy", "sad"),
            (0.2, bright, 0.8 - bright),
            float(bool(pictures)),
            float(heard),
            seen,
            float("nan"),
            float("nan"),
            window.dropped,
            {},
            "brightness",
            "none",
        )
        return Percept(state, np.zeros((1, 1), np.float32))

    def explain(self, percept: Percept, label: str = "", **_: object) -> Explanation:
        assert self.config.reasoner.enabled
        return Explanation(percept.state, f" it looks {label}, “really” ", True, "stop", 3, 0.1, 0.2)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(pipeline.Pipeline, "load", classmethod(lambda cls, config: BrightnessPipeline(config)))

    def command(*arguments: object) -> tuple[int, str, str]:
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


def test_jsonl_gives_one_record_a_hop(run: Any, tmp_path: Path) -> None:
    status, out, err = run("analyze", write_clip(tmp_path / "clip.mp4"), "--format", "jsonl")
    records = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [record["time_seconds"] for record in records] == [k * 0.25 for k in range(1, 9)]
    assert set(records[0]) == {"time_seconds", "label", "confidence", "probabilities", "face", "speech", "modalities"}
    assert records[0]["label"] == max(records[0]["probabilities"], key=records[0]["probabilities"].get)
    assert records[3]["modalities"] == ["video", "audio"] and "8 records, 0 explanations" in err


def test_explanations_come_only_when_asked_for(run: Any, tmp_path: Path) -> None:
    status, out, _ = run("analyze", write_clip(tmp_path / "clip.mp4"), "--format", "jsonl", "--explain", "--labels.dwell_seconds", "0.0")
    explained = [record for record in map(json.loads, out.splitlines()) if "explanation" in record]
    assert status == 0 and explained[0]["time_seconds"] == 0.25 and explained[0]["explanation"].startswith("it looks")


def test_csv_has_a_column_a_field(run: Any, tmp_path: Path) -> None:
    _, out, _ = run("analyze", write_clip(tmp_path / "clip.mp4"), "--format", "csv", "--explain")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 8 and rows[0]["modalities"] == "video+audio" and rows[0]["explanation"].endswith("“really”")
    total = sum(float(rows[3][f"probability_{label}"]) for label in ("neutral", "happy", "sad"))
    assert total == pytest.approx(1.0, abs=1e-5)


def test_a_clip_without_sound_is_labelled_by_its_pictures(run: Any, tmp_path: Path) -> None:
    status, out, err = run("analyze", write_clip(tmp_path / "clip.mp4", audio=False))
    assert status == 0 and len(out.splitlines()) == 1 + 7 and out.splitlines()[1].endswith("  video")
    assert "pictures, no sound" in err


def test_parameters_are_the_nodes_own(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "p.yaml"
    given.write_text("perception: {ros__parameters: {model: {path: other}, labels: {margin: 0.3}}}")
    seen: list[Config] = []
    pytest.MonkeyPatch().setattr(
        pipeline.Pipeline, "load", classmethod(lambda cls, config: seen.append(config) or BrightnessPipeline(config))
    )
    run("analyze", write_clip(tmp_path / "clip.mp4"), "--params-file", given, "--model.threads", "2")
    assert seen[0].model.path == "other" and seen[0].model.threads == 2 and seen[0].labels.margin == 0.3 and not seen[0].reasoner.enabled


def test_an_output_file_appears_only_when_it_is_whole(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    assert run("analyze", clip, "--format", "csv", "--output", tmp_path / "out.csv")[:2] == (0, "")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 9

    def stop(*_: object) -> None:
        raise OSError("disk full; make room")

    monkeypatch.setattr(BrightnessPipeline, "perceive", stop)
    status, _, err = run("analyze", clip, "--output", tmp_path / "second.csv")
    assert status == 1 and err.splitlines()[-1] == "emollama: error: disk full; make room"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.csv"]


def test_drops_are_reported(run: Any, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", seconds=4.0)
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, len(content) // 2, 97):
        content[place] ^= 0xFF
    path.write_bytes(content)
    _, _, err = run("analyze", path)
    assert "damaged_packets" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "no/such.mp4"], "no such file: no/such.mp4"),
        (["info", "--model", "nanno"], "no model 'nanno'"),
    ],
)
def test_failures_end_with_a_line_that_says_why(run: Any, arguments: list[str], message: str) -> None:
    status, out, err = run(*arguments)
    assert status == 1 and out == "" and message in err.splitlines()[-1] and err.startswith("emollama: error: ")


def test_a_value_out_of_range_is_refused_by_name(run: Any, tmp_path: Path) -> None:
    status, _, err = run("analyze", write_clip(tmp_path / "clip.mp4"), "--window.hop_ticks", "99")
    assert status == 1 and "window.hop_ticks must be in [1, 16], got 99" in err


def test_doctor_finds_what_is_there_and_what_is_not(run: Any) -> None:
    status, out, _ = run("doctor", "--model", "no-such-model")
    grades = {line.split()[1]: line.split()[0] for line in out.splitlines()}
    assert status == 1 and grades["numpy"] == grades["onnxruntime"] == "ok" and grades["model"] == "problem"


def test_help_is_quick_because_it_loads_no_runtime() -> None:
    code = "import sys; from ros2_emollama.cli import _parser; _parser(); print([m for m in sys.argv[1:] if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code, "av", "cv2", "onnxruntime", "torch"], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_the_formats_offered_are_those_written() -> None:
    assert cli.FORMATS == analysis.FORMATS


def test_a_clip_is_analyzed_by_a_real_model_folder(capfd: pytest.CaptureFixture[str], tmp_path: Path, tiny_model_folder: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    status = cli.main(["analyze", str(clip), "--model", str(tiny_model_folder), "--format", "jsonl", "--explain"])
    records = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert status == 0 and len(records) == 8 and "explanation" in records[0]
    assert sum(records[-1]["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)


def test_an_altered_model_file_is_named_by_doctor_and_analyze(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, tiny_model_folder: Path
) -> None:
    altered = Path(shutil.copytree(tiny_model_folder, tmp_path / "altered"))
    graph = next(altered.glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    assert (
        cli.main(["doctor", "--model", str(altered)])
        == cli.main(["analyze", str(write_clip(tmp_path / "a.mp4")), "--model", str(altered)])
        == 1
    )
    out, err = capfd.readouterr()
    assert graph.name in out.splitlines()[-1] and graph.name in err.splitlines()[-1] and "restore it" in err


def test_info_and_models_tell_what_a_folder_holds(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["info", "--model", str(tiny_model_folder)]) == 0
    assert "labels" in (out := capfd.readouterr().out) and "frame_encoder" in out and "onnxruntime" in out
    prefix = tmp_path / "share" / "emollama" / "models"
    shutil.copytree(tiny_model_folder, prefix / "tiny")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert cli.main(["models"]) == 0 and str(prefix / "tiny") in capfd.readouterr().out
