"""What is to be annotated is read from tables and indexes alike, and just its own part of a film is looked at and heard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("httpx2")
pytest.importorskip("parselmouth")
pytest.importorskip("soundfile")


from tests.core.clips import write_clip
from training.annotation.clips import AnnotationClip, read_clips
from training.annotation.evidence import read_evidence
from training.problems import Problems, StrictError


def test_clips_are_read_from_a_table_and_from_an_index_alike(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 0.5)
    table, index = tmp_path / "clips.csv", tmp_path / "clips.jsonl"
    table.write_text('video_id,video,label,transcript\na,a.mp4,sad,"one\ntwo, three"\n')
    media = {"root": str(tmp_path), "video": "a.mp4", "start_seconds": 0.1, "side": "left"}
    line = {"id": "a", "set": "meld", "media": media, "labels": {"sentiment": ["negative"], "emotion": ["joy"]}, "transcript": "x"}
    index.write_text(json.dumps({**line, "provenance": {"source": "fabricated", "file": "f", "row": 1}}) + "\n")
    (own,) = read_clips(table, Problems())
    assert own.label == "sad" and own.transcript == "one\ntwo, three" and own.video == tmp_path / "a.mp4" and not own.fabricated
    (clip,) = read_clips(index, Problems())
    assert clip.label == "joy" and clip.fabricated and clip.start_seconds == 0.1 and clip.side == "left"
    assert read_clips(index, Problems(), task="sentiment")[0].label == "negative"


def test_rows_that_cannot_be_used_are_named_with_file_and_row(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 0.5)
    table = tmp_path / "clips.csv"
    rows = [
        b"a,a.mp4,sad",
        b"a,a.mp4,sad",
        b",a.mp4,sad",
        b"b,gone.mp4,sad",
        b"c,,sad",
        b"d,a.mp4,\xff",
        b"e,a.mp4,NaN",
        b"f,a\x01.mp4,sad",
    ]
    table.write_bytes(b"video_id,video,label\n" + b"\n".join(rows) + b"\n")
    problems = Problems()
    assert [clip.video_id for clip in read_clips(table, problems)] == ["a", "e"]
    expected = {"double video_id": 1, "no video_id": 1, "missing media": 3, "not UTF-8": 1, "no label": 1}
    assert dict(problems.counts) == expected and f"{table}:5: missing media: b" in "\n".join(problems.told)
    with pytest.raises(StrictError, match=r"clips\.csv:3"):
        read_clips(table, Problems(strict=True))
    index = tmp_path / "clips.jsonl"
    index.write_bytes(b"{\n[1]\n{}\n" + b'{"id": 3, "media": {}}\n{"id": "x", "media": {"video": 7}}\n' + b"[" * 100_000)
    with pytest.raises(ValueError, match="no usable clip"):
        read_clips(index, problems := Problems())
    assert problems.counts["not a clip"] == 6
    for name, text in (("wrong.csv", "name,file\n"), ("empty.csv", "")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="must have the columns"):
            read_clips(tmp_path / name, Problems())
    with pytest.raises(FileNotFoundError, match="clip index"):
        read_clips(tmp_path / "none.csv", Problems())


def brightness(pixels: np.ndarray) -> int:
    """The frame's number, mod 20, that `write_clip` drew."""
    return round((float(pixels[:, 3 * pixels.shape[1] // 4 :].mean()) - 40) / 10)


def test_looks_are_numbered_as_a_player_counts_frames(tmp_path: Path) -> None:
    clip = AnnotationClip("a", write_clip(tmp_path / "a.mp4", 2.0))
    evidence = read_evidence(clip, wanted=33, looks=10)
    assert evidence.frames == 50 and 33 in [look.index for look in evidence.looks] and 10 <= len(evidence.looks) <= 12
    assert [brightness(look.pixels) for look in evidence.looks] == [look.index % 20 for look in evidence.looks]
    assert 33 in [look.index for look in evidence.some(4, peak=33)] and len(evidence.some(4, peak=33)) == 4
    assert evidence.samples.size == pytest.approx(32000, abs=2000) and evidence.has_sound


def test_a_part_and_a_half_of_a_film_are_all_that_is_seen_and_heard(tmp_path: Path) -> None:
    film = write_clip(tmp_path / "a.mp4", 2.0)
    part = read_evidence(AnnotationClip("a", film, start_seconds=0.4, end_seconds=1.2, side="right"))
    assert part.frames == 20 and part.looks[0].seconds == pytest.approx(0.0, abs=0.01)
    assert brightness(part.looks[0].pixels) == 10 and part.looks[0].pixels.shape == (48, 32, 3)
    assert part.samples.size == pytest.approx(0.8 * 16000, abs=1000)
    assert read_evidence(AnnotationClip("a", film, side="left")).looks[0].pixels.mean() < 8
    assert read_evidence(AnnotationClip("a", film, box=(60.0, 0.0, 100.0, 10.0))).looks[0].pixels.shape == (10, 4, 3)
    assert read_evidence(AnnotationClip("a", film, box=(500.0, 0.0, 9.0, 9.0))).looks[0].pixels.shape == (48, 64, 3)
    silent = read_evidence(AnnotationClip("a", write_clip(tmp_path / "silent.mp4", 0.5, audio=False)))
    assert silent.looks and not silent.has_sound
    heard = read_evidence(AnnotationClip("a", None, audio=write_clip(tmp_path / "a.flac", 0.5, video=False)))
    assert not heard.looks and heard.has_sound
    for start, end in ((1.0, 1.0), (5.0, 6.0), (float("nan"), 1.0)):
        with pytest.raises(RuntimeError, match=r"clips:1|a\.mp4"):
            read_evidence(AnnotationClip("a", film, start_seconds=start, end_seconds=end, where="clips:1"))
