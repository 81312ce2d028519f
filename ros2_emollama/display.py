"""States and explanations on a terminal: a live panel where the terminal can, one line a second where it cannot (a pipe, a dumb terminal).

In:  `EmotionState`s and `Explanation`s, with the reader's time in seconds and, where known, the latency of a state.
Out: text on a stream, and at the end a summary. Knows nothing about ROS or threads; time is an argument.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections import Counter
from collections.abc import Iterable
from typing import TextIO

import numpy as np

from .types import EmotionState, Explanation

BAR_WIDTH = 28
LINE_SECONDS = 1.0  # plain mode: at most one line in this time, unless the label changes
PANEL_SECONDS = 0.1


def bar(share: float, width: int = BAR_WIDTH) -> str:
    """A horizontal bar of `width` cells, `share` of them full."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return "█" * full + "·" * (width - full)


def state_line(state: EmotionState, latency_seconds: float | None = None) -> str:
    """One state on one line."""
    late = "" if latency_seconds is None else f"  {latency_seconds * 1e3:4.0f} ms"
    lost = "".join(f"  {cause} {count}" for cause, count in state.dropped.items() if count)
    stages = sum(state.stage_seconds.values()) * 1e3
    return (
        f"{state.label:<9} {state.confidence:4.2f}  face {state.face:4.2f}  speech {state.speech:4.2f}  "
        f"[{'+'.join(state.modalities) or 'nothing'}]  compute {stages:3.0f} ms{late}{lost}"
    )


def explanation_line(explanation: Explanation) -> str:
    """A finished explanation on one line."""
    speed = explanation.token_count / explanation.total_seconds if explanation.total_seconds > 0 else 0.0
    first = f"first after {explanation.first_token_seconds * 1e3:.0f} ms"
    return (
        f'why {explanation.state.label}: "{explanation.text.strip()}"  '
        f"({explanation.finish_reason}, {explanation.token_count} tokens, {first}, {speed:.0f}/s)"
    )


class Summary:
    """Counts what passed by."""

    def __init__(self) -> None:
        self.states = self.explanations = 0
        self.dropped: Counter[str] = Counter()
        self._labels: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._stamps: list[int] = []

    def add_state(self, state: EmotionState, latency_seconds: float | None) -> None:
        self.states += 1
        self.dropped.update({cause: count for cause, count in state.dropped.items() if count})
        self._labels[state.label] += 1
        self._stamps = [*self._stamps[:1], state.end_ns]
        if latency_seconds is not None:
            self._latencies.append(latency_seconds)

    def add_explanation(self, explanation: Explanation) -> None:
        self.explanations += explanation.final and explanation.finish_reason != "cancelled"

    def lines(self) -> list[str]:
        if not self.states:
            return ["no states were received"]
        seconds = (self._stamps[-1] - self._stamps[0]) * 1e-9
        rate = f", {(self.states - 1) / seconds:.2f} a second" if seconds > 0 else ""
        hops = self.dropped.get("hops_lost", 0)
        others = {cause: count for cause, count in sorted(self.dropped.items()) if cause != "hops_lost"}
        lines = [
            f"{self.states} states{rate}, {hops} hops lost, {self.explanations} explanations",
            "labels: " + ", ".join(f"{label} {count}" for label, count in self._labels.most_common()),
        ]
        if self._latencies:
            p50, p99 = np.percentile(self._latencies, [50, 99]) * 1e3
            lines.append(f"newest picture to state received: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        if others:
            lines.append("dropped: " + ", ".join(f"{cause} {count}" for cause, count in others.items()))
        return lines


class Screen:
    """Shows what comes. `live` redraws a panel in place; otherwise plain lines."""

    def __init__(self, stream: TextIO, live: bool | None = None) -> None:
        self._stream = stream
        self.live = _can_redraw(stream) if live is None else live
        self.summary = Summary()
        self._drawn = 0
        self._last_seconds = float("-inf")
        self._last_label = ""
        self._state: EmotionState | None = None
        self._latency: float | None = None
        self._explanation: Explanation | None = None

    def state(self, state: EmotionState, now_seconds: float, latency_seconds: float | None = None) -> None:
        """Take a state."""
        self.summary.add_state(state, latency_seconds)
        self._state, self._latency = state, latency_seconds
        if self.live:
            self._draw(now_seconds)
        elif state.label != self._last_label or now_seconds - self._last_seconds >= LINE_SECONDS:
            self._last_seconds, self._last_label = now_seconds, state.label
            self._write([state_line(state, latency_seconds)])

    def explanation(self, explanation: Explanation, now_seconds: float) -> None:
        """Take a partial or final explanation; plain mode prints final ones only."""
        self.summary.add_explanation(explanation)
        self._explanation = explanation
        if self.live:
            self._draw(now_seconds, now=explanation.final)
        elif explanation.final and explanation.finish_reason != "cancelled":
            self._write([explanation_line(explanation)])

    def note(self, text: str) -> None:
        """A line that stays."""
        self._drawn = 0
        self._write([text])

    def close(self) -> None:
        """The summary."""
        self._drawn = 0
        self._write(["", *self.summary.lines()])

    def _write(self, lines: Iterable[str]) -> None:
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()

    def _draw(self, now_seconds: float, now: bool = False) -> None:
        if self._state is None or (not now and now_seconds - self._last_seconds < PANEL_SECONDS):
            return
        self._last_seconds = now_seconds
        columns = max(shutil.get_terminal_size().columns - 1, 20)
        lines = [line[:columns] for line in self._panel(columns)]
        self._stream.write(f"\x1b[{self._drawn}A" if self._drawn else "")
        self._stream.write("".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J")
        self._stream.flush()
        self._drawn = len(lines)

    def _panel(self, columns: int) -> list[str]:
        assert self._state is not None
        state = self._state
        lines = [state_line(state, self._latency)]
        for label, probability in zip(state.labels, state.probabilities, strict=True):
            lines.append(f"  {'▶' if label == state.label else ' '} {label:<9} {bar(probability)} {probability:4.2f}")
        lost = self.summary.dropped.get("hops_lost", 0)
        lines.append(f"  states {self.summary.states}  hops lost {lost}  explanations {self.summary.explanations}")
        if self._explanation is not None:
            said = self._explanation
            lines.append(f"  why {said.state.label}:" + ("" if said.final else " …"))
            lines += [f"    {line}" for line in textwrap.wrap(said.text.strip(), max(columns - 4, 16))]
        return lines


def _can_redraw(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
