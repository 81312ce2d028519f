"""The pipeline's results depend on the window alone: not on what came before, not on how it was cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ros2_emollama.config import Config, ModelConfig, ReasonerConfig
from ros2_emollama.model.folder import ModelFolderError
from ros2_emollama.options import ConfigError
from ros2_emollama.pipeline import Pipeline
from ros2_emollama.types import Frame, GridFrame, Window, seconds_to_ns

TICK_NS = seconds_to_ns(0.25)


@pytest.fixture(scope="module")
def load(tiny_model_folder: Path) -> Callable[..., Pipeline]:
    return lambda **reasoner: Pipeline.load(Config(model=ModelConfig(path=str(tiny_model_folder)), reasoner=ReasonerConfig(**reasoner)))


@pytest.fixture(scope="module")
def pipeline(load: Callable[..., Pipeline]) -> Pipeline:
    return load()


def windows(count: int, video: bool = True, sound: float = 0.05) -> list[Window]:
    rng = np.random.default_rng(1)
    frames = [GridFrame(i, Frame(i * TICK_NS, rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))) for i in range(16 + count)]
    made = []
    for i in range(count):
        samples = (sound * rng.standard_normal(64000)).astype(np.float32)
        shown = tuple(frames[i : i + 16]) if video else (None,) * 16
        made.append(Window(i + 16, i * TICK_NS, (i + 16) * TICK_NS, shown, samples, 16000, np.full(16, sound > 0)))
    return made


def test_streaming_equals_computing_every_window_afresh(pipeline: Pipeline) -> None:
    pipeline.forget()
    streamed = [pipeline.perceive(window) for window in windows(5)]
    for window, percept in zip(windows(5), streamed, strict=True):
        pipeline.forget()
        afresh = pipeline.perceive(window)
        np.testing.assert_allclose(percept.state.probabilities, afresh.state.probabilities, atol=1e-5)
        np.testing.assert_allclose(percept.prefix, afresh.prefix, atol=1e-4)


def test_a_hop_encodes_one_frame_and_a_first_window_all(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    run = pipeline._encoders.run
    monkeypatch.setattr(
        pipeline._encoders,
        "run",
        lambda graph, inputs: (encoded.append(len(inputs["pixels"])) if graph == "frame_encoder" else None, run(graph, inputs))[1],
    )
    pipeline.forget()
    for window in windows(3):
        pipeline.perceive(window)
    assert encoded == [16, 1, 1]


def test_two_clips_with_the_same_stamps_do_not_share_frames(pipeline: Pipeline) -> None:
    first = windows(1)[0]
    other = replace(first, frames=tuple(GridFrame(e.tick, Frame(e.frame.stamp_ns, 255 - e.frame.pixels)) for e in first.frames if e))
    pipeline.forget()
    pipeline.perceive(first)
    second = pipeline.perceive(other)
    pipeline.forget()
    np.testing.assert_allclose(second.prefix, pipeline.perceive(other).prefix, atol=1e-5)


def test_the_state_says_what_the_window_held(pipeline: Pipeline) -> None:
    both = pipeline.perceive(windows(1)[0]).state
    assert both.modalities == ("video", "audio")
    assert sum(both.probabilities) == pytest.approx(1.0, abs=1e-5)
    assert both.label in both.labels and both.confidence == max(both.probabilities)
    assert np.isnan(both.valence) and np.isnan(both.arousal)
    deaf = pipeline.perceive(windows(1, sound=0.0)[0]).state
    assert deaf.modalities == ("video",) and deaf.speech == 0.0
    blind = pipeline.perceive(windows(1, video=False)[0]).state
    assert blind.modalities == ("audio",) and blind.face == 0.0 and blind.face_box is None and blind.newest_frame_ns is None


def test_digital_silence_is_not_speech_whatever_the_network_says(pipeline: Pipeline) -> None:
    window = replace(windows(1)[0], samples=np.zeros(64000, np.float32))
    assert pipeline.perceive(window).state.speech == 0.0


def test_the_explanation_is_of_the_state_it_was_asked_for(pipeline: Pipeline) -> None:
    percept = pipeline.perceive(windows(1)[0])
    explanation = pipeline.explain(percept)
    assert explanation.state is percept.state and explanation.final


def test_labels_only_is_possible_and_says_so(load: Callable[..., Pipeline]) -> None:
    pipeline = load(enabled=False)
    percept = pipeline.perceive(windows(1)[0])
    assert "labels only" in pipeline.describe()
    with pytest.raises(RuntimeError, match=r"set reasoner\.enabled to true"):
        pipeline.explain(percept)


def test_a_model_that_is_not_there_is_refused() -> None:
    with pytest.raises(ModelFolderError, match="no model 'nowhere'"):
        Pipeline.load(Config(model=ModelConfig(path="nowhere")))
    with pytest.raises(ConfigError):
        ModelConfig(threads=0)
