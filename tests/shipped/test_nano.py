"""The shipped model, as it is: whole, the same in every runtime, and right about what it must be right about.

Clips are third parties' and lie outside the project; claims about them are skipped where they are absent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ros2_emollama.analysis import windows_of
from ros2_emollama.config import Config, ModelConfig, ReasonerConfig
from ros2_emollama.media import read_clip
from ros2_emollama.model.folder import open_folder
from ros2_emollama.pipeline import Pipeline
from ros2_emollama.types import EmotionState, Frame, GridFrame, Percept, Window, seconds_to_ns
from ros2_emollama.windows import WindowAssembler

FACES = (
    "obama_oval_office.mp4",
    "openwillis_baseline.mp4",
    "openwillis_not_expressive.mp4",
    "pexels_crying_woman_silent.mp4",
    "pyfeat_single_face_neutral_to_happy.mp4",
    "ravdess_actor01_neutral.mp4",
)


@pytest.fixture(scope="module")
def pipeline(nano: Path) -> Pipeline:
    return Pipeline.load(Config(model=ModelConfig(path=str(nano))))


@pytest.fixture(scope="module")
def percepts(pipeline: Pipeline, data: Path) -> Callable[[str], list[Percept]]:
    kept: dict[str, list[Percept]] = {}

    def of(name: str) -> list[Percept]:
        if name not in kept:
            clip = read_clip(data / "clips" / name)
            kept[name] = [pipeline.perceive(window) for window in windows_of(clip, WindowAssembler(pipeline.window_spec))]
        return kept[name]

    return of


def states(percepts: list[Percept]) -> list[EmotionState]:
    return [percept.state for percept in percepts]


def test_it_is_whole_and_small(nano: Path) -> None:
    folder = open_folder(nano)
    folder.verify()
    assert sum(path.stat().st_size for path in nano.rglob("*") if path.is_file()) < 40_000_000
    assert folder.manifest.info["licence"] == "CC-BY-NC-SA-4.0"
    assert folder.preset.labels == ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")


def test_a_smile_ends_as_happy(percepts: Callable[[str], list[Percept]]) -> None:
    seen = states(percepts("pyfeat_single_face_neutral_to_happy.mp4"))
    assert seen[0].label == "neutral"
    assert seen[-1].label == "happy"


def test_where_nobody_is_no_face_is_seen_and_no_emotion_is_claimed(percepts: Callable[[str], list[Percept]]) -> None:
    for state in states(percepts("pyfeat_no_face.mp4")):
        assert state.face < 0.5
        assert state.label == "neutral" or state.confidence < 0.5


@pytest.mark.parametrize("name", FACES)
def test_a_face_before_the_camera_is_found(percepts: Callable[[str], list[Percept]], name: str) -> None:
    found = [state.face > 0.5 for state in states(percepts(name))]
    assert np.mean(found) > 0.9


def test_a_face_that_comes_into_view_is_noticed(percepts: Callable[[str], list[Percept]]) -> None:
    seen = states(percepts("pyfeat_noface_then_face.mov"))
    assert max(state.face for state in seen[:6]) < 0.5 < max(state.face for state in seen[-8:])


def test_speech_is_heard_where_somebody_speaks_and_not_in_silence(percepts: Callable[[str], list[Percept]]) -> None:
    assert np.mean([state.speech > 0.5 for state in states(percepts("obama_oval_office.mp4"))]) > 0.9
    assert max(state.speech for state in states(percepts("pexels_crying_woman_silent.mp4"))) == 0.0


def test_explanations_are_whole_sentences_that_name_what_they_explain(pipeline: Pipeline, percepts: Callable[[str], list[Percept]]) -> None:
    for percept in percepts("pyfeat_single_face_neutral_to_happy.mp4")[::3]:
        said = pipeline.explain(percept)
        assert said.finish_reason == "stop"
        assert said.text[0].isupper() and said.text.endswith(".")
        assert percept.state.label in said.text.lower()


def drawn_windows(count: int) -> list[Window]:
    """Nobody and nothing said: plain, striped and noisy pictures, quiet noise."""
    rng = np.random.default_rng(0)
    tick_ns = seconds_to_ns(0.25)
    made = []
    for index in range(count):
        picture = np.full((240, 320, 3), rng.integers(0, 256, 3), np.uint8)
        if index % 3 == 1:
            picture[:, :: int(rng.integers(2, 30))] = rng.integers(0, 256, 3)
        if index % 3 == 2:
            picture = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
        frame = Frame(0, picture)
        samples = (rng.uniform(0, 0.02) * rng.standard_normal(64000)).astype(np.float32)
        made.append(Window(16, 0, 16 * tick_ns, tuple(GridFrame(i, frame) for i in range(16)), samples, 16000, np.ones(16, np.bool_)))
    return made


def test_of_nobody_and_nothing_it_claims_nothing(pipeline: Pipeline) -> None:
    claimed = 0
    for window in drawn_windows(60):
        state = pipeline.perceive(window).state
        claimed += state.label != "neutral" and state.confidence >= 0.5
    assert claimed <= 1  # 2 %


def test_every_runtime_says_the_same_of_every_clip(pipeline: Pipeline, nano: Path, data: Path) -> None:
    pytest.importorskip("torch")
    reference = Pipeline.load(Config(model=ModelConfig(path=str(nano), runtime="torch"), reasoner=ReasonerConfig(enabled=False)))
    for path in sorted((data / "clips").iterdir()):
        for window in windows_of(read_clip(path), WindowAssembler(pipeline.window_spec)):
            ours, theirs = pipeline.perceive(window).state, reference.perceive(window).state
            assert ours.label == theirs.label, path.name
            np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-3, err_msg=path.name)
