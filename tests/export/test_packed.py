"""Weights that GPTQ or AWQ brought to 4 bits are taken over bit by bit, from both forms they come in; what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import onnxruntime as ort
import torch
from safetensors.torch import load_file, save_file

from export.llama_checkpoint import LlamaCheckpoint
from export.llama_config import QuantizeError, read_config
from export.quantize_llama import quantize_llama
from tests.export.llamas import make_llama

GROUP = 32
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": True, "desc_act": False, "checkpoint_format": "gptq"}
WEIGHTS = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}
COMPRESSED = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {"weights": WEIGHTS}}}
FORMS: dict[str, dict[str, Any]] = {"gptq": GPTQ, "gptq_v2": {**GPTQ, "checkpoint_format": "gptq_v2"}, "pack-quantized": COMPRESSED}


def words(numbers: np.ndarray) -> Any:
    """Eight numbers along the last axis a word, low bits first, written out digit by digit."""
    grouped = numbers.reshape(*numbers.shape[:-1], -1, 8)
    flat = [int("".join(f"{int(number):x}" for number in eight[::-1]), 16) for eight in grouped.reshape(-1, 8)]
    return torch.from_numpy(np.array(flat, np.uint32).view(np.int32).reshape(grouped.shape[:-1]).copy())


def packed_tensors(form: str, stem: str, q: np.ndarray, scales: np.ndarray) -> dict[str, Any]:
    """q (N, K) in 0 … 15 and scales (N, K / GROUP) as the form has them."""
    outputs, inputs = q.shape
    half = torch.from_numpy(scales).half()
    if form == "pack-quantized":
        shape = torch.tensor([outputs, inputs])
        return {f"{stem}.weight_packed": words(q), f"{stem}.weight_scale": half, f"{stem}.weight_shape": shape}
    zeros = np.full((inputs // GROUP, outputs), 7 if form == "gptq" else 8)
    order = torch.arange(inputs, dtype=torch.int32) // GROUP
    turned = {"qweight": words(q).T.contiguous(), "scales": half.T.contiguous(), "qzeros": words(zeros), "g_idx": order}
    return {f"{stem}.{suffix}": value for suffix, value in turned.items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "llama"
    make_llama(folder)
    return folder


def pack(plain: Path, target: Path, form: str, config: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
    """The same LLaMA with drawn 4-bit layers; what each matrix stands for, by name."""
    shutil.copytree(plain, target)
    rng, meant, held = np.random.default_rng(0), {}, {}
    for name, value in load_file(target / "model.safetensors").items():
        if ".layers." not in name or not name.endswith("_proj.weight"):
            held[name] = value
            continue
        q = rng.integers(0, 16, tuple(value.shape))
        scales = rng.uniform(0.01, 0.03, (q.shape[0], q.shape[1] // GROUP)).astype(np.float16).astype(np.float32)
        held |= packed_tensors(form, name.removesuffix(".weight"), q, scales)
        meant[name] = (q - 8) * np.repeat(scales, GROUP, axis=1)
    save_file(held, target / "model.safetensors", {"format": "pt"})
    told = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps({**told, "quantization_config": config or FORMS[form]}), encoding="utf-8")
    return meant


@pytest.mark.parametrize("form", FORMS)
def test_every_weight_is_the_one_the_quantiser_chose(plain: Path, tmp_path: Path, form: str) -> None:
    meant = pack(plain, tmp_path / "packed", form)
    checkpoint = LlamaCheckpoint(tmp_path / "packed", read_config(tmp_path / "packed"))
    assert len(meant) == 14
    for name, expected in meant.items():
        np.testing.assert_array_equal(checkpoint.tensor(name), expected.astype(np.float32))
    joined = checkpoint.int4(("model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj"), GROUP)
    both = [meant[f"model.layers.1.mlp.{part}_proj.weight"] for part in ("gate", "up")]
    np.testing.assert_array_equal(joined.values(), np.concatenate(both).astype(np.float32))
    assert checkpoint.int4(("lm_head",), GROUP).outputs == 320  # that one is plain, and rounded here


def test_graphs_of_both_runtimes_compute_with_these_weights(plain: Path, tmp_path: Path) -> None:
    meant = pack(plain, tmp_path / "packed", "gptq")
    language, facts = quantize_llama(tmp_path / "packed", tmp_path / "model", runtimes=("onnxruntime", "tensorrt"))
    assert facts["bits_per_weight"] == 5.0  # groups of 32, not told on the command line
    held = load_file(plain / "model.safetensors")
    shutil.copytree(plain, tmp_path / "same")
    save_file({**held, **{name: torch.from_numpy(value).float() for name, value in meant.items()}}, tmp_path / "same" / "model.safetensors")
    expected = logits(quantize_llama(tmp_path / "same", tmp_path / "float", precision="fp32")[0]["graph"], tmp_path / "float")
    found = logits(language["graph"], tmp_path / "model")
    assert found @ expected / np.linalg.norm(found) / np.linalg.norm(expected) > 0.995  # activations are rounded to 8 bits, the head to 4
    assert json.loads((tmp_path / "model/llama/weights/config.json").read_text()).get("quantization_config") is None
    copied = load_file(tmp_path / "model/llama/weights/model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    np.testing.assert_allclose(copied[name].float().numpy(), meant[name], rtol=1e-3)


def logits(graph: str, root: Path) -> np.ndarray:
    session = ort.InferenceSession(str(root / graph), providers=["CPUExecutionProvider"])
    feeds: dict[str, Any] = {
        "inputs_embeds": np.random.default_rng(1).standard_normal((1, 5, 64)).astype(np.float32),
        "attention_mask": np.ones((1, 5), np.int64),
        "position_ids": np.arange(5)[None],
        "attention_bias": np.zeros((1, 1, 5, 5), np.float32),
        "logits_to_keep": np.array([1]),
    }
    for item in session.get_inputs():
        if item.name.startswith("past"):
            feeds[item.name] = np.zeros((1, 4, 0, 16), np.float32)
    found: np.ndarray = session.run(["logits"], feeds)[0][0, -1]
    return found


REFUSED = {
    "another number of bits": ("gptq", {**GPTQ, "bits": 8}, "bits 8"),
    "zero points by config": ("gptq", {**GPTQ, "sym": False}, "sym False"),
    "act-order by config": ("gptq", {**GPTQ, "desc_act": True}, "desc_act false"),
    "zero points in the file": ("gptq", {**GPTQ, "checkpoint_format": "gptq_v2"}, "it has zero points"),
    "asymmetric compressed": (
        "pack-quantized",
        {**COMPRESSED, "config_groups": {"g": {"weights": {**WEIGHTS, "symmetric": False}}}},
        "False",
    ),
    "AutoAWQ": ("gptq", {"quant_method": "awq", "bits": 4}, "quantised by awq"),
    "groups of another size": ("gptq", {**GPTQ, "group_size": 16}, "must be"),
    "no numbers": ("gptq", {"quant_method": "gptq"}, "cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_our_graphs_cannot_hold_is_refused_before_anything_is_written(plain: Path, tmp_path: Path, case: str) -> None:
    form, config, said = REFUSED[case]
    pack(plain, tmp_path / "packed", form, config)
    with pytest.raises(QuantizeError, match=said):
        quantize_llama(tmp_path / "packed", tmp_path / "model")
    assert not list((tmp_path / "model").rglob("*.onnx*")) if (tmp_path / "model").exists() else True


def test_groups_in_another_order_are_refused(plain: Path, tmp_path: Path) -> None:
    pack(plain, tmp_path / "packed", "gptq")
    held = load_file(tmp_path / "packed/model.safetensors")
    held["model.layers.0.mlp.up_proj.g_idx"] = held["model.layers.0.mlp.up_proj.g_idx"].flip(0).contiguous()
    save_file(held, tmp_path / "packed/model.safetensors")
    with pytest.raises(QuantizeError, match="up_proj: its groups are in another order"):
        quantize_llama(tmp_path / "packed", tmp_path / "model")


def test_a_block_size_that_is_not_the_quantisers_is_refused(plain: Path, tmp_path: Path) -> None:
    pack(plain, tmp_path / "packed", "pack-quantized")
    with pytest.raises(QuantizeError, match="groups of 32; give --block-size 32"):
        quantize_llama(tmp_path / "packed", tmp_path / "model", block_size=16)
