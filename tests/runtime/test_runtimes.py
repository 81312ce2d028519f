"""Every runtime gives what torch gives, and refuses what does not fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from ros2_emollama.model.folder import ModelFolder, ModelFolderError, open_folder
from ros2_emollama.model.graphs import graph_specs
from ros2_emollama.runtime.base import Encoders, LlamaSession, RuntimeUnavailable
from ros2_emollama.runtime.factory import open_runtime


@pytest.fixture(scope="module")
def folder(tiny_model_folder: Path) -> ModelFolder:
    return open_folder(tiny_model_folder)


@pytest.fixture(scope="module")
def onnx(folder: ModelFolder) -> tuple[Encoders, LlamaSession]:
    encoders, session = open_runtime(folder, "onnxruntime")
    assert session is not None
    return encoders, session


@pytest.fixture(scope="module")
def torch_(folder: ModelFolder) -> tuple[Encoders, LlamaSession]:
    encoders, session = open_runtime(folder, "torch")
    assert session is not None
    return encoders, session


def inputs_of(folder: ModelFolder, graph: str, free: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    made = {}
    for tensor in graph_specs(folder.preset)[graph].inputs:
        shape = [free if isinstance(size, str) else size for size in tensor.shape]
        made[tensor.name] = rng.integers(0, 256, shape, dtype=np.uint8) if tensor.dtype == "uint8" else rng.random(shape, dtype=np.float32)
    return made


@pytest.mark.parametrize("graph", ["frame_encoder", "scene_encoder", "audio_encoder", "fusion"])
def test_onnx_agrees_with_torch(folder: ModelFolder, onnx: tuple, torch_: tuple, graph: str) -> None:
    inputs = inputs_of(folder, graph)
    found, expected = onnx[0].run(graph, inputs), torch_[0].run(graph, inputs)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=f"{graph}.{name}")


@pytest.mark.parametrize("frames", [1, 2, 16])
def test_the_frame_encoder_takes_any_number_of_frames(folder: ModelFolder, onnx: tuple, frames: int) -> None:
    assert onnx[0].run("frame_encoder", inputs_of(folder, "frame_encoder", frames))["tokens"].shape[0] == frames


@pytest.mark.parametrize("runtime", ["onnx", "torch_"])
def test_a_wrong_shape_or_type_is_refused_by_name(folder: ModelFolder, runtime: str, request: pytest.FixtureRequest) -> None:
    encoders: Encoders = request.getfixturevalue(runtime)[0]
    inputs = inputs_of(folder, "audio_encoder")
    with pytest.raises(ValueError, match="audio_encoder: logmel must be"):
        encoders.run("audio_encoder", {"logmel": inputs["logmel"][:, :-1]})
    with pytest.raises(ValueError, match=r"got .* float64"):
        encoders.run("audio_encoder", {"logmel": inputs["logmel"].astype(np.float64)})
    with pytest.raises(ValueError, match="takes logmel, got sound"):
        encoders.run("audio_encoder", {"sound": inputs["logmel"]})
    with pytest.raises(KeyError):
        encoders.run("smell_encoder", {})


def test_a_file_that_is_another_graph_or_no_graph_is_refused_by_name(folder: ModelFolder, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder.root, model)
    shutil.copyfile(model / "scene_encoder.onnx", model / "audio_encoder.onnx")
    with pytest.raises(ModelFolderError, match=r"audio_encoder\.onnx is no audio_encoder of this preset: its inputs are pixels"):
        open_runtime(open_folder(model), "onnxruntime")
    (model / "audio_encoder.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelFolderError, match=r"audio_encoder\.onnx cannot be loaded"):
        open_runtime(open_folder(model), "onnxruntime")


def words(count: int, hidden: int = 64) -> np.ndarray:
    return (0.02 * np.random.default_rng(5).standard_normal((count, hidden))).astype(np.float32)


def test_four_bits_stay_close_to_torch(onnx: tuple, torch_: tuple) -> None:
    """Loose on purpose: random Gaussian weights are the worst case of rounding to 4 bits."""
    for session in (onnx[1], torch_[1]):
        session.rewind(0)
    first, second = onnx[1].extend(words(9)), torch_[1].extend(words(9))
    assert first @ second / np.linalg.norm(first) / np.linalg.norm(second) > 0.9


def test_the_unquantised_graph_equals_torch_through_prefill_decode_and_rewind(
    tiny_run: Path, tmp_path: Path, torch_: tuple, folder: ModelFolder
) -> None:
    from export.quantize_llama import quantize_llama
    from ros2_emollama.model.folder import Manifest, write_manifest
    from ros2_emollama.runtime.onnx_runtime import OnnxLlama

    language, _ = quantize_llama(tiny_run / "llama", tmp_path, precision="fp32", keep_weights=False)
    write_manifest(tmp_path, Manifest("tiny", folder.preset, {}, language, {}))
    session, reference = OnnxLlama(open_folder(tmp_path)), torch_[1]
    reference.rewind(0)
    for piece in (words(7), session.embed(np.array([11])), session.embed(np.array([12, 13]))):
        np.testing.assert_allclose(session.extend(piece), reference.extend(piece), atol=2e-3)  # torch's weights are kept in half precision
    session.rewind(7)
    reference.rewind(7)
    np.testing.assert_allclose(session.extend(words(2)), reference.extend(words(2)), atol=2e-3)


def test_after_a_rewind_the_cache_is_as_if_it_had_never_been(onnx: tuple) -> None:
    session = onnx[1]
    session.rewind(0)
    session.extend(words(6))
    fresh = session.extend(words(3))
    session.extend(words(20))
    session.rewind(6)
    np.testing.assert_array_equal(session.extend(words(3)), fresh)
    assert session.position == 9


def test_the_context_cannot_overflow_nor_be_wound_forward(onnx: tuple) -> None:
    session = onnx[1]
    session.rewind(0)
    with pytest.raises(ValueError, match="context holds 512 positions, 513"):
        session.extend(words(513))
    with pytest.raises(ValueError, match="cannot rewind to 5"):
        session.rewind(5)
    with pytest.raises(ValueError, match="extend takes"):
        session.extend(words(2, 32))


def test_an_unknown_runtime_is_answered_with_the_known_ones(folder: ModelFolder) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"choose auto, tensorrt, .*onnxruntime or torch"):
        open_runtime(folder, "tensorflow")
