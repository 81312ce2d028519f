"""Labels change with hysteresis; explanations are due on a change, on a period, never otherwise."""

from __future__ import annotations

import math

from ros2_emollama.config import LabelsConfig, ReasonerConfig
from ros2_emollama.triggers import ExplanationTriggers, LabelTracker
from ros2_emollama.types import UNKNOWN, EmotionState, seconds_to_ns

LABELS = ("neutral", "happy", "sad")


def state(seconds: float, *probabilities: float, face: float = 1.0, speech: float = 1.0) -> EmotionState:
    end = seconds_to_ns(seconds)
    return EmotionState(end - 4, end, end, LABELS, probabilities, face, speech, ("video",), math.nan, math.nan, {}, {}, "m", "r")


def test_a_label_changes_only_after_leading_by_the_margin_for_the_dwell() -> None:
    tracker = LabelTracker(LabelsConfig(margin=0.1, dwell_seconds=0.5))
    assert tracker.update(state(0.0, 0.6, 0.3, 0.1)).label == "neutral"
    assert tracker.update(state(0.25, 0.45, 0.5, 0.05)).label == "neutral"  # leads by 0.05 only
    assert tracker.update(state(0.5, 0.2, 0.7, 0.1)).label == "neutral"  # leads, not yet for long
    assert tracker.update(state(0.75, 0.2, 0.7, 0.1)).label == "neutral"
    assert tracker.update(state(1.0, 0.2, 0.7, 0.1)).label == "happy"


def test_a_challenger_that_falls_back_starts_over() -> None:
    tracker = LabelTracker(LabelsConfig(margin=0.1, dwell_seconds=0.5))
    tracker.update(state(0.0, 0.8, 0.1, 0.1))
    tracker.update(state(0.25, 0.1, 0.8, 0.1))
    tracker.update(state(0.5, 0.8, 0.1, 0.1))
    assert tracker.update(state(0.75, 0.1, 0.8, 0.1)).label == "neutral"
    assert tracker.update(state(1.25, 0.1, 0.8, 0.1)).label == "happy"


def test_explanations_come_on_the_first_state_on_a_change_and_on_the_period() -> None:
    triggers = ExplanationTriggers(ReasonerConfig(on_change=True, period_seconds=2.0))
    due = [
        triggers.update(state(0.0, 0.8, 0.1, 0.1)),
        triggers.update(state(0.25, 0.8, 0.1, 0.1)),
        triggers.update(state(0.5, 0.1, 0.8, 0.1)),
        triggers.update(state(2.25, 0.1, 0.8, 0.1)),
        triggers.update(state(2.5, 0.1, 0.8, 0.1)),
    ]
    assert due == ["change", None, "change", None, "period"]


def test_nothing_is_explained_when_the_reasoner_is_off() -> None:
    triggers = ExplanationTriggers(ReasonerConfig(enabled=False))
    assert triggers.update(state(0.0, 0.8, 0.1, 0.1)) is None


def test_after_a_reset_the_next_state_is_a_first_one() -> None:
    triggers = ExplanationTriggers(ReasonerConfig(on_change=True, period_seconds=0.0))
    assert triggers.update(state(5.0, 0.8, 0.1, 0.1)) is not None
    triggers.reset()
    again = triggers.update(state(0.0, 0.8, 0.1, 0.1))
    assert again == "change"


def test_with_nobody_to_be_seen_or_heard_the_label_is_unknown_after_the_dwell() -> None:
    tracker = LabelTracker(LabelsConfig(presence=0.5, dwell_seconds=0.5))
    assert tracker.update(state(0.0, 0.1, 0.8, 0.1)).label == "happy"
    assert tracker.update(state(0.25, 0.1, 0.8, 0.1, face=0.1, speech=0.2)).label == "happy"
    gone = tracker.update(state(0.75, 0.1, 0.8, 0.1, face=0.1, speech=0.2))
    assert (gone.label, gone.confidence, gone.likeliest) == (UNKNOWN, 0.8, "happy")
    heard = state(1.0, 0.1, 0.8, 0.1, face=0.1, speech=0.9)
    tracker.update(heard)
    assert tracker.update(state(1.5, 0.1, 0.8, 0.1, face=0.1, speech=0.9)).label == "happy"


def test_the_label_that_holds_keeps_its_own_probability() -> None:
    tracker = LabelTracker(LabelsConfig(margin=0.3, dwell_seconds=0.0))
    tracker.update(state(0.0, 0.6, 0.3, 0.1))
    held = tracker.update(state(0.25, 0.4, 0.5, 0.1))
    assert (held.label, held.confidence, held.likeliest) == ("neutral", 0.4, "happy")


def test_of_nobody_nothing_is_explained() -> None:
    tracker, triggers = LabelTracker(LabelsConfig()), ExplanationTriggers(ReasonerConfig(on_change=True, period_seconds=0.25))
    assert triggers.update(tracker.update(state(0.0, 0.8, 0.1, 0.1, face=0.0, speech=0.0))) is None
