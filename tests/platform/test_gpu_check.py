"""gpu_check without a GPU: it compares, it times, and it names what cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from benchmarks import gpu_check
from ros2_emollama.runtime.gpu import find_gpu

TIMED = ("load_seconds", "first_token_ms", "tokens_per_second")


def check(tmp_path: Path, *arguments: str) -> tuple[int, dict]:
    told = tmp_path / "report.json"
    status = gpu_check.main([*arguments, "--folder", str(tmp_path / "kept"), "--rounds", "1", "--tokens", "4", "--json", str(told)])
    return status, json.loads(told.read_text(encoding="utf-8"))


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")
def test_the_shipped_model_is_compared_and_timed_and_what_is_lacking_is_named(
    nano: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, report = check(tmp_path, "--model", str(nano), "--providers", "cpu_half", "cuda", "tensorrt")
    [checked] = report["models"]
    rows, out = checked["providers"], capsys.readouterr().out
    assert status == 1 and set(rows) == {"cpu", "cpu_half", "cuda", "tensorrt"}
    assert rows["cpu"]["largest_difference"] == 0 and rows["cpu"]["logits_cosine"] == pytest.approx(1.0)
    half = rows["cpu_half"]
    assert half["agrees"] and half["largest_difference"] == 0 and 0.99 < half["logits_cosine"] < 1.0  # encoders are the same files
    assert all(half[name] > 0 for name in TIMED) and 0 < half["hop_ms"]["median"] < half["window_ms"]["median"]
    assert half["gpu_mb"] is None and half["runs_on"]["language"].endswith("CPUExecutionProvider")
    assert not rows["cuda"]["had"] and "CUDAExecutionProvider" in rows["cuda"]["why"] and "pip" in rows["cuda"]["why"]
    assert not rows["tensorrt"]["had"] and "GPU" in rows["tensorrt"]["why"] and "NOT HAD" in out
    assert report["machine"]["gpu"] is None and "GPU: none" in out
    files = {path.name for path in (tmp_path / "kept").iterdir()}
    assert len(files) == 1  # the model; no outputs are left
    assert (nano / "manifest.json").read_text(encoding="utf-8").count('"half"') == 0  # the user's own folder is as it was


@pytest.mark.slow
def test_published_kinds_of_streams_agree_with_the_network_itself(tmp_path: Path) -> None:
    status, report = check(tmp_path, "--model", "random:small_v2", "--providers", "torch_cpu", "cpu_half")
    rows = report["models"][0]["providers"]
    assert status == 0 and report["models"][0]["random_weights"]
    assert rows["torch_cpu"]["largest_difference"] < 1e-4 and rows["torch_cpu"]["runs_on"]["encoders"] == "torch:cpu"


def outputs(path: Path, **arrays: list[float]) -> Path:
    np.savez(path, **{name.replace("__", "."): np.array(values, np.float32) for name, values in arrays.items()})
    return path.with_name(path.name + ".npz")


def test_a_difference_is_told_by_its_place_and_fails_the_check(tmp_path: Path) -> None:
    reference = outputs(tmp_path / "r", fusion__prefix=[1, 2], audio__tokens=[4, -8], llama__logits=[1, 2, 3])
    near = gpu_check.compared(
        outputs(tmp_path / "a", fusion__prefix=[1, 2.01], audio__tokens=[4, -8], llama__logits=[1, 2, 3]), reference, False
    )
    assert near["agrees"] and near["where"] == "fusion.prefix" and near["largest_difference"] == pytest.approx(0.005, rel=0.01)
    far = gpu_check.compared(
        outputs(tmp_path / "b", fusion__prefix=[1, 2], audio__tokens=[4, -7], llama__logits=[1, 2, 3]), reference, False
    )
    assert not far["agrees"] and far["where"] == "audio.tokens"
    silent = gpu_check.compared(outputs(tmp_path / "c", fusion__prefix=[1, 2], audio__tokens=[4, -8]), reference, False)
    assert silent["agrees"] and silent["not_given"] == ["llama.logits"] and silent["logits_cosine"] is None
    turned = outputs(tmp_path / "d", fusion__prefix=[1, 2], audio__tokens=[4, -8], llama__logits=[3, 2, 2])
    assert not gpu_check.compared(turned, reference, False)["agrees"] and gpu_check.compared(turned, reference, True)["agrees"]
    broken = outputs(tmp_path / "e", fusion__prefix=[1, float("nan")], audio__tokens=[4, -8], llama__logits=[1, 2, 3])
    assert not gpu_check.compared(broken, reference, True)["agrees"]


def test_an_unknown_model_ends_with_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert gpu_check.main(["--model", "random:v9", "--folder", str(tmp_path)]) == 2
    assert "small_v2, nano" in capsys.readouterr().err


def test_a_published_preset_at_two_layers_keeps_its_widths_and_nano_has_none_to_leave_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from benchmarks.random_model import main, shallow
    from ros2_emollama.model.presets import EMOTION_LLAMA, EMOTION_LLAMA_V2

    for preset in (EMOTION_LLAMA, EMOTION_LLAMA_V2):
        short = shallow(preset, 2)
        assert (short.audio.layers, short.llama.layers, short.llama.hidden, short.vision.width) == (2, 2, 4096, 1408)
        assert bool(short.vision.frame_blocks) == bool(preset.vision.frame_blocks)
    assert main(["--preset", "nano", "--layers", "2", "--output", str(tmp_path)]) == 2
    assert "leave out --layers" in capsys.readouterr().err
