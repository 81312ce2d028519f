"""Agents that need no server say what was measured, and nothing of who is not there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx2")
pytest.importorskip("parselmouth")
pytest.importorskip("soundfile")


from tests.core.clips import write_clip
from tests.training.annotating import some_clips
from training.__main__ import main
from training.annotation import measuring
from training.annotation.action_units import Expression
from training.annotation.agents import Case
from training.annotation.clips import AnnotationClip
from training.annotation.evidence import read_evidence
from training.annotation.job import measure_clips
from training.annotation.local_agents import LocalAgent, cues_at, expression_among, norms_among
from training.annotation.measuring import Measured, Measurer, face_of
from training.face_measures import FACE_MEASURES
from training.lexicon import parse
from training.problems import Problems
from training.voice_measures import VOICE_MEASURES


class StandIn:
    """Landmarks of a picture's brightness."""

    def __init__(self, model: Path) -> None:
        pass

    def measure(self, picture: np.ndarray) -> np.ndarray:
        return np.full(len(FACE_MEASURES), picture.mean(), np.float32)


class Here:
    """Senses that see a face right of the middle in every frame but those of a number, and hear somebody."""

    def __init__(self, absent: frozenset[int] = frozenset(), speaks: bool = True) -> None:
        self.absent, self.speaks, self.asked = absent, speaks, 0

    def faces(self, pictures: Any) -> list[tuple[float, float, float] | None]:
        found = [None if self.asked + i in self.absent else (0.75, 0.5, 0.5) for i in range(len(pictures))]
        self.asked += len(pictures)
        return found

    def speech(self, samples: np.ndarray) -> bool:
        return self.speaks


def test_measures_are_made_where_somebody_is_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "Landmarks", StandIn)
    clips, out = some_clips(tmp_path, 2), tmp_path / "out"
    out.mkdir()
    senses = Here(absent=frozenset({0, 2}))  # frame 1 is seen alone: a mistake
    found = measure_clips(clips, out, Measurer(senses), Problems())
    assert found["c0"].frames == tuple(range(3, 15)) and len(found["c1"].frames) == 15
    assert found["c0"].faces[0][0] == pytest.approx(40 + 30, abs=3) and found["c0"].voice[VOICE_MEASURES.index("level_dbfs")] is not None
    asked = senses.asked
    assert measure_clips(clips, out, Measurer(senses), Problems()) == found and senses.asked == asked
    longer = read_evidence(AnnotationClip("n", write_clip(tmp_path / "longer.mp4", 1.0)))
    nobody = Measurer(Here(absent=frozenset(range(2, 99)), speaks=False)).measure("n", longer)
    assert nobody == Measured("n")  # a face in two frames of twenty-five is none
    assert face_of(np.zeros((40, 60, 3), np.uint8), (0.0, 1.0, 0.5)).shape == (22, 22)


def made_up(count: int = 60) -> dict[str, Measured]:
    """Clip i lies at rank i of everything, and its third frame of three furthest out."""
    found = {}
    for i in range(count):
        value = i / (count - 1)
        rows = tuple((0.5 + (value - 0.5) * far,) * len(FACE_MEASURES) for far in (0.1, 0.5, 1.0))
        found[f"c{i}"] = Measured(f"c{i}", (3, 6, 9), (0.1, 0.2, 0.3), ((0.5, 0.5, 0.5),) * 3, rows, (value,) * len(VOICE_MEASURES))
    return found


def test_local_agents_say_what_was_measured_and_the_same_each_time() -> None:
    measured = made_up()
    norms = norms_among(measured.values())
    for i in (0, 59):
        clip = AnnotationClip(f"c{i}", None, label="worried")
        expression = expression_among(measured[clip.video_id], norms)
        assert expression.peak_frame == 9 and ("AU01/02 brow raiser" in expression.active) == (i == 59)
        case = Case(clip, None, expression)  # type: ignore[arg-type]
        cues = cues_at(measured[clip.video_id], norms, expression.peak_frame)
        for slot in ("visual", "audio", "reasoning"):
            finding = asyncio.run(LocalAgent(slot, measured, norms).find(case))
            assert finding == asyncio.run(LocalAgent(slot, measured, norms).find(case)) and finding.status == "ok"
            claims = parse(finding.text)
            assert claims and all(cues.holds(claim) for claim in claims)
        assert "worried" in finding.text
    angry = Case(AnnotationClip("c0", None, label="Anger"), None, Expression())  # type: ignore[arg-type]
    assert "angry" in asyncio.run(LocalAgent("reasoning", measured, norms).find(angry)).text


def test_local_agents_are_silent_of_who_is_not_there() -> None:
    measured = {"n": Measured("n"), **made_up()}
    norms = norms_among(measured.values())
    case = Case(AnnotationClip("n", None, label="sad"), None, expression_among(measured["n"], norms))  # type: ignore[arg-type]
    assert case.expression == Expression()
    found = {slot: asyncio.run(LocalAgent(slot, measured, norms).find(case)) for slot in ("visual", "audio", "reasoning")}
    assert found["visual"].status == found["audio"].status == "absent" and set(parse(found["reasoning"].text)) == {
        ("face", -1),
        ("speech", -1),
    }
    unlabelled = Case(AnnotationClip("c1", None), None, Expression())  # type: ignore[arg-type]
    assert asyncio.run(LocalAgent("reasoning", measured, norms).find(unlabelled)).status == "absent"
    assert asyncio.run(LocalAgent("visual", {}, norms).find(unlabelled)).status == "absent"


def test_the_command_measures_speaks_and_exports_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measuring, "Landmarks", StandIn)
    monkeypatch.setattr(measuring, "FolderSenses", lambda model: Here())
    write_clip(tmp_path / "film.mp4", 0.6)
    (tmp_path / "clips.csv").write_text("video_id,video,label\na,film.mp4,sad\nb,film.mp4,happy\nc,gone.mp4,sad\n")
    ask = ["annotate", "--clips", str(tmp_path / "clips.csv"), "--output", str(tmp_path / "out")]
    assert main([*ask, "--export", "own"]) == 0
    told = capsys.readouterr()
    assert "2 of 2 clips" in told.out and "clips.csv:4: missing media" in told.err and "--norms" in told.err
    assert (tmp_path / "out" / "own_AU_gpt.csv").is_file() and (tmp_path / "out" / "own_peak.json").is_file()
    assert main([*ask, "--strict"]) == 2 and "clips.csv:4" in capsys.readouterr().err
    assert main([*ask, "--reasoning", "gpt@https://example.invalid/v1", "--key-variable", "NO_SUCH_KEY"]) == 2
    assert "NO_SUCH_KEY" in capsys.readouterr().err
    page = tmp_path / "page" / "sheet.html"
    assert main(["sheet", "--annotations", str(tmp_path / "out"), "--output", str(page)]) == 0
    assert page.read_text().count("<article>") == 2 and "../film.mp4" in page.read_text()
    assert main(["sheet", "--annotations", str(tmp_path), "--output", str(page)]) == 2 and "annotate" in capsys.readouterr().err
