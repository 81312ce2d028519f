"""What the node says of its own health: counts by cause, rates, one DiagnosticArray a period.

`Tally` is shared by the threads and knows nothing about ROS; `report` writes the message.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue


class Tally:
    """Counts by name. `add` says whether it was the first of its name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str) -> bool:
        with self._lock:
            self._counts[name] += 1
            return self._counts[name] == 1

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


@dataclass(frozen=True)
class Health:
    """One look at the node.

    stage    the lifecycle state's label
    reason   why the last transition failed, else empty
    seconds  since the last look
    seen     counts since start by what was received or published: pictures, sounds, states, explanations
    dropped  counts since start by cause
    latency_seconds  newest picture -> state, of the last state; None before there is one
    """

    stage: str
    reason: str
    seconds: float
    seen: Mapping[str, int]
    dropped: Mapping[str, int]
    latency_seconds: float | None
    model: str


class Reporter:
    """Turns looks into messages; remembers the last one for the rates."""

    def __init__(self, node_name: str) -> None:
        self._name = node_name
        self._seen: Mapping[str, int] = {}
        self._dropped: Mapping[str, int] = {}

    def report(self, health: Health, stamp: Any) -> DiagnosticArray:
        """The message for /diagnostics."""
        rates = {name: (count - self._seen.get(name, 0)) / max(health.seconds, 1e-3) for name, count in health.seen.items()}
        fresh = {cause: count - self._dropped.get(cause, 0) for cause, count in health.dropped.items()}
        self._seen, self._dropped = health.seen, health.dropped
        level, text = _judge(health, rates, sum(fresh.values()))
        status = DiagnosticStatus(level=level, name=f"{self._name}: emotion perception", message=text, hardware_id="")
        status.values = [KeyValue(key=key, value=value) for key, value in _values(health, rates)]
        message = DiagnosticArray(status=[status])
        message.header.stamp = stamp
        return message


def _judge(health: Health, rates: Mapping[str, float], fresh_drops: int) -> tuple[bytes, str]:
    if health.reason:
        return DiagnosticStatus.ERROR, health.reason
    if health.stage != "active":
        return DiagnosticStatus.OK, f"{health.stage}: not perceiving"
    if not any(rates.get(name, 0.0) for name in ("pictures", "sounds")):
        return DiagnosticStatus.WARN, "neither pictures nor sound arrive; check topic names and QoS (ros2 topic info -v)"
    if fresh_drops:
        return DiagnosticStatus.WARN, f"{fresh_drops} drops since the last report"
    return DiagnosticStatus.OK, "perceiving"


def _values(health: Health, rates: Mapping[str, float]) -> list[tuple[str, str]]:
    values = [("lifecycle_state", health.stage), ("model", health.model)]
    values += [(f"{name}_per_second", f"{rate:.1f}") for name, rate in sorted(rates.items())]
    values += [(name, str(count)) for name, count in sorted(health.seen.items())]
    values += [(f"dropped.{cause}", str(count)) for cause, count in sorted(health.dropped.items())]
    if health.latency_seconds is not None:
        values.append(("current_delay_from_realtime_ms", f"{health.latency_seconds * 1e3:.0f}"))
    return values
