"""The memory plan against running models, and what it advises.

TOLERANCE: a plan is arithmetic on shapes. Allocators round up, and NumPy's copies come and go; within a quarter one can tell 8 GB from 16.
What is compared is anonymous memory, beyond a process without a model: how many pages of its libraries a process has hangs on what else the
machine had read lately (40 to 76 MB of the same program, hours apart). PROCESS_BYTES is the larger.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ros2_emollama.model.presets import EMOTION_LLAMA, EMOTION_LLAMA_V2, NANO, TINY, Preset
from ros2_emollama.model.streams import LlamaPreset
from ros2_emollama.runtime.memory_plan import MB, PLANNED, PROCESS_BYTES, Room, Setup, changes, plan_memory

TOLERANCE = 0.25
GB = 1 << 30


def grown(found: dict) -> float:
    """MB that a model added to its process."""
    taken: float = found["used"]["anonymous_mb"] - found["started"]["anonymous_mb"]
    return taken


def beyond_process(preset: Preset) -> float:
    return (plan_memory(Setup(preset)).total - PROCESS_BYTES) / MB


def test_the_shipped_model_takes_what_its_plan_says(nano: Path) -> None:
    from benchmarks.memory import measure

    found = measure(nano)
    assert found["runs_on"]["encoders"] == "onnxruntime:CPUExecutionProvider" or "CUDA" in found["runs_on"]["encoders"]
    assert beyond_process(NANO) == pytest.approx(grown(found), rel=TOLERANCE)
    assert found["started"]["rss_mb"] < PROCESS_BYTES / MB and found["used"]["rss_mb"] < 1.1 * plan_memory(Setup(NANO)).total / MB


@pytest.fixture(scope="module")
def wide_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model alone, of 34 million weights, with a prompt as long as Emotion-LLaMAv2's."""
    pytest.importorskip("torch")
    from benchmarks.random_llama import write_random_llama
    from benchmarks.random_model import hugging_face_sizes
    from export.quantize_llama import quantize_llama
    from ros2_emollama.model.folder import Manifest, write_manifest

    root = tmp_path_factory.mktemp("wide")
    llama = LlamaPreset(hidden=1024, layers=2, heads=16, kv_heads=16, intermediate=2752, vocab=8000, context=1024)
    prefix = dataclasses.replace(EMOTION_LLAMA_V2.prefix, absent=TINY.prefix.absent)
    preset = dataclasses.replace(TINY, name="wide", llama=llama, prefix=prefix)
    write_random_llama(root / "source", vocab_size=llama.vocab, context=llama.context, **hugging_face_sizes(llama))
    language, facts = quantize_llama(root / "source", root / "model", keep_weights=False)
    write_manifest(root / "model", Manifest("wide", preset, {}, language, {}, facts))
    return root / "model"


def test_a_wider_language_model_takes_what_its_plan_says(wide_llama: Path) -> None:
    """What comes on top of the process: weights, cache and the arena of a prompt of 576 positions."""
    from benchmarks.memory import measure
    from ros2_emollama.model.folder import open_folder

    found = measure(wide_llama)
    plan = plan_memory(Setup(open_folder(wide_llama).preset))
    planned = sum(part.total for part in plan.parts if part.name in ("language model", "embeddings")) / MB
    assert planned == pytest.approx(grown(found), rel=TOLERANCE)
    assert found["used"]["peak_mb"] < found["used"]["rss_mb"] * 1.1  # nothing is taken for a moment that the plan leaves out


@pytest.mark.slow
def test_published_kinds_of_streams_take_what_their_plan_says(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from benchmarks.memory import measure
    from benchmarks.random_model import SMALL_V2, write_random_model

    write_random_model(tmp_path / "model", SMALL_V2)
    assert beyond_process(SMALL_V2) == pytest.approx(grown(measure(tmp_path / "model")), rel=TOLERANCE)


def test_a_7b_takes_some_four_gigabytes_of_weights_and_a_gigabyte_of_cache() -> None:
    """6.6e9 weights of 5 bits in the file, of 6 where ONNX Runtime has packed them for a CPU, of 4.5 for TensorRT."""
    [part] = [part for part in plan_memory(Setup(EMOTION_LLAMA_V2)).parts if part.name == "language model"]
    assert part.weights / GB == pytest.approx(4.62, abs=0.01) and part.cache == GB  # 1024 positions in float32
    engine = next(part for part in plan_memory(Setup(EMOTION_LLAMA_V2, "tensorrt")).parts if part.name == "language model")
    assert engine.weights / GB == pytest.approx(3.46, abs=0.01)
    encoders = next(part for part in plan_memory(Setup(EMOTION_LLAMA_V2)).parts if part.name == "encoders")
    assert encoders.weights == 4 * (2273926 + 984701952 + 2816 + 1192582 + 25251584 + 637064960 + 37981955)


@pytest.mark.parametrize("runtime", PLANNED)
def test_a_plan_grows_with_what_it_is_of(runtime: str) -> None:
    def total(**changed: object) -> int:
        return plan_memory(dataclasses.replace(Setup(EMOTION_LLAMA_V2, runtime), **changed)).total

    longer = dataclasses.replace(EMOTION_LLAMA_V2, llama=dataclasses.replace(EMOTION_LLAMA_V2.llama, context=2048, layers=40))
    assert total(language=False) < total() < total(preset=longer)
    assert total(preset=EMOTION_LLAMA) < total()
    assert total(block_size=128) < total() or runtime == "torch"
    on_gpu = plan_memory(Setup(EMOTION_LLAMA_V2, runtime)).of("gpu")
    assert (on_gpu > 0) == (runtime in ("tensorrt", "onnxruntime_cuda"))


def test_a_jetson_counts_both_places_and_a_card_each_alone() -> None:
    plan = plan_memory(Setup(EMOTION_LLAMA_V2, "onnxruntime_cuda"))
    whole = int((plan.total + plan.loading) / 0.95) + MB
    assert Room(whole, unified=True).lacks(plan) == 0 < Room(whole - 100 * MB, unified=True).lacks(plan)
    card = Room(8 * GB, gpu=int(plan.of("gpu") / 0.95) + MB)
    assert card.lacks(plan) == 0 and dataclasses.replace(card, gpu=12 * GB).lacks(plan) > GB
    assert not Room(64 * GB).has_place_for("tensorrt") and Room(64 * GB).has_place_for("onnxruntime")


def test_what_suffices_is_advised_first_and_every_advice_helps() -> None:
    setup, room = Setup(EMOTION_LLAMA_V2, "tensorrt"), Room(15 * GB, unified=True)
    now, advised = plan_memory(setup), changes(setup, room)
    assert room.lacks(now) > 0
    assert [change.lacks for change in advised] == sorted(change.lacks for change in advised)
    assert all(change.lacks < room.lacks(now) or change.plan.total < now.total for change in advised)
    fitting = [change.text for change in advised if not change.lacks]
    assert any("reasoner.mode remote" in text for text in fitting) and any("smaller language model" in text for text in fitting)
    assert not any("reasoner.enabled" in change.text for change in advised)  # without a label head there would be no labels


def test_a_shorter_context_is_advised_only_where_the_prompt_still_fits() -> None:
    long = dataclasses.replace(EMOTION_LLAMA_V2, llama=dataclasses.replace(EMOTION_LLAMA_V2.llama, context=4096))
    texts = [change.text for change in changes(Setup(long), Room(8 * GB))]
    assert any("--context 1024" in text for text in texts)
    assert not any("--context" in change.text for change in changes(Setup(EMOTION_LLAMA_V2), Room(8 * GB)))  # 448 + 192 do not go into 512
    assert any("--context 512" in change.text for change in changes(Setup(EMOTION_LLAMA), Room(8 * GB)))  # 260 + 192 do


def test_a_runtime_that_is_not_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="runtime must be one of tensorrt"):
        Setup(NANO, "llama.cpp")
