"""People check a sample of every label, and how far they agree is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx2")
pytest.importorskip("parselmouth")
pytest.importorskip("soundfile")


from training.__main__ import main
from training.annotation.agents import Finding
from training.annotation.agreement import agreement_of, markdown, read_sheets
from training.annotation.sheet import ASPECTS, sample_of, sheet_html
from training.problems import Problems


def an_item(name: str, label: str, text: str = "Because.", fabricated: bool = False) -> dict[str, Any]:
    finding = vars(Finding("ok", text, "m"))
    return {
        "video_id": name,
        "label": label,
        "transcript": text,
        "expression": {},
        "video": "/films/a b.mp4",
        "findings": {"reasoning": finding},
        "provenance": {"fabricated": fabricated},
    }


def test_a_sample_has_every_label_and_a_page_runs_no_foreign_word(tmp_path: Path) -> None:
    items = [an_item(f"h{i}", "happy") for i in range(95)] + [an_item(f"s{i}", "shy") for i in range(5)] + [an_item("n", "sad", "")]
    chosen = sample_of(items, 10, seed=1)
    assert Counter(item["label"] for item in chosen) == {"happy": 5, "shy": 5} and chosen == sample_of(items, 10, seed=1)
    assert len(sample_of(items, 500, 0)) == 100
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    page = sheet_html([an_item(evil, evil, evil)], tmp_path)
    assert page.count("<script>") == 1 and page.count("</script>") == 1 and "<img" not in page and "a%20b.mp4" in page
    assert "http" not in page.replace("http-equiv", "") and "FABRICATED" not in page
    assert "FABRICATED DATA" in sheet_html([an_item("a", "b", fabricated=True)], tmp_path)


def a_sheet(path: Path, checker: str, answers: Mapping[str, str]) -> Path:
    rows = [",".join((checker, clip, *answers[clip].split())) for clip in answers]
    path.write_text("checker,video_id," + ",".join(ASPECTS) + "\n" + "\n".join(rows) + "\n")
    return path


def test_agreement_is_the_share_of_yes_and_kappa_that_of_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ann = a_sheet(tmp_path / "ann.csv", "ann", {"a": "yes yes yes yes yes", "b": "no yes yes yes no", "c": "YES yes no - maybe"})
    bob = a_sheet(tmp_path / "bob.csv", "bob", {"a": "yes yes yes yes no", "b": "no yes yes yes no", "d": "no yes yes yes yes"})
    problems = Problems()
    report = agreement_of(read_sheets([ann, bob], problems))
    assert report["checkers"] == 2 and report["clips"] == 4
    audio, visual, inference = (report["aspects"][name] for name in ("audio", "visual", "inference"))
    assert audio["agreement"] == pytest.approx(3 / 6) and audio["kappa"] == pytest.approx(1.0) and audio["answers"] == 6
    assert visual["agreement"] == 1.0 and visual["kappa"] == 1.0 and visual["interval_95"][0] < 0.7
    assert inference["agreement"] == pytest.approx(2 / 5) and inference["kappa"] == pytest.approx(0.0)
    assert problems.counts["neither yes nor no"] == 2 and "ann.csv:4" in problems.told[0]
    assert "| audio | 0.50 |" in markdown(report) and "| 0.94 |" in markdown(report)
    assert main(["agreement", str(ann), str(bob), "--json", str(tmp_path / "r.json")]) == 0 and "kappa" in capsys.readouterr().out
    assert main(["agreement", str(ann), "--strict"]) == 2 and "ann.csv:4" in capsys.readouterr().err
    assert main(["agreement", str(tmp_path / "none.csv")]) == 2 and "sheet" in capsys.readouterr().err
