"""Labels never wait for explanations; what is overtaken is counted; a failure ends no thread."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ros2_emollama.config import Config, LabelsConfig, ReasonerConfig
from ros2_emollama.types import EmotionState, Explanation, Percept, Window, seconds_to_ns
from ros2_emollama.worker import Worker

LABELS = ("neutral", "happy")


def window(seconds: float) -> Window:
    end = seconds_to_ns(seconds)
    return Window(0, end - 4, end, (None,), np.zeros(4, np.float32), 16000, np.zeros(1, np.bool_))


class ScriptedPipeline:
    """Perceives in no time; explains until told to stop, so that tests decide when things overlap."""

    def __init__(self, happy_from_seconds: float = math.inf) -> None:
        self.happy_from_ns = seconds_to_ns(happy_from_seconds) if happy_from_seconds < math.inf else None
        self.gate = threading.Event()
        self.fail_next = False
        self.explaining = threading.Event()

    def perceive(self, window: Window) -> Percept:
        if self.fail_next:
            self.fail_next = False
            raise ValueError("a window nobody expected")
        happy = self.happy_from_ns is not None and window.end_ns >= self.happy_from_ns
        probabilities = (0.1, 0.9) if happy else (0.9, 0.1)
        state = EmotionState(
            window.start_ns, window.end_ns, None, LABELS, probabilities, 1.0, 0.0, (), math.nan, math.nan, {}, {}, "scripted", "none"
        )
        return Percept(state, np.zeros((1, 4), np.float32))

    def explain(self, percept: Percept, on_text: Callable[[str], None], cancelled: Callable[[], bool], **_: Any) -> Explanation:
        self.explaining.set()
        on_text("because")
        while not self.gate.wait(0.002):
            if cancelled():
                return Explanation(percept.state, "because", True, "cancelled", 1, 0.0, 0.0)
        return Explanation(percept.state, f"because {percept.state.label}", True, "stop", 2, 0.0, 0.0)


@contextmanager
def running(
    pipeline: ScriptedPipeline, reasoner: ReasonerConfig
) -> Iterator[tuple[Worker, list[EmotionState], list[Explanation], list[str]]]:
    states: list[EmotionState] = []
    explanations: list[Explanation] = []
    errors: list[str] = []
    config = Config(labels=LabelsConfig(margin=0.1, dwell_seconds=0.0), reasoner=reasoner)
    worker = Worker(pipeline, config, states.append, explanations.append, lambda what, error: errors.append(f"{what}: {error}"))  # type: ignore[arg-type]
    worker.start()
    try:
        yield worker, states, explanations, errors
    finally:
        worker.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, "nothing happened within five seconds"
        time.sleep(0.002)


def test_labels_keep_coming_while_an_explanation_is_stuck() -> None:
    pipeline = ScriptedPipeline()
    with running(pipeline, ReasonerConfig(on_change=True, period_seconds=0.0)) as (worker, states, _, _):
        for index in range(1, 6):
            worker.submit(window(index * 0.25))
            wait_for(lambda: len(states) == index)  # noqa: B023
        assert worker.counters.get("hops_lost", 0) == 0


def test_a_label_change_cancels_the_explanation_of_the_old_label() -> None:
    pipeline = ScriptedPipeline(happy_from_seconds=1.0)
    with running(pipeline, ReasonerConfig(on_change=True, period_seconds=0.0)) as (worker, _, explanations, _):
        worker.submit(window(0.5))
        wait_for(pipeline.explaining.is_set)
        worker.submit(window(1.0))
        wait_for(lambda: any(e.finish_reason == "cancelled" for e in explanations))
        pipeline.gate.set()
        wait_for(lambda: any(e.text == "because happy" for e in explanations))


def test_a_period_does_not_cancel_what_is_being_said() -> None:
    pipeline = ScriptedPipeline()
    with running(pipeline, ReasonerConfig(on_change=False, period_seconds=0.25)) as (worker, states, explanations, _):
        worker.submit(window(0.5))
        wait_for(pipeline.explaining.is_set)
        for index in (1.0, 1.5):
            worker.submit(window(index))
            wait_for(lambda: states[-1].end_ns == seconds_to_ns(index))  # noqa: B023
        pipeline.gate.set()
        wait_for(lambda: sum(e.final for e in explanations) == 2)
        assert [e.finish_reason for e in explanations if e.final] == ["stop", "stop"]
        assert worker.counters["explanations_overtaken"] == 1


def test_a_window_that_cannot_be_perceived_is_reported_and_the_next_one_is_served() -> None:
    pipeline = ScriptedPipeline()
    with running(pipeline, ReasonerConfig(enabled=False)) as (worker, states, _, errors):
        pipeline.fail_next = True
        worker.submit(window(0.5))
        wait_for(lambda: len(errors) == 1)
        worker.submit(window(0.75))
        wait_for(lambda: len(states) == 1)
        assert "nobody expected" in errors[0]
        assert worker.counters["perception_errors"] == 1


def test_a_request_explains_the_newest_window_and_is_refused_before_there_is_one() -> None:
    pipeline = ScriptedPipeline()
    pipeline.gate.set()
    with running(pipeline, ReasonerConfig(on_change=False, period_seconds=0.0)) as (worker, states, explanations, _):
        assert worker.ask() is None
        worker.submit(window(0.5))
        wait_for(lambda: len(states) == 1)
        assert worker.ask() is not None
        wait_for(lambda: any(e.final for e in explanations))


def test_stopping_ends_an_explanation_under_way() -> None:
    pipeline = ScriptedPipeline()
    start = time.monotonic()
    with running(pipeline, ReasonerConfig(on_change=True, period_seconds=0.0)) as (worker, _, _, _):
        worker.submit(window(0.5))
        wait_for(pipeline.explaining.is_set)
    assert time.monotonic() - start < 4.0


def test_windows_that_arrive_faster_than_they_are_perceived_are_overtaken_and_counted() -> None:
    pipeline = ScriptedPipeline()
    release = threading.Event()
    original = pipeline.perceive
    pipeline.perceive = lambda w: (release.wait(5.0), original(w))[1]  # type: ignore[method-assign]
    with running(pipeline, ReasonerConfig(enabled=False)) as (worker, states, _, _):
        for index in range(1, 5):
            worker.submit(window(index * 0.25))
            time.sleep(0.02)
        release.set()
        wait_for(lambda: len(states) == 2)
        assert states[-1].end_ns == seconds_to_ns(1.0)
        assert worker.counters["hops_lost"] == 2


def test_a_burst_of_windows_that_are_quick_to_perceive_loses_none() -> None:
    pipeline = ScriptedPipeline()
    with running(pipeline, ReasonerConfig(enabled=False)) as (worker, states, _, _):
        worker.submit(window(0.25))
        wait_for(lambda: len(states) == 1)
        for index in range(2, 8):
            worker.submit(window(index * 0.25))
        wait_for(lambda: len(states) == 7)
        assert [state.end_ns for state in states] == sorted(state.end_ns for state in states)
        assert worker.counters.get("hops_lost", 0) == 0


def test_what_was_asked_goes_first_and_no_change_cuts_it_off() -> None:
    pipeline = ScriptedPipeline(happy_from_seconds=1.0)
    answers: list[Explanation] = []
    with running(pipeline, ReasonerConfig(on_change=True, period_seconds=0.0)) as (worker, states, explanations, _):
        worker.submit(window(0.5))
        wait_for(pipeline.explaining.is_set)
        worker.ask("why?", answers.append)  # takes the place of what a change wanted said
        wait_for(lambda: any(e.finish_reason == "cancelled" for e in explanations))
        wait_for(lambda: bool(answers))
        worker.submit(window(1.0))
        wait_for(lambda: len(states) == 2)
        pipeline.gate.set()
        wait_for(lambda: any(e.text == "because happy" for e in explanations))
        assert [e.finish_reason for e in answers if e.final] == ["stop"] and answers[-1].text == "because neutral"


def test_a_newer_question_takes_the_place_of_one_that_waits_and_every_asker_is_answered_once() -> None:
    pipeline = ScriptedPipeline()
    heard: dict[int, list[Explanation]] = {index: [] for index in range(3)}
    with running(pipeline, ReasonerConfig(on_change=False, period_seconds=0.0)) as (worker, states, _, _):
        worker.submit(window(0.5))
        wait_for(lambda: len(states) == 1)
        first = worker.ask("first", heard[0].append)
        assert first is not None
        wait_for(pipeline.explaining.is_set)
        for index in (1, 2):
            worker.ask("next", heard[index].append)
        first.cancelled.set()
        pipeline.gate.set()
        wait_for(lambda: all(any(e.final for e in said) for said in heard.values()))
    finals = [[e.finish_reason for e in said if e.final] for said in heard.values()]
    assert finals in ([["cancelled"], ["overtaken"], ["stop"]], [["stop"], ["overtaken"], ["stop"]])


def test_a_reset_forgets_everything_at_once() -> None:
    pipeline = ScriptedPipeline()
    answers: list[Explanation] = []
    release = threading.Event()
    with running(pipeline, ReasonerConfig(on_change=False, period_seconds=0.0)) as (worker, states, _, _):
        worker.submit(window(0.5))
        wait_for(lambda: len(states) == 1)
        worker.ask("why?", answers.append)
        wait_for(pipeline.explaining.is_set)
        original = pipeline.perceive
        pipeline.perceive = lambda w: (release.wait(5.0), original(w))[1]  # type: ignore[method-assign]
        worker.submit(window(0.75))
        wait_for(lambda: worker.waiting == 0)
        worker.reset()
        release.set()
        wait_for(lambda: worker.counters.get("windows_forgotten") == 1)
        wait_for(lambda: bool(answers) and answers[-1].final)
        assert len(states) == 1 and answers[-1].finish_reason == "cancelled" and worker.ask() is None


def test_a_reasoner_that_raises_answers_who_asked() -> None:
    pipeline = ScriptedPipeline()
    pipeline.explain = lambda *_, **__: 1 / 0  # type: ignore[method-assign, assignment]
    answers: list[Explanation] = []
    with running(pipeline, ReasonerConfig(on_change=False, period_seconds=0.0)) as (worker, states, _, errors):
        worker.submit(window(0.5))
        wait_for(lambda: len(states) == 1)
        worker.ask("why?", answers.append)
        wait_for(lambda: bool(answers))
        assert answers[0].finish_reason == "failed" and "reasoner" in errors[0]


def test_a_window_taken_before_a_reset_is_not_heard_of_after_it() -> None:
    """However the two threads meet: a hundred resets at any moment, and no state of what was handed in before one comes after it."""
    pipeline = ScriptedPipeline()
    with running(pipeline, ReasonerConfig(enabled=False)) as (worker, states, _, _):
        for index in range(1, 101):
            worker.submit(window(index * 0.25))
            time.sleep(0.0005 * (index % 3))
            worker.reset()
            known = len(states)
            time.sleep(0.001)
            assert len(states) == known
