"""What cannot be exported is refused by name; what is exported says what it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from export import parity  # noqa: E402
from export.to_onnx import LARGE, ExportError, main, read_run  # noqa: E402
from ros2_emollama.model.folder import open_folder  # noqa: E402
from ros2_emollama.model.graphs import graph_specs  # noqa: E402
from ros2_emollama.model.presets import TINY  # noqa: E402


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


def test_weights_are_kept_in_halves_and_are_the_ones_torch_has(tiny_model_folder: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(tiny_model_folder / "network.safetensors")
    assert {value.dtype for value in weights.values()} <= {torch.float16, torch.int64}
    halves = 0
    for spec in graph_specs(TINY).values():
        for tensor in onnx.load(tiny_model_folder / f"{spec.name}.onnx").graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            halves += values.size if values.dtype == np.float16 else 0
            exact = values.dtype == np.float32 and np.array_equal(values.astype(np.float16).astype(np.float32), values)
            assert not (exact and values.size >= LARGE), f"{spec.name}: {tensor.name} {values.shape} is float32"
    assert halves > 0.8 * sum(value.numel() for name, value in weights.items() if not name.startswith("projections"))


def test_parity_measures_every_graph_and_passes_what_is_the_same(tiny_model_folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "parity.json"
    assert parity.main(["--model", str(tiny_model_folder), "--output", str(report)]) == 0
    found = json.loads(report.read_text())["runtimes"]["onnxruntime:CPUExecutionProvider"]
    assert found["windows"]["same_label"] == found["windows"]["n"] == 4
    assert set(found["graph_difference"]) == {
        f"{spec.name}.{tensor.name}" for spec in graph_specs(TINY).values() for tensor in spec.outputs
    }
    assert 0.9 < found["language"]["cosine_min"] <= found["language"]["cosine_mean"] <= 1.0


def test_parity_fails_for_a_runtime_with_other_weights(tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(tiny_model_folder, model)
    weights = load_file(model / "network.safetensors")
    for name in ("label_head.out.3.weight", "label_head.out.3.bias"):  # every label means its neighbour
        weights[name] = weights[name].roll(1, 0).contiguous()
    save_file(weights, model / "network.safetensors")
    assert parity.main(["--model", str(model)]) == 1
    said = capsys.readouterr().err
    assert "4 of 4 windows get another label" in said and "fusion.probabilities differs" in said


def test_parity_without_torch_weights_says_what_is_missing(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model_folder, model)
    (model / "network.safetensors").unlink()
    assert parity.main(["--model", str(model)]) == 2
    assert "network.safetensors is missing" in capsys.readouterr().err


def test_weights_too_large_for_one_file_lie_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written twice, the file beside does not grow: onnx appends to one that is there."""
    from export import to_onnx
    from ros2_emollama.model.network import EmotionNetwork

    monkeypatch.setattr(to_onnx, "ONE_FILE_BYTES", 1000)
    network, spec, path = EmotionNetwork(TINY).eval(), graph_specs(TINY)["scene_encoder"], tmp_path / "scene_encoder.onnx"
    sizes = set()
    for _ in range(2):
        assert to_onnx.export_graph(network, spec, path) < 1e-4
        sizes.add((tmp_path / "scene_encoder.onnx.data").stat().st_size)
    assert len(sizes) == 1 and sizes.pop() > 1000
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scene_encoder.onnx", "scene_encoder.onnx.data"]


def test_graphs_are_added_to_an_imported_folder_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(tmp_path)]) == 2
    assert "manifest.json is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--run", str(tmp_path)])
    assert "--run needs --output" in capsys.readouterr().err
