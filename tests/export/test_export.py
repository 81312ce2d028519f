"""What cannot be exported is refused by name; what is exported says what it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from export.quantize_llama import QuantizeError, check_blocks
from export.to_onnx import ExportError, main, read_run
from ros2_emollama.model.folder import open_folder


def test_a_block_must_divide_the_widths_and_the_cure_names_those_that_do() -> None:
    config = {"hidden_size": 256, "intermediate_size": 704}
    check_blocks(config, 64)
    with pytest.raises(QuantizeError, match="block size 128 does not divide intermediate_size 704; choose --block-size 16 or 32 or 64"):
        check_blocks(config, 128)


def test_an_unfinished_run_is_named_with_the_missing_file(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "llama" / "tokenizer.json").unlink()
    with pytest.raises(ExportError, match=r"llama/tokenizer\.json is missing"):
        read_run(run)
    assert main(["--run", str(run), "--output", str(tmp_path / "model")]) == 2
    assert "finish it" in capsys.readouterr().err


def test_the_exported_folder_verifies_and_says_its_bits(tiny_model_folder: Path) -> None:
    folder = open_folder(tiny_model_folder)
    folder.verify()
    manifest = json.loads((tiny_model_folder / "manifest.json").read_text())
    assert 4.0 < manifest["info"]["language_bits_per_weight"] < 6.0
    assert set(manifest["graphs"]) == {"frame_encoder", "scene_encoder", "audio_encoder", "fusion"}
    assert all(len(facts["sha256"]) == 64 for facts in manifest["files"].values())
