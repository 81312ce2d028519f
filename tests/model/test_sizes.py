"""Counts without torch are those of the network, and of the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ros2_emollama.model.folder import open_folder
from ros2_emollama.model.graphs import graph_specs
from ros2_emollama.model.presets import PRESETS, TINY
from ros2_emollama.model.sizes import cache_numbers, graph_live, graph_weights, llama_matrices, llama_rest
from ros2_emollama.model.streams import UNFUSED, FusionPreset

PUBLISHED = FusionPreset(head_hidden=128, affect=True)
TRAINED = {  # with heads that training puts on published presets
    "v2, heads": replace(PRESETS["emotion_llama_v2"], fusion=PUBLISHED),
    "v1, heads": replace(PRESETS["emotion_llama"], fusion=replace(PUBLISHED, method=UNFUSED)),
}


@pytest.mark.parametrize("name", [*sorted(PRESETS), *TRAINED])
def test_every_number_of_every_graph_is_counted(name: str) -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.random_model import used_by
    from ros2_emollama.model.network import EmotionNetwork

    preset = {**PRESETS, **TRAINED}[name]
    with torch.device("cpu" if preset.vision.kind == "nano" else "meta"):
        network = EmotionNetwork(preset)
    counted = graph_weights(preset)
    assert set(counted) == set(graph_specs(preset))
    for graph in counted:
        part = used_by(network, graph)
        tensors = {id(value): (key, value.numel()) for key, value in (*part.named_parameters(), *part.named_buffers())}
        held = sum(count for key, count in tensors.values() if _used(graph, key) and "num_batches_tracked" not in key)
        assert counted[graph] == held, graph


def _used(graph: str, key: str) -> bool:
    """nano's two graphs of pictures hold one module and leave out what the other one is for."""
    unused = {"frame_encoder": ("vision.scene_",), "scene_encoder": ("vision.face_net", "vision.place_code")}
    return not key.startswith(unused.get(graph, ("-",)))


def test_the_files_of_the_shipped_model_hold_what_is_counted(nano: Path) -> None:
    """Half floats, and a little of graph around them."""
    folder = open_folder(nano)
    for graph, count in graph_weights(folder.preset).items():
        assert 2 * count < folder.manifest.files[f"{graph}.onnx"]["bytes"] < 2 * count + 450_000, graph
    llama = folder.preset.llama
    expected = llama_matrices(llama) * 5 / 8 + 4 * llama_rest(llama)
    assert folder.manifest.files["llama/model.onnx"]["bytes"] == pytest.approx(expected, rel=0.05)


def test_llama_2_7b_has_the_published_number_of_parameters() -> None:
    llama = PRESETS["emotion_llama_v2"].llama
    rotary = llama.context * llama.hidden // llama.heads
    assert llama_matrices(llama) + llama_rest(llama) - rotary + llama.vocab * llama.hidden == 6_738_415_616
    assert cache_numbers(llama, 1) == 2 * 32 * 4096


def test_only_graphs_of_the_preset_are_alive() -> None:
    for preset in PRESETS.values():
        assert set(graph_live(preset)) <= set(graph_specs(preset))
    assert graph_live(TINY)["frame_encoder"] == 16 * graph_live(TINY)["scene_encoder"]
