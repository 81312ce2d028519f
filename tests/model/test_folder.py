"""A model folder is used whole and unaltered, or refused with the file's name and the cure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ros2_emollama.model.folder import MANIFEST, Manifest, ModelFolderError, find_model, open_folder, write_manifest
from ros2_emollama.model.presets import TINY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    root.mkdir()
    (root / "fusion.onnx").write_bytes(b"graph")
    (root / "tokenizer.json").write_text("{}")
    write_manifest(root, Manifest("tiny", TINY, {"fusion": "fusion.onnx"}, {"tokenizer": "tokenizer.json"}, {}))
    return root


def change(root: Path, **values: object) -> None:
    content = json.loads((root / MANIFEST).read_text())
    (root / MANIFEST).write_text(json.dumps({**content, **values}))


def test_what_was_written_is_read_and_verified(folder: Path) -> None:
    model = open_folder(folder)
    model.verify()
    assert model.preset == TINY
    assert model.graph("fusion").read_bytes() == b"graph"


def test_an_altered_file_is_named(folder: Path) -> None:
    (folder / "fusion.onnx").write_bytes(b"grapf")
    with pytest.raises(ModelFolderError, match=r"fusion\.onnx is not the one in the manifest.*restore"):
        open_folder(folder).verify()


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "fusion.onnx").unlink()
    with pytest.raises(ModelFolderError, match=r"fusion\.onnx is missing"):
        open_folder(folder).verify()


def test_the_model_id_changes_with_any_file(folder: Path, tmp_path: Path) -> None:
    before = open_folder(folder).model_id
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "fusion.onnx").write_bytes(b"another graph")
    write_manifest(other, open_folder(folder).manifest)
    assert open_folder(other).model_id != before


def test_what_is_said_of_a_model_is_no_part_of_it(folder: Path) -> None:
    before = open_folder(folder).model_id
    (folder / "figures").mkdir()
    for name in ("MODEL_CARD.md", "report.json", "figures/faces.svg"):
        (folder / name).write_text("0.5")
    open_folder(folder).verify()
    write_manifest(folder, open_folder(folder).manifest)
    assert open_folder(folder).model_id == before


@pytest.mark.parametrize("name", ["../secrets.onnx", "/etc/passwd"])
def test_a_manifest_cannot_reach_outside_its_folder(folder: Path, name: str) -> None:
    change(folder, graphs={"fusion": name})
    with pytest.raises(ModelFolderError, match="outside its folder"):
        open_folder(folder)


def test_a_file_without_a_hash_is_refused(folder: Path) -> None:
    change(folder, graphs={"fusion": "unhashed.onnx"})
    with pytest.raises(ModelFolderError, match=r"gives no hash for unhashed\.onnx"):
        open_folder(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 99}', '{"format": 1, "name": 3, "preset": 4}', "\x00\xff"])
def test_a_broken_manifest_is_refused_by_name(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(ModelFolderError, match=r"manifest\.json"):
        open_folder(folder)


def test_an_unknown_graph_or_model_is_answered_with_what_there_is(folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="it has: fusion"):
        open_folder(folder).graph("scene_encoder")
    with pytest.raises(ModelFolderError, match="no model 'nanno'"):
        find_model("nanno")


@pytest.mark.parametrize(
    "values",
    [
        {"graphs": {"fusion": 3}},
        {"graphs": ["fusion.onnx"]},
        {"language": None},
        {"files": {"fusion.onnx": {}}},
        {"files": {"fusion.onnx": {"sha256": 7}}},
        {"graphs": {"fusion": "a\0b"}},
        {"graphs": {"fusion": "a" * 300}},
        {"preset": {**TINY.to_dict(), "audio": {**TINY.to_dict()["audio"], "hop_samples": 0}}},
        {"preset": {**TINY.to_dict(), "vision": {**TINY.to_dict()["vision"], "tokens_per_frame": 0}}},
        {"preset": {**TINY.to_dict(), "window_seconds": 1e300}},
        {"preset": {**TINY.to_dict(), "window_seconds": 0.0}},
        {"preset": {**TINY.to_dict(), "window_frames": True}},
        {"preset": {**TINY.to_dict(), "labels": "neutral"}},
        {"preset": {**TINY.to_dict(), "vision": {**TINY.to_dict()["vision"], "face_channels": [1, 2]}}},
        {"info": 3},
    ],
)
def test_a_manifest_of_the_wrong_form_is_refused_with_the_cure(folder: Path, values: dict[str, object]) -> None:
    change(folder, **values)
    with pytest.raises(ModelFolderError, match=r"manifest\.json.*; "):
        open_folder(folder)


def test_a_manifest_nested_without_end_is_refused(folder: Path) -> None:
    (folder / MANIFEST).write_text("[" * 100_000)
    with pytest.raises(ModelFolderError, match=r"manifest\.json"):
        open_folder(folder)
