"""Both runtimes' graphs give what torch gives with the same 4-bit weights, whatever LLaMA it is; and nothing is lost on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from export.int4 import quantize  # noqa: E402
from export.llama_config import QuantizeError, read_config  # noqa: E402
from export.quantize_llama import main, quantize_llama  # noqa: E402
from ros2_emollama.model.folder import Manifest, open_folder, write_manifest  # noqa: E402
from ros2_emollama.model.presets import TINY  # noqa: E402
from tests.export.llamas import VARIANTS, copy_of, make_llama  # noqa: E402

BLOCK = 32


@pytest.fixture(scope="module", params=VARIANTS)
def llama(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    folder = tmp_path_factory.mktemp("llama")
    return folder, make_llama(folder, request.param)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    make_llama(folder)
    return folder


def words(count: int) -> np.ndarray:
    return (0.5 * np.random.default_rng(5).standard_normal((1, count, 64))).astype(np.float32)


def torch_logits(model: torch.nn.Module, rows: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model(inputs_embeds=torch.from_numpy(rows)).logits[0].numpy()


class Running:
    """A graph with its cache, fed as its inputs ask."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = {item.name: item for item in self._session.get_inputs()}
        self._past = {
            name: np.zeros((1, item.shape[1], 0, item.shape[3]), np.float16 if "float16" in item.type else np.float32)
            for name, item in self._inputs.items()
            if name.startswith("past_key_values")
        }
        self._position = 0

    def extend(self, rows: np.ndarray) -> np.ndarray:
        length, total = rows.shape[1], self._position + rows.shape[1]
        fed = {
            "inputs_embeds": rows.astype(np.float16 if "float16" in self._inputs["inputs_embeds"].type else np.float32),
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(self._position, total)[None],
            "attention_bias": np.zeros((1, 1, length, total), np.float32),
            "logits_to_keep": np.array([length]),
        }
        found = self._session.run(None, {name: value for name, value in fed.items() if name in self._inputs} | self._past)
        named = dict(zip((item.name for item in self._session.get_outputs()), found, strict=True))
        self._past = {name.replace("present", "past_key_values"): value for name, value in named.items() if name != "logits"}
        self._position = total
        return named["logits"][0].astype(np.float32)


def test_unquantised_graphs_equal_torch_through_prefill_and_decode(llama: tuple, tmp_path: Path) -> None:
    folder, model = llama
    quantize_llama(folder, tmp_path, precision="fp32", keep_weights=False, runtimes=("onnxruntime", "tensorrt"))
    rows = words(70)
    expected = torch_logits(model, rows)
    for file, tolerance in (("model.onnx", 1e-5), ("tensorrt.onnx", 5e-3)):  # the second computes in float16
        running = Running(tmp_path / "llama" / file)
        found = np.concatenate([running.extend(rows[:, start:end]) for start, end in ((0, 60), (60, 61), (61, 70))])
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max(), err_msg=file)


def test_quantised_graphs_equal_torch_with_the_same_rounded_weights(llama: tuple, tmp_path: Path) -> None:
    folder, model = llama
    quantize_llama(folder, tmp_path, block_size=BLOCK, keep_weights=False, runtimes=("onnxruntime", "tensorrt"))
    rounded = type(model)(model.config).eval()
    rounded.load_state_dict(model.state_dict())
    with torch.no_grad():
        if model.config.tie_word_embeddings:  # what is fed is not quantised; the output matrix is
            rounded.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        for name, value in rounded.named_parameters():
            if value.ndim == 2 and "embed" not in name:
                value.copy_(torch.from_numpy(quantize(value.numpy(), BLOCK).values()))
    rows = words(20)
    expected = torch_logits(rounded, rows)
    scale = np.abs(expected).max()
    for file, tolerance in (("model.onnx", 0.05), ("tensorrt.onnx", 0.05)):  # activations are multiplied as int8
        found = Running(tmp_path / "llama" / file).extend(rows)
        assert np.abs(found - expected).max() < tolerance * scale, file
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9995, file


@pytest.mark.parametrize("block_size", [16, 32])
def test_four_bits_are_the_nearest_of_sixteen_steps_and_both_layouts_hold_the_same(block_size: int) -> None:
    weight = np.random.default_rng(0).standard_normal((10, 64)).astype(np.float32)
    matrix = quantize(weight, block_size)
    assert np.abs(matrix.values() - weight).max() <= np.abs(matrix.scales).max() * 1.01  # the side without a ninth step clips by one
    assert np.median(np.abs(matrix.values() - weight)) < np.median(np.abs(matrix.scales)) / 2
    packed, scales = matrix.transposed()
    signed = np.stack([packed & 15, packed >> 4], axis=-1).reshape(64, 10).astype(np.int8)
    signed = np.where(signed > 7, signed - 16, signed)
    np.testing.assert_array_equal((signed * np.repeat(scales, block_size, axis=0)).T, matrix.values())


@pytest.mark.parametrize(("block_size", "half", "bits"), [(16, False, 6.0), (32, False, 5.0), (32, True, 4.5)])
def test_bits_per_weight_count_the_scales_and_stand_in_graph_and_facts(
    plain: Path, tmp_path: Path, block_size: int, half: bool, bits: float
) -> None:
    _, facts = quantize_llama(plain, tmp_path, block_size=block_size, half=half, keep_weights=False)
    assert facts == {"bits_per_weight": bits}
    model = onnx.load(tmp_path / "llama/model.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props}["bits_per_weight"] == f"{bits:.3f}"
    stored = sum(len(tensor.raw_data) for tensor in model.graph.initializer if "weight_Q4" in tensor.name or "weight_scales" in tensor.name)
    assert 8 * stored / read_config(plain).weights == pytest.approx(bits)


def test_many_files_or_one_and_weights_outside_or_inside_make_no_difference(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_llama(tmp_path / "shards", shard="50KB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 2
    quantize_llama(plain, tmp_path / "inside", runtimes=("onnxruntime", "tensorrt"))
    monkeypatch.setattr("export.quantize_llama.INSIDE_BYTES", 0)
    monkeypatch.setattr("export.llama_checkpoint.SHARD_BYTES", 50_000)
    quantize_llama(tmp_path / "shards", tmp_path / "outside", runtimes=("onnxruntime", "tensorrt"))
    rows = words(5)
    for file in ("model.onnx", "tensorrt.onnx"):
        inside, outside = (tmp_path / place / "llama" / file for place in ("inside", "outside"))
        assert outside.with_name(file + ".data").is_file() and not inside.with_name(file + ".data").exists()
        assert outside.stat().st_size < 50_000
        np.testing.assert_array_equal(Running(inside).extend(rows), Running(outside).extend(rows))
    kept = [type(make_llama(tmp_path / "any")).from_pretrained(tmp_path / place / "llama/weights") for place in ("inside", "outside")]
    for (name, first), second in zip(kept[0].state_dict().items(), kept[1].state_dict().values(), strict=True):
        assert torch.equal(first, second), name


def test_memory_does_not_grow_with_the_number_of_layers(tmp_path: Path) -> None:
    """Eight layers of 6 MB each in float32: less than two of them more than one layer takes."""
    code = (
        "import sys, resource; from pathlib import Path; import export.quantize_llama as q; q.INSIDE_BYTES = 0;"
        "q.quantize_llama(Path(sys.argv[1]), Path(sys.argv[2]), keep_weights=False);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for layers in (1, 8):
        config = {"hidden_size": 512, "num_hidden_layers": layers, "num_attention_heads": 8, "intermediate_size": 1024, "vocab_size": 320}
        folder = tmp_path / f"layers{layers}"
        _random_llama(folder, config)
        done = subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "out")], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 2 * 4 * (4 * 512 * 512 + 3 * 512 * 1024) / 1e6


def _random_llama(folder: Path, config: dict[str, int]) -> None:
    from benchmarks.random_llama import write_random_llama

    write_random_llama(folder, **config)


def test_a_model_folder_takes_the_language_model_in(tiny_model_folder: Path, tiny_run: Path, tmp_path: Path) -> None:
    model = copy_of(tiny_model_folder, tmp_path / "model")
    before = json.loads((model / "manifest.json").read_text())
    command = ["--llama", str(tiny_run / "llama"), "--output", str(model), "--runtime", "both", "--block-size", "64"]
    assert main(command) == 0
    folder = open_folder(model)
    folder.verify()
    assert folder.language("tensorrt").name == "tensorrt.onnx" and folder.language("weights").is_dir()
    assert folder.manifest.info["language_bits_per_weight"] == 4.5
    assert folder.manifest.info["language_bits_per_weight_tensorrt"] == 4.25
    assert folder.manifest.files["fusion.onnx"] == before["files"]["fusion.onnx"]


REFUSED = {
    "another architecture": ({"model_type": "gpt2"}, r"another architecture \(gpt2"),
    "scaling that follows the text's length": (
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2}},
        "'dynamic' is not known",
    ),
    "other sizes than the weights": ({"intermediate_size": 128}, r"must be \(128, 64\) as config.json says, found \(96, 64\)"),
    "more layers than there are": ({"num_hidden_layers": 3}, "lacks 9 of 30 tensors"),
    "no sizes": ({"hidden_size": None}, "is no LLaMA's config"),
    "heads that do not share keys evenly": ({"num_key_value_heads": 3}, "multiple of key heads"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_config_that_does_not_fit_is_refused_and_the_old_model_stays(plain: Path, tmp_path: Path, case: str) -> None:
    changed, message = REFUSED[case]
    source = copy_of(plain, tmp_path / "source")
    quantize_llama(source, tmp_path, keep_weights=False)
    before = (tmp_path / "llama/model.onnx").read_bytes()
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, **changed}))
    with pytest.raises(QuantizeError, match=message):
        quantize_llama(source, tmp_path, keep_weights=False)
    assert (tmp_path / "llama/model.onnx").read_bytes() == before


def test_a_damaged_or_missing_file_is_named_with_the_cure(plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = copy_of(plain, tmp_path / "source")
    content = (source / "model.safetensors").read_bytes()
    cases = {
        content[:-100]: "copy the checkpoint again",
        b"": "copy the checkpoint again",
    }
    for damaged, cure in cases.items():
        (source / "model.safetensors").write_bytes(damaged)
        assert main(["--llama", str(source), "--output", str(tmp_path / "model")]) == 2
        said = capsys.readouterr().err
        assert "model.safetensors" in said and cure in said
    (source / "model.safetensors").unlink()
    assert main(["--llama", str(source), "--output", str(tmp_path / "model")]) == 2
    assert "holds no model.safetensors" in capsys.readouterr().err
    (source / "tokenizer.json").unlink()
    (source / "model.safetensors").write_bytes(content)
    assert main(["--llama", str(source), "--output", str(tmp_path / "model")]) == 2
    assert "save_pretrained" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.part")) and not (tmp_path / "model" / "llama" / "model.onnx").exists()


def test_a_stop_half_way_leaves_the_old_model_and_no_rubbish(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.quantize_llama.INSIDE_BYTES", 0)
    quantize_llama(plain, tmp_path, keep_weights=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "llama").iterdir()}
    calls = iter(range(100))

    def stopped(*arguments: object) -> object:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return quantize(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("export.llama_checkpoint.quantize", stopped)
    with pytest.raises(KeyboardInterrupt):
        quantize_llama(plain, tmp_path, keep_weights=False)
    assert {path.name: path.read_bytes() for path in (tmp_path / "llama").iterdir()} == before


def test_a_block_must_divide_the_widths_and_the_cure_names_those_that_do(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="block size 64 does not divide intermediate_size 96; choose --block-size 16 or 32"):
        quantize_llama(plain, tmp_path, block_size=64)


def test_a_context_shorter_than_the_manifests_is_refused_with_the_cure(plain: Path, tmp_path: Path) -> None:
    import dataclasses

    from ros2_emollama.model.folder import ModelFolderError
    from ros2_emollama.runtime.onnx_runtime import OnnxLlama

    language, _ = quantize_llama(plain, tmp_path, keep_weights=False, context=100)
    llama = dataclasses.replace(TINY.llama, heads=4, kv_heads=4, vocab=320, context=200)
    write_manifest(tmp_path, Manifest("tiny", dataclasses.replace(TINY, llama=llama), {}, language, {}))
    with pytest.raises(ModelFolderError, match=r"holds 100 positions, its manifest says 200; quantise .* --context 200"):
        OnnxLlama(open_folder(tmp_path))
