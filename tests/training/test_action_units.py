"""The frame of the strongest expression is that of the label's own action units, and a table that has none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("httpx2")
pytest.importorskip("parselmouth")
pytest.importorskip("soundfile")


from tests.training.annotating import write_openface
from training.annotation.action_units import expression_of, read_units


def test_the_peak_is_that_of_the_labels_own_units(tmp_path: Path) -> None:
    table = read_units(write_openface(tmp_path / "of.csv"))
    surprise, happy, unlabelled = (expression_of(table, label) for label in ("Surprised", "joy", ""))
    assert surprise.peak_frame == 25 and surprise.peak_seconds == pytest.approx(1.0) and happy.peak_frame == 5
    assert list(surprise.active) == ["AU01 inner brow raiser", "AU02 outer brow raiser", "AU26 jaw drop", "AU05 upper lid raiser"]
    assert surprise.emotions == {"surprise": "moderate", "fear": "slight"} and unlabelled.peak_frame == 5
    lost = read_units(write_openface(tmp_path / "lost.csv", skip=frozenset({25})))
    assert expression_of(lost, "surprise").peak_frame in (24, 26)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"frame, AU01_r\n1, 2, 3\n", ":2: 3 cells"),
        (b"a,b\n1,2\n", "columns frame"),
        (b"", "columns frame"),
        (b"frame, success, AU01_r\n1, 0, 2\n2, 1, nan\n", "no face was tracked"),
        (b"\xff\xfe\x00", "no CSV of OpenFace"),
    ],
)
def test_a_csv_that_openface_did_not_write_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "of.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_units(path)
