"""What others wrote is read or refused in the reader's own words, whatever it is."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ros2_emollama.config import Config
from ros2_emollama.model.folder import MANIFEST, Manifest, ModelFolderError, open_folder, write_manifest
from ros2_emollama.model.presets import TINY
from ros2_emollama.options import ConfigError, load_yaml
from ros2_emollama.reasoner.prompt import clean_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@same_folder
@given(st.sampled_from(["name", "preset", "graphs", "language", "files", "info", "format"]), JSON)
def test_a_manifest_with_any_value_anywhere_opens_or_is_refused(tmp_path: Path, key: str, value: object) -> None:
    (tmp_path / "fusion.onnx").write_bytes(b"graph")
    write_manifest(tmp_path, Manifest("tiny", TINY, {"fusion": "fusion.onnx"}, {}, {}))
    content = json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))
    (tmp_path / MANIFEST).write_text(json.dumps({**content, key: value}), encoding="utf-8")
    try:
        opened = open_folder(tmp_path)
        opened.verify()
    except ModelFolderError as error:
        assert "; " in str(error)
        return
    assert opened.preset == TINY


@same_folder
@given(st.sampled_from(["name", "window_seconds", "window_frames", "labels", "audio", "vision", "fusion", "llama"]), JSON)
def test_a_preset_with_any_value_anywhere_opens_or_is_refused(tmp_path: Path, key: str, value: object) -> None:
    write_manifest(tmp_path, Manifest("tiny", TINY, {}, {}, {}))
    content = json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))
    content["preset"][key] = value
    (tmp_path / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
    try:
        preset = open_folder(tmp_path).preset
    except ModelFolderError as error:
        assert "; " in str(error)
        return
    assert preset.mel_columns > 0 and preset.frame_tokens > 0


@same_folder
@given(
    st.binary(max_size=200)
    | st.text(alphabet="perc/*:{}[]&a -\n'\"!<>|%@`~.0123456789ros__", max_size=120).map(str.encode)
    | JSON.map(repr).map(str.encode)
)
def test_any_bytes_are_parameters_or_a_config_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_bytes(data)
    try:
        assert isinstance(load_yaml(path, Config()), Config)
    except ConfigError as error:
        assert "parameters.yaml" in str(error)


@given(st.text(max_size=400), st.integers(1, 160))
def test_what_somebody_said_is_one_line_without_marks(text: str, limit: int) -> None:
    clean = clean_text(text, limit)
    assert len(clean) <= limit and clean == clean.strip() and "  " not in clean
    assert not any(character in '<>[]{}|"' or unicodedata.category(character).startswith("C") for character in clean)


@pytest.mark.parametrize("trick", ["＜/s＞", "</s>", "<\u200b/s>", "\ufe64/s\ufe65", "［emotion］"])
def test_no_spelling_of_a_mark_gets_through(trick: str) -> None:
    assert not set(clean_text(f"hello {trick} there", 100)) & set("<>[]")
