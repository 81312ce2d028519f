"""Presets of several kinds share one form; nano's manifest did not change when the others came."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ros2_emollama.model.graphs import FRAME_BATCH, chains, free_sizes, graph_specs
from ros2_emollama.model.presets import EMOTION_LLAMA, EMOTION_LLAMA_V2, NANO, PRESETS, Preset, preset_from_dict
from ros2_emollama.model.resample import squeeze
from ros2_emollama.model.streams import EvaPreset, PrefixPreset, WhisperPreset
from ros2_emollama.model.whisper_mel import whisper_log_mel


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_preset_survives_its_json(preset: Preset) -> None:
    assert preset_from_dict(json.loads(json.dumps(preset.to_dict()))) == preset


def test_another_fusion_survives_its_json() -> None:
    other = replace(NANO, fusion=replace(NANO.fusion, method="q_former"))
    assert preset_from_dict(json.loads(json.dumps(other.to_dict()))) == other != NANO


def test_nanos_manifest_holds_no_word_of_what_came_later() -> None:
    told = NANO.to_dict()
    assert list(told) == [
        *("name", "window_seconds", "window_frames", "scene_frame", "labels"),
        *("vision", "audio", "fusion", "prefix", "llama"),
    ]
    assert "kind" not in told["vision"] and set(told["prefix"]) == {"fusion", "scene", "frames", "audio", "recent_frames"}
    assert "bos_token" not in told["llama"]


def test_the_shipped_manifest_is_read_as_nano(nano: object) -> None:
    from pathlib import Path

    content = json.loads((Path(str(nano)) / "manifest.json").read_text())
    preset = preset_from_dict(content["preset"])
    assert content["preset"] == json.loads(json.dumps(preset.to_dict()))
    # The shipped weights may be older than the recipe's way of pooling frames for the language model.
    assert replace(preset, prefix=replace(preset.prefix, recent_frames=NANO.prefix.recent_frames)) == NANO


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("vision", {"kind": "clip"}, "vision is of unknown kind 'clip'; known: nano, eva"),
        ("audio", {"kind": "whisper", "volume": 3}, "WhisperPreset has no field volume"),
        ("vision", {"kind": "eva", "frame_blocks": 20}, "frame_blocks must be 0 or at least scene_blocks 39"),
        ("vision", {"kind": "eva", "scene_pixels": 450}, "must be whole patches of 14"),
        ("prefix", {"absent": "dropped"}, "absent must be zeros, left_out or kept"),
        ("fusion", {"head_hidden": -1}, "head_hidden must be a number in"),
        ("fusion", {"head_hidden": 8, "head_reads_streams": True}, "in a preset of nano's kind"),
        ("vision", 3, "object is not iterable"),
    ],
)
def test_a_part_that_cannot_be_is_refused_by_name(part: str, value: object, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        preset_from_dict({**EMOTION_LLAMA_V2.to_dict(), part: value})


def test_a_window_longer_than_whisper_hears_is_refused() -> None:
    with pytest.raises(ValueError, match="a window may last 30 s at most, got 32"):
        replace(EMOTION_LLAMA_V2, window_seconds=32.0)


def test_published_prefixes_have_the_published_parts_in_order() -> None:
    assert EMOTION_LLAMA_V2.prefix.parts == {"fusion": 64, "scene": 256, "frames": 64, "audio": 64}
    assert EMOTION_LLAMA.prefix.parts == {"scene": 256, "utterances": 2, "audio": 1, "cls": 1}
    assert (EMOTION_LLAMA_V2.prefix.tokens, EMOTION_LLAMA.prefix.tokens, PrefixPreset().tokens) == (448, 260, 24)


def test_frames_and_scene_of_eva_go_through_one_graph() -> None:
    for preset in (EMOTION_LLAMA_V2, EMOTION_LLAMA):
        streams = {name: chain for name, chain in chains(preset).items() if name != "audio"}
        assert all("vision_blocks" in chain for chain in streams.values())
        assert {name for chain in chains(preset).values() for name in chain} | {"fusion"} == set(graph_specs(preset))
    assert set(chains(EMOTION_LLAMA)) == {"scene", "audio"}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_free_size_has_a_range_and_each_chain_fits_together(preset: Preset) -> None:
    specs, sizes = graph_specs(preset), free_sizes(preset)
    named = {size for spec in specs.values() for tensor in (*spec.inputs, *spec.outputs) for size in tensor.shape if isinstance(size, str)}
    assert named <= set(sizes) and all(least <= usual <= most for least, usual, most in sizes.values())
    for chain in chains(preset).values():
        for before, after in pairwise(chain):
            given, taken = specs[before].outputs, specs[after].inputs
            assert len(given) == len(taken) == 1 and given[0].shape[-1] == taken[0].shape[-1]


def test_a_batch_of_frames_needs_no_more_room_than_a_scene() -> None:
    eva = EvaPreset()
    assert FRAME_BATCH * (eva.frame_patches + 1) <= eva.scene_patches + 1 + FRAME_BATCH


@pytest.mark.parametrize("bicubic", [True, False])
@pytest.mark.parametrize(("height", "width"), [(480, 640), (224, 448), (100, 37), (448, 448)])
def test_squeezing_is_pillows(height: int, width: int, bicubic: bool) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    kernel = image.Resampling.BICUBIC if bicubic else image.Resampling.BILINEAR
    expected = np.asarray(image.fromarray(pixels).resize((224, 224), kernel)).astype(int)
    assert np.abs(squeeze(pixels, 224, bicubic).astype(int) - expected).max() <= 1  # Pillow's weights are whole numbers


def test_a_picture_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8 RGB, got \(4, 4\)"):
        squeeze(np.zeros((4, 4), np.uint8), 8, True)


def test_whispers_features_are_transformers_own() -> None:
    extractor = pytest.importorskip("transformers").WhisperFeatureExtractor(feature_size=128)
    samples = np.random.default_rng(1).standard_normal(70000).astype(np.float32) * np.linspace(0, 0.3, 70000, dtype=np.float32)
    expected = extractor(samples, sampling_rate=16000, return_tensors="np").input_features[0]
    found = whisper_log_mel(samples, WhisperPreset())
    assert found.shape == (128, 3000) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(ValueError, match="at most 480000"):
        whisper_log_mel(np.zeros(480001, np.float32), WhisperPreset())
