"""TensorRT for RTX builds here, with no GPU; what does not build says why; an engine that does not fit is never run."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("tensorrt_rtx")

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from export import build_trt
from ros2_emollama.model.folder import open_folder
from ros2_emollama.model.streams import LlamaPreset
from ros2_emollama.runtime import engine_build, engine_cache
from ros2_emollama.runtime.base import RuntimeUnavailable
from ros2_emollama.runtime.engine_build import BuildRequest, build_engine, manifest_path
from ros2_emollama.runtime.engine_cache import EngineCache
from ros2_emollama.runtime.engine_manifest import EngineError, EngineManifest, mismatch, read_manifest
from ros2_emollama.runtime.engine_profiles import language_profiles
from ros2_emollama.runtime.engine_source import read_source
from ros2_emollama.runtime.gpu import Gpu, find_gpu
from ros2_emollama.runtime.tensorrt_flavor import find_flavor
from tests.runtime.llama_graphs import write_llama

LLAMA = LlamaPreset(hidden=64, layers=2, heads=4, kv_heads=4, intermediate=96, vocab=128, context=384)
RTX_4090 = Gpu("NVIDIA GeForce RTX 4090", "8.9", "580.10")


def wanted(graph: str = "graph", profiles: tuple = ()) -> EngineManifest:
    return EngineManifest(graph, "tensorrt_rtx", find_flavor("tensorrt_rtx").version, "", "", "", "model@1", "0" * 64, profiles)


def build(source: Path, output: Path, profiles: tuple = (), **options: float) -> EngineManifest:
    return build_engine(BuildRequest(source, output / "x.engine", wanted(profiles=profiles)), **options)


def save(path: Path, nodes: list, inputs: list, outputs: list, weights: list = (), **domains: int) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(name, version) for name, version in domains.items())]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def tensor(name: str, shape: tuple, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


# Building.


@pytest.fixture(scope="module")
def engines(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Engines of every graph of the shipped model, as the command line makes them. Do not change them; copy them."""
    output = tmp_path_factory.mktemp("engines")
    assert build_trt.main(["--model", str(nano), "--flavor", "tensorrt_rtx", "--output", str(output)]) == 0
    return output


@pytest.mark.skipif(find_gpu() is not None, reason="with a GPU, engines are made for that one")
def test_every_graph_of_the_shipped_model_builds_and_says_for_what(engines: Path, nano: Path) -> None:
    folder = open_folder(nano)
    for graph in folder.manifest.graphs:
        made = read_manifest(engines / f"{graph}.engine.json")
        assert (made.graph, made.flavor, made.model_id) == (graph, "tensorrt_rtx", folder.model_id)
        assert made.source_sha256 == folder.manifest.files[f"{graph}.onnx"]["sha256"]
        assert made.engine_bytes == (engines / f"{graph}.engine").stat().st_size > 1_000_000
        assert (made.gpu, made.capability, made.driver) == ("", "", "") and made.build_seconds > 0 and made.peak_mb > 50
    shapes = read_manifest(engines / "frame_encoder.engine.json").profiles[0]["pixels"]
    assert [frames for frames, *_ in shapes] == [1, 1, 16]
    assert not list(engines.glob("*.part"))


def test_a_four_bit_language_model_with_its_cache_builds_and_tells_its_progress(tmp_path: Path) -> None:
    write_llama(tmp_path / "llama.onnx", LLAMA, external=True)
    told: list[tuple[float, str]] = []
    made = build(tmp_path / "llama.onnx", tmp_path, language_profiles(LLAMA), progress=lambda share, text: told.append((share, text)))
    assert len(made.profiles) == 2 and made.profiles[1]["inputs_embeds"][2] == [1, 1, 64]
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and len(shares) > 5 and shares[-1] == 1.0 and all(text for _, text in told)


@pytest.mark.slow
def test_two_layers_of_a_7b_build_within_two_gigabytes_and_stay_four_bits(tmp_path: Path) -> None:
    shape = LlamaPreset(hidden=4096, layers=2, heads=32, kv_heads=32, intermediate=11008, vocab=32000, context=1024)
    write_llama(tmp_path / "llama.onnx", shape, external=True)
    made = build(tmp_path / "llama.onnx", tmp_path, language_profiles(shape))
    weights = 2 * (4 * 4096**2 + 3 * 4096 * 11008) + 4096 * 32000
    assert made.peak_mb < 2000 and 8 * made.engine_bytes / weights < 4.7


@pytest.mark.slow
def test_encoders_of_full_width_build_at_two_layers(tmp_path: Path) -> None:
    """EVA ViT-g's width with 448 and 224 pictures, Whisper-large-v3's, fusion and projections to 4096: as a Jetson would build them."""
    pytest.importorskip("torch")
    from benchmarks.random_model import drawn_network
    from export.to_onnx import export_graph
    from ros2_emollama.model.graphs import graph_specs
    from ros2_emollama.model.presets import EMOTION_LLAMA_V2
    from ros2_emollama.model.sizes import graph_weights
    from ros2_emollama.runtime.engine_profiles import encoder_profiles

    vision = dataclasses.replace(EMOTION_LLAMA_V2.vision, scene_blocks=2, frame_blocks=3)
    preset = dataclasses.replace(EMOTION_LLAMA_V2, vision=vision, audio=dataclasses.replace(EMOTION_LLAMA_V2.audio, layers=2))
    for graph, spec in graph_specs(preset).items():
        export_graph(drawn_network(preset, graph), spec, tmp_path / f"{graph}.onnx")
        made = build(tmp_path / f"{graph}.onnx", tmp_path, encoder_profiles(spec, preset))
        held = 4 * graph_weights(preset)[graph]  # engines are in float32
        assert held < made.engine_bytes < 1.1 * held + 2e6, graph
        assert made.peak_mb < 2500
        print(f"{graph}: {made.engine_bytes / 1e6:.0f} MB, {made.build_seconds} s, {made.peak_mb} MB")


def test_pixels_that_become_numbers_first_do_not_change_the_result(nano: Path) -> None:
    path = nano / "frame_encoder.onnx"
    pixels = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    before, after = (
        ort.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, {"pixels": pixels})
        for source in (str(path), read_source(path))
    )
    for first, second in zip(before, after, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)  # kernels of several CPUs round in another order


# Refusals: what, where, cure; and nothing left behind.


def refused(source: Path, output: Path, profiles: tuple = (), **options: float) -> str:
    with pytest.raises(EngineError) as caught:
        build(source, output, profiles, **options)
    assert not list(output.glob("x.engine*"))
    return str(caught.value)


def test_a_block_that_does_not_divide_a_matrix_is_refused_with_its_cure(tmp_path: Path) -> None:
    odd = dataclasses.replace(LLAMA, intermediate=80)
    write_llama(tmp_path / "llama.onnx", odd)
    text = refused(tmp_path / "llama.onnx", tmp_path, language_profiles(odd))
    assert "whole blocks" in text and text.endswith("(--block-size)")


def test_an_operator_that_tensorrt_lacks_is_named(tmp_path: Path) -> None:
    node = helper.make_node("GroupQueryAttention2", ["x"], ["y"], domain="somewhere")
    path = save(tmp_path / "g.onnx", [node], [tensor("x", (1, 4))], [tensor("y", (1, 4))], somewhere=1)
    text = refused(path, tmp_path)
    assert "GroupQueryAttention2" in text and "model.runtime onnxruntime" in text


def test_arithmetic_on_bytes_is_refused_by_the_operator(tmp_path: Path) -> None:
    kind = TensorProto.UINT8
    path = save(tmp_path / "g.onnx", [helper.make_node("Add", ["x", "x"], ["y"])], [tensor("x", (4,), kind)], [tensor("y", (4,), kind)])
    text = refused(path, tmp_path)
    assert "Add" in text and "cast the pixels to float before it" in text


def test_weights_that_are_missing_or_cut_off_are_told_by_file(tmp_path: Path) -> None:
    write_llama(tmp_path / "llama.onnx", LLAMA, external=True)
    data = tmp_path / "llama.onnx.data"
    data.write_bytes(data.read_bytes()[:-1000])
    with pytest.raises(EngineError, match=r"llama\.onnx\.data has .* copy it again"):
        read_source(tmp_path / "llama.onnx")
    data.unlink()
    assert "llama.onnx.data, which is missing; put it back" in refused(tmp_path / "llama.onnx", tmp_path)


def test_what_is_no_onnx_or_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"\xff\xfenothing")
    with pytest.raises(EngineError, match=r"g\.onnx is no ONNX file"):
        read_source(tmp_path / "g.onnx")
    with pytest.raises(EngineError, match=r"none\.onnx is missing"):
        read_source(tmp_path / "none.onnx")


def test_a_build_that_takes_more_memory_than_it_may_is_ended(tmp_path: Path) -> None:
    write_llama(tmp_path / "llama.onnx", LLAMA)
    text = refused(tmp_path / "llama.onnx", tmp_path, language_profiles(LLAMA), memory_mb=60.0)
    assert "takes more than" in text and "60 MB may be taken" in text and "--memory-mb" in text


def test_weights_larger_than_the_memory_are_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = numpy_helper.from_array(np.zeros(2_000_000, np.float32), "w")
    add, size = helper.make_node("Add", ["x", "w"], ["y"]), (2_000_000,)
    path = save(tmp_path / "g.onnx", [add], [tensor("x", (1,))], [tensor("y", size)], [weight])
    monkeypatch.setattr(engine_build, "_child", lambda *_: pytest.fail("a build was started"))
    assert "takes at least 8 MB, 5 MB may be taken" in refused(path, tmp_path, memory_mb=5.0)


def test_a_gpu_that_tensorrt_for_rtx_has_no_target_for_is_refused(tmp_path: Path) -> None:
    request = BuildRequest(tmp_path / "g.onnx", tmp_path / "x.engine", wanted(), capability="8.7")
    with pytest.raises(EngineError, match=r"no engines for compute capability 8\.7 .* use --flavor tensorrt, which a Jetson has"):
        build_engine(request)


# What is there: verified, put aside, built once more.


@pytest.fixture
def cache(engines: Path, nano: Path, tmp_path: Path) -> EngineCache:
    """A copy of the engines, on a machine that says it has an RTX 4090."""
    return EngineCache(open_folder(nano), find_flavor("tensorrt_rtx"), RTX_4090, Path(shutil.copytree(engines, tmp_path / "engines")))


def edit(cache: EngineCache, **changes: object) -> None:
    path = manifest_path(cache.engine("fusion"))
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FAULTS = {
    "a flipped bit": (lambda cache: flip(cache.engine("fusion")), "its bytes are not those that were built"),
    "cut off": (lambda cache: cache.engine("fusion").write_bytes(b"short"), "its bytes are not those"),
    "another TensorRT": (lambda cache: edit(cache, tensorrt="1.4.0.0"), "it is of tensorrt_rtx 1.4.0.0, installed is"),
    "the other flavor": (lambda cache: edit(cache, flavor="tensorrt"), "it is of tensorrt "),
    "another GPU": (lambda cache: edit(cache, capability="12.0", gpu="RTX 5090"), "built for RTX 5090 12.0, this machine has NVIDIA"),
    "another model": (lambda cache: edit(cache, source_sha256="1" * 64), "it was built from fusion of"),
    "other shapes": (lambda cache: edit(cache, profiles=[{"x": [[1], [1], [2]]}]), "built for other shapes"),
    "no manifest": (lambda cache: manifest_path(cache.engine("fusion")).unlink(), "nothing says what the engine is made for"),
    "a manifest that is none": (lambda cache: manifest_path(cache.engine("fusion")).write_text("{"), "cannot be read"),
    "a manifest of another format": (lambda cache: edit(cache, format=9), "of format 9"),
    "an unknown field": (lambda cache: edit(cache, colour="red"), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_an_engine_that_does_not_fit_is_put_aside_and_built_once(
    cache: EngineCache, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good = cache.engine("fusion").read_bytes()
    builds = []

    def rebuild(request: BuildRequest, **_: object) -> EngineManifest:
        builds.append(request)
        request.output.write_bytes(good)
        made = dataclasses.replace(request.wanted, engine_sha256=engine_cache.file_facts(request.output)["sha256"])
        manifest_path(request.output).write_text(made.to_json())
        return made

    monkeypatch.setattr(engine_cache, "build_engine", rebuild)
    damage, told = FAULTS[fault]
    damage(cache)
    damaged = cache.engine("fusion").read_bytes()
    with caplog.at_level(logging.WARNING):
        assert cache.obtain("fusion")[1], "it was built again"
    assert told in caplog.text
    assert cache.engine("fusion").with_name("fusion.engine.rejected").read_bytes() == damaged
    assert not cache.obtain("fusion")[1] and len(builds) == 1
    assert builds[0].capability == "8.9", "with a GPU, for that one"


def test_an_engine_that_fits_is_found_and_nothing_is_built(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_cache, "build_engine", lambda *_, **__: pytest.fail("a build was started"))
    for graph in cache.graphs:
        made, built = cache.obtain(graph)
        assert not built and made.graph == graph


def test_a_full_engine_runs_on_its_own_kind_of_gpu_only() -> None:
    made = dataclasses.replace(wanted(), flavor="tensorrt", gpu="Orin", capability="8.7")
    assert mismatch(made, made, Gpu("Orin", "8.7", "540.4")) == ""
    assert "this machine has RTX A6000" in mismatch(made, made, Gpu("RTX A6000", "8.6", "580"))


@pytest.mark.parametrize(("capability", "fits"), [("7.5", False), ("8.0", True), ("8.6", True), ("8.7", False), ("12.0", True)])
def test_an_rtx_engine_for_all_cards_runs_from_ampere_on(capability: str, fits: bool) -> None:
    assert (mismatch(wanted(), wanted(), Gpu("card", capability, "580")) == "") == fits


def test_a_graph_that_there_is_none_of_is_answered_with_those_there_are(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"no graph 'smell'.* choose frame_encoder, scene_encoder, audio_encoder, fusion"):
        cache.source("smell")
    manifest = dataclasses.replace(cache.folder.manifest, language={"graph": "llama/model.onnx"})
    monkeypatch.setattr(cache, "folder", dataclasses.replace(cache.folder, manifest=manifest))
    with pytest.raises(EngineError, match="no language model in the form TensorRT takes"):
        cache.obtain("llama")


def test_the_full_one_needs_the_gpu_it_builds_for(nano: Path, tmp_path: Path) -> None:
    full = dataclasses.replace(find_flavor("tensorrt_rtx"), name="tensorrt")
    with pytest.raises(EngineError, match=r"builds for the GPU it sees, and there is none here.*--flavor tensorrt_rtx"):
        EngineCache(open_folder(nano), full, None, tmp_path)


def test_a_folder_that_cannot_be_written_is_told_with_the_option(nano: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = EngineCache(open_folder(nano), find_flavor("tensorrt_rtx"), None, tmp_path / "file")
    with pytest.raises(EngineError, match=r"cannot be written to .*; set model\.engines"):
        cache.obtain("fusion")


# The command line.


def test_engines_that_are_there_are_not_built_again(engines: Path, nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_trt.main(["--model", str(nano), "--flavor", "tensorrt_rtx", "--output", str(engines), "--graph", "fusion"]) == 0
    assert re.search(r"fusion: \d+\.\d MB, was there and fits", capsys.readouterr().out)


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")
def test_a_check_without_a_gpu_is_refused(engines: Path, nano: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_trt.main(["--model", str(nano), "--output", str(engines), "--check"]) == 2
    assert "there is no GPU here" in capsys.readouterr().err


def test_without_tensorrt_the_error_says_what_to_install(
    nano: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # as if it were not installed
    with pytest.raises(RuntimeUnavailable, match=r"tensorrt cannot be loaded .*install it: pip install tensorrt .*JetPack"):
        find_flavor("tensorrt")
    assert build_trt.main(["--model", str(nano), "--flavor", "tensorrt"]) == 2
    assert "pip install tensorrt" in capsys.readouterr().err
    with pytest.raises(RuntimeUnavailable, match="choose auto, tensorrt or tensorrt_rtx"):
        find_flavor("tensorrt_lite")


def test_an_altered_model_is_not_built_from(nano: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    altered = Path(shutil.copytree(nano, tmp_path / "nano"))
    (altered / "fusion.onnx").write_bytes(b"no")
    assert build_trt.main(["--model", str(altered), "--output", str(tmp_path / "out")]) == 2
    assert "fusion.onnx is not the one in the manifest" in capsys.readouterr().err
