"""Who serves when: ONNX Runtime until engines are there and where one fails; and a runtime asked for by name is got or refused."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("onnx")

from ros2_emollama.model.folder import ModelFolder, file_facts, open_folder, write_manifest
from ros2_emollama.runtime import engine_cache, factory
from ros2_emollama.runtime.base import RuntimeUnavailable
from ros2_emollama.runtime.engine_build import BuildRequest, manifest_path
from ros2_emollama.runtime.engine_cache import EngineCache
from ros2_emollama.runtime.engine_check import drawn_inputs
from ros2_emollama.runtime.engine_manifest import EngineManifest
from ros2_emollama.runtime.engine_serving import ServedEncoders, ServedLlama, serve
from ros2_emollama.runtime.factory import open_runtime
from ros2_emollama.runtime.gpu import Gpu
from ros2_emollama.runtime.onnx_runtime import OnnxEncoders, OnnxLlama
from tests.runtime.host_tensorrt import HostDevice, HostEngine, host_flavor
from tests.runtime.llama_graphs import write_llama
from tests.runtime.test_tensorrt_runtime import close

GPU = Gpu("H200", "9.0", "580.159")


@pytest.fixture(scope="module")
def folder(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    """The shipped model, with another language model in the form that TensorRT takes."""
    root = Path(shutil.copytree(nano, tmp_path_factory.mktemp("serving") / "nano"))
    manifest = open_folder(root).manifest
    write_llama(root / "llama" / "tensorrt.onnx", manifest.preset.llama)
    language = {**manifest.language, "tensorrt": "llama/tensorrt.onnx"}
    write_manifest(root, dataclasses.replace(manifest, language=language))
    return open_folder(root)


class Bench:
    """A cache whose builds are files of their graph's name, and a TensorRT that loads those."""

    def __init__(self, folder: ModelFolder, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.device = folder, HostDevice()
        self.engines: dict[bytes, HostEngine] = {}
        self.cache = EngineCache(folder, host_flavor(self.engines), GPU, root)
        for graph in self.cache.graphs:
            engine = HostEngine(self.cache.source(graph), self.cache.wanted(graph).profiles, self.device)
            self.engines[graph.encode()] = engine
        self.builds: list[str] = []
        self.may_build = threading.Event()
        self.may_build.set()
        monkeypatch.setattr(engine_cache, "build_engine", self._build)

    def _build(self, request: BuildRequest, **_: object) -> EngineManifest:
        assert self.may_build.wait(20)
        self.builds.append(request.wanted.graph)
        return self.put(request.wanted.graph, request.wanted.graph.encode())

    def put(self, graph: str, content: bytes) -> EngineManifest:
        path = self.cache.engine(graph)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        made = dataclasses.replace(self.cache.wanted(graph), engine_sha256=file_facts(path)["sha256"])
        manifest_path(path).write_text(made.to_json())
        return made

    def serve(self) -> tuple[ServedEncoders, ServedLlama]:
        encoders, llama = serve(self.cache, lambda: self.device, lambda: OnnxEncoders(self.folder), lambda: OnnxLlama(self.folder))
        assert llama is not None
        return encoders, llama

    def rows(self, count: int) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((count, self.folder.preset.llama.hidden)).astype(np.float32)

    def at_once(self, rows: np.ndarray) -> np.ndarray:
        session = self.engines[b"llama"].session
        feeds: dict[str, np.ndarray] = {
            item.name: np.zeros([0 if isinstance(size, str) else size for size in item.shape], np.float16)
            for item in session.get_inputs()
            if item.name.startswith("past")
        }
        feeds |= {"inputs_embeds": rows[None].astype(np.float16), "position_ids": np.arange(len(rows), dtype=np.int64)[None]}
        logits: np.ndarray = session.run(["logits"], feeds | {"attention_mask": np.ones((1, len(rows)), np.int64)})[0][0, -1]
        return logits.astype(np.float32)


@pytest.fixture
def bench(folder: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(folder, tmp_path / "engines", monkeypatch)


def until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(400):
        if true():
            return
        pause.wait(0.05)
    pytest.fail("it did not come about within 20 s")


def fused(encoders: ServedEncoders, folder: ModelFolder) -> np.ndarray:
    from ros2_emollama.model.graphs import graph_specs

    return encoders.run("fusion", drawn_inputs(graph_specs(folder.preset)["fusion"], folder.preset))["probabilities"]


def test_onnx_runtime_serves_until_the_engines_are_built_and_hands_over(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.may_build.clear()
    with caplog.at_level(logging.WARNING):
        encoders, llama = bench.serve()
        before = fused(encoders, bench.folder)
        assert encoders.name == llama.name == "onnxruntime:CPUExecutionProvider"
        bench.may_build.set()
        until(lambda: encoders.name == "tensorrt:1.0" and "language model is handed over" in caplog.text)
    np.testing.assert_allclose(fused(encoders, bench.folder), before, atol=1e-5)
    assert "ONNX Runtime serves meanwhile" in caplog.text and sorted(bench.builds) == sorted(bench.cache.graphs)


def test_the_language_model_is_handed_over_in_the_middle_of_a_sentence(bench: Bench) -> None:
    bench.may_build.clear()
    _, llama = bench.serve()
    rows = bench.rows(30)
    llama.extend(rows[:20])
    llama.extend(rows[:5])
    llama.rewind(20)
    bench.may_build.set()
    until(lambda: llama._next is not None)
    llama.rewind(18)
    close(llama.extend(rows[18:]), bench.at_once(rows))
    assert llama.position == 30 and llama.name == "tensorrt:1.0"


def test_engines_that_are_there_serve_at_once_and_nothing_else_is_loaded(bench: Bench) -> None:
    for graph in bench.cache.graphs:
        bench.put(graph, graph.encode())
    nothing: Callable[[], object] = lambda: pytest.fail("ONNX Runtime was loaded too")  # noqa: E731
    encoders, llama = serve(bench.cache, lambda: bench.device, nothing, nothing)
    assert llama is not None and encoders.name == llama.name == "tensorrt:1.0" and not bench.builds


def test_an_engine_that_tensorrt_does_not_load_is_built_once_more(bench: Bench) -> None:
    for graph in bench.cache.graphs:
        bench.put(graph, b"of another driver" if graph == "fusion" else graph.encode())
    encoders, _ = bench.serve()
    assert bench.builds == ["fusion"] and encoders.name == "tensorrt:1.0"
    assert (bench.cache.root / "fusion.engine.rejected").read_bytes() == b"of another driver"


def test_one_that_does_not_load_even_then_leaves_the_place_to_onnx_runtime(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for graph in bench.cache.graphs:
        bench.put(graph, graph.encode())
    del bench.engines[b"fusion"]
    encoders, llama = bench.serve()
    assert bench.builds == ["fusion"] and encoders.name == "onnxruntime:CPUExecutionProvider" and llama.name == "tensorrt:1.0"
    assert "does not load" in caplog.text and "use model.runtime onnxruntime" in caplog.text
    assert fused(encoders, bench.folder).sum() == pytest.approx(1)


def test_an_engine_that_fails_at_work_gives_its_place_back(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for graph in bench.cache.graphs:
        bench.put(graph, graph.encode())
    encoders, llama = bench.serve()
    rows, expected = bench.rows(12), fused(encoders, bench.folder)
    llama.extend(rows[:8])
    for engine in bench.engines.values():
        engine.broken = True
    np.testing.assert_allclose(fused(encoders, bench.folder), expected, atol=1e-5)
    reference = OnnxLlama(bench.folder)
    reference.extend(rows[:8])
    np.testing.assert_array_equal(llama.extend(rows[8:]), reference.extend(rows[8:]))
    assert encoders.name == llama.name == "onnxruntime:CPUExecutionProvider"
    assert "tensorrt:1.0 failed at fusion" in caplog.text


def test_without_the_form_tensorrt_takes_only_the_language_model_stays(nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder(nano)
    language = {role: file for role, file in folder.manifest.language.items() if role != "tensorrt"}
    folder = dataclasses.replace(folder, manifest=dataclasses.replace(folder.manifest, language=language))
    bench = Bench(folder, tmp_path / "engines", monkeypatch)
    encoders, llama = bench.serve()
    until(lambda: encoders.name == "tensorrt:1.0")
    assert llama.name == "onnxruntime:CPUExecutionProvider" and "llama" not in bench.builds


# By name.


def test_tensorrt_without_a_gpu_is_refused_and_auto_takes_the_next(nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    from ros2_emollama.runtime import engine_serving

    monkeypatch.setattr(engine_serving, "find_gpu", lambda: None)
    monkeypatch.setattr(factory, "find_gpu", lambda: None)
    with pytest.raises(RuntimeUnavailable, match=r"no NVIDIA GPU answers; install its driver .*model\.runtime to onnxruntime"):
        open_runtime(open_folder(nano), "tensorrt")
    encoders, llama = open_runtime(open_folder(nano), "auto", with_language=False)
    assert encoders.name.startswith("onnxruntime:") and llama is None


def test_a_gpu_that_is_not_used_is_told(nano: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As on a machine with a card, where only the CPU's ONNX Runtime is installed."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime offers CUDA")
    monkeypatch.setattr(factory, "find_gpu", lambda: GPU)
    open_runtime(open_folder(nano), "auto", with_language=False)
    assert "TensorRT does not serve" in caplog.text and "all runs on the CPU; pip uninstall onnxruntime && pip install" in caplog.text


@pytest.mark.parametrize("name", ["onnxruntime_cuda", "onnxruntime_tensorrt"])
def test_a_provider_that_is_not_there_or_not_got_is_refused(nano: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if len(onnxruntime.get_available_providers()) > 2:
        pytest.skip("this ONNX Runtime has providers for a GPU")
    with pytest.raises(RuntimeUnavailable, match=r"this ONNX Runtime has no \w+; .*pip install onnxruntime-gpu"):
        open_runtime(open_folder(nano), name)
    offered = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]  # what onnxruntime-gpu says even without a GPU
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RuntimeUnavailable, match=r"was asked for and the session runs on onnxruntime:CPUExecutionProvider; see that"):
        open_runtime(open_folder(nano), name)


def test_one_that_is_not_got_is_a_warning_where_any_will_do(
    nano: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime offers CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    encoders, _ = open_runtime(open_folder(nano), "onnxruntime", with_language=False)
    assert encoders.name == "onnxruntime:CPUExecutionProvider"
    assert "asked for CUDAExecutionProvider and gives CPUExecutionProvider" in caplog.text
