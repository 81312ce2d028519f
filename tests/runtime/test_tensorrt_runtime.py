"""Our side of TensorRT: buffers, shapes, the KV cache in steps, graphs, and who serves when. The device is this process's own memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from ros2_emollama.model.folder import ModelFolder, open_folder
from ros2_emollama.model.graphs import graph_specs
from ros2_emollama.model.streams import LlamaPreset
from ros2_emollama.runtime.cuda import CudaError
from ros2_emollama.runtime.engine_profiles import PAST_STEP, encoder_profiles, language_profiles, past_room
from ros2_emollama.runtime.engine_runner import EngineRunner, LoadedEngine
from ros2_emollama.runtime.onnx_runtime import OnnxEncoders
from ros2_emollama.runtime.tensorrt_runtime import TensorRtEncoders, TensorRtLlama
from tests.runtime.host_tensorrt import HostDevice, HostEngine, host_flavor
from tests.runtime.llama_graphs import write_llama

LLAMA = LlamaPreset(hidden=64, layers=2, heads=4, kv_heads=4, intermediate=96, vocab=128, context=384)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama") / "tensorrt.onnx"
    write_llama(path, LLAMA)
    return path


def opened(graph: Path) -> tuple[TensorRtLlama, HostDevice]:
    device = HostDevice()
    engine = HostEngine(graph, language_profiles(LLAMA), device)
    table = np.random.default_rng(1).standard_normal((LLAMA.vocab, LLAMA.hidden)).astype(np.float16)
    return TensorRtLlama(LoadedEngine(engine, graph), table, LLAMA, host_flavor({}), device), device


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, LLAMA.hidden)).astype(np.float32)


def whole(graph: Path, embeddings: np.ndarray) -> np.ndarray:
    """The logits after all of them, in one pass over an empty cache."""
    engine = HostEngine(graph, (), HostDevice())
    empty = np.zeros((1, LLAMA.kv_heads, 0, LLAMA.hidden // LLAMA.heads), np.float16)
    count = embeddings.shape[0]
    feeds = {name: empty for name in engine.symbols if name.startswith("past_key_values")}
    feeds |= {"inputs_embeds": embeddings[None].astype(np.float16), "position_ids": np.arange(count, dtype=np.int64)[None]}
    feeds["attention_mask"] = np.ones((1, count), np.int64)
    logits: np.ndarray = engine.session.run(["logits"], feeds)[0][0, -1]
    return logits.astype(np.float32)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    """To what halves hold: sums are taken in another order where the past is padded."""
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())


def test_a_prompt_in_pieces_and_words_one_by_one_give_what_one_pass_gives(graph: Path) -> None:
    session, device = opened(graph)
    text = rows(300)  # two pieces, then decoding across the end of a step
    close(session.extend(text[:280]), whole(graph, text[:280]))
    for end in range(281, 301):
        found = session.extend(text[end - 1 : end])
    close(found, whole(graph, text))
    assert session.position == 300 and device.captured == 1 and device.launched == 19


def test_decoding_captures_one_graph_a_step_and_launches_it_for_the_rest(graph: Path) -> None:
    session, device = opened(graph)
    text = rows(PAST_STEP + 6)
    session.extend(text[: PAST_STEP - 2])
    for place in range(PAST_STEP - 2, PAST_STEP + 6):
        found = session.extend(text[place : place + 1])
    assert (device.captured, device.launched) == (2, 6)
    close(found, whole(graph, text))


def test_after_going_back_the_cache_is_as_if_it_had_never_been(graph: Path) -> None:
    session, _ = opened(graph)
    text, other = rows(150), rows(200, seed=1)
    session.extend(text[:100])
    expected = session.extend(text[100:])
    session.rewind(100)
    session.extend(other)
    session.rewind(100)
    np.testing.assert_array_equal(session.extend(text[100:]), expected)
    session.rewind(0)
    session.extend(other[:5])
    close(session.extend(other[5:9]), whole(graph, other[:9]))


def test_an_engine_that_cannot_be_captured_is_enqueued_each_time(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, device = opened(graph)

    def refuse() -> None:
        raise CudaError("cuStreamBeginCapture_v2 failed")

    monkeypatch.setattr(device, "capture", refuse)
    text = rows(8)
    session.extend(text[:5])
    for place in range(5, 8):
        found = session.extend(text[place : place + 1])
    close(found, whole(graph, text))
    assert device.launched == 0


def test_what_does_not_fit_the_context_or_the_width_is_refused(graph: Path) -> None:
    session, _ = opened(graph)
    with pytest.raises(ValueError, match="context holds 384 positions, 385"):
        session.extend(rows(385))
    with pytest.raises(ValueError, match=r"extend takes \(T, 64\)"):
        session.extend(rows(2)[:, :32])
    with pytest.raises(ValueError, match="cannot rewind to 1"):
        session.rewind(1)
    session.extend(rows(384))
    assert session.position == 384
    with pytest.raises(IndexError):
        session.embed(np.array([LLAMA.vocab]))


@pytest.mark.parametrize(("positions", "room"), [(0, 128), (1, 128), (128, 128), (129, 256)])
def test_the_past_has_room_for_whole_steps(positions: int, room: int) -> None:
    assert past_room(positions) == room


def host_engines(folder: ModelFolder, device: HostDevice) -> dict[str, LoadedEngine]:
    specs = graph_specs(folder.preset)
    return {
        name: LoadedEngine(HostEngine(folder.graph(name), encoder_profiles(spec, folder.preset), device), folder.graph(name))
        for name, spec in specs.items()
    }


def test_engines_of_the_encoders_give_what_their_graphs_give(nano: Path) -> None:
    folder, device, rng = open_folder(nano), HostDevice(), np.random.default_rng(0)
    encoders = TensorRtEncoders(folder, host_engines(folder, device), host_flavor({}), device)
    reference = OnnxEncoders(folder)
    for frames in (3, 1, 16):  # buffers are kept: a smaller call after a larger one must not see its rest
        pixels = rng.integers(0, 256, (frames, 256, 256, 3), dtype=np.uint8)
        found, expected = (each.run("frame_encoder", {"pixels": pixels}) for each in (encoders, reference))
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    with pytest.raises(ValueError, match="audio_encoder: logmel must be"):
        encoders.run("audio_encoder", {"logmel": np.zeros((1, 3, 3), np.float32)})
    assert encoders.name == "tensorrt:1.0"


def test_more_frames_than_the_engine_was_built_for_are_refused(nano: Path) -> None:
    folder, device = open_folder(nano), HostDevice()
    few = dataclasses.replace(folder.preset, window_frames=2)
    spec = graph_specs(folder.preset)["frame_encoder"]
    engine = HostEngine(folder.graph("frame_encoder"), encoder_profiles(spec, few), device)
    runner = EngineRunner(LoadedEngine(engine, folder.root), host_flavor({}), device)
    with pytest.raises(RuntimeError, match="build it again"):
        runner.run({"pixels": np.zeros((2, 256, 256, 3), np.uint8)[:, :128]})
