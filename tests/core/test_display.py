"""What a terminal shows: a panel that redraws itself, or plain lines; and a summary that counts."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest

from ros2_emollama.display import Screen, bar, explanation_line, state_line
from ros2_emollama.types import EmotionState, Explanation


def state(second: float = 0.0, happy: float = 0.75, **change: Any) -> EmotionState:
    end_ns = round(second * 1e9)
    fields: dict[str, Any] = {"dropped": {}, "stage_seconds": {"frames": 0.004, "fusion": 0.002}}
    fields |= change
    return EmotionState(
        end_ns - 4 * 10**9, end_ns, end_ns, ("neutral", "happy"), (1.0 - happy, happy), 0.9, 0.1, ("video",), math.nan, math.nan,
        fields["dropped"], fields["stage_seconds"], "nano@0", "none",
    )  # fmt: skip


def explanation(text: str, final: bool = True, finish_reason: str = "stop") -> Explanation:
    return Explanation(state(), text, final, finish_reason if final else "", 10, 0.1, 0.5)


@pytest.mark.parametrize(("share", "full"), [(0.0, 0), (0.5, 10), (1.0, 20), (1.7, 20), (-1.0, 0)])
def test_a_bar_is_as_long_as_its_share(share: float, full: int) -> None:
    assert bar(share, 20) == "█" * full + "·" * (20 - full)


def test_lines_say_what_was_measured() -> None:
    line = state_line(state(dropped={"late_frames": 2, "bad_audio": 0}), latency_seconds=0.0412)
    assert "happy" in line and "0.75" in line and "41 ms" in line and "compute   6 ms" in line
    assert "late_frames 2" in line and "bad_audio" not in line
    assert explanation_line(explanation("because")).startswith('why happy: "because"') and "20/s" in explanation_line(explanation("x"))


def test_plain_lines_come_once_a_second_or_with_a_new_label() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    for step in range(9):
        screen.state(state(step / 4, happy=0.25 if step == 6 else 0.75), now_seconds=step / 4)
    labels = [line.split()[0] for line in stream.getvalue().splitlines()]
    assert labels == ["happy", "happy", "neutral", "happy"]
    assert "\x1b" not in stream.getvalue()


def test_plain_lines_show_finished_explanations_only() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    for said in (explanation("bec", final=False), explanation("bec", finish_reason="cancelled"), explanation("because")):
        screen.explanation(said, now_seconds=0.0)
    assert stream.getvalue().count("why") == 1 and '"because"' in stream.getvalue()
    assert screen.summary.explanations == 1


def test_the_panel_redraws_itself_in_place() -> None:
    stream = io.StringIO()
    screen = Screen(stream, live=True)
    screen.state(state(0.0), now_seconds=0.0)
    lines = stream.getvalue().count("\n")
    screen.explanation(explanation("a streamed", final=False), now_seconds=0.25)
    second = stream.getvalue().split(f"\x1b[{lines}A")[1]
    assert "a streamed" in second and "why happy: …" in second and bar(0.75) in second


def test_the_summary_counts_rate_latency_and_drops() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    for step in range(9):
        dropped = {"hops_lost": 1, "late_frames": 2} if step == 3 else {}
        screen.state(state(step / 4, dropped=dropped), step / 4, latency_seconds=0.01 * (step + 1))
    screen.close()
    said = stream.getvalue()
    assert "9 states, 4.00 a second, 1 hops lost, 0 explanations" in said
    assert "p50 50 ms" in said and "dropped: late_frames 2" in said and "labels: happy 9" in said


def test_nothing_seen_is_said() -> None:
    stream = io.StringIO()
    Screen(stream).close()
    assert "no states were received" in stream.getvalue()
