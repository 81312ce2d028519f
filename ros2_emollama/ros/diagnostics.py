"""What the node says of its own health: one DiagnosticArray a period, with a status for the node, each stream and the model.

`Tally` is shared by the threads and knows nothing about ROS; `Reporter` turns looks into messages.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ..doctor.machine import resident_mb
from .watch import LIVE, STALLED, WAITING, StreamWatch

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE
NEVER_SECONDS = 5.0  # after this long without a first message a stream is worth a warning
RATES = {"camera": ("pictures", "frame_rate_node"), "microphone": ("sounds", "chunk_rate_node")}
"""Stream -> what is counted of it, and the key its rate is reported under."""
THERMAL = Path("/sys/class/thermal")


class Tally:
    """Counts by name. `add` says whether it was the first of its name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, n: int = 1) -> bool:
        with self._lock:
            first = name not in self._counts
            self._counts[name] += n
            return first

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


@dataclass(frozen=True)
class Health:
    """One look at the node.

    stage    the lifecycle state's label, or "disabled"
    reason   why the last transition failed, else empty
    seconds  since the last look
    seen     counts since start by what was received or published: pictures, sounds, states, explanations
    dropped  counts since start by cause
    streams  the watches of camera and microphone
    latency_seconds   newest picture -> state, of the last state; None before there is one
    stage_seconds     time by stage of the last state
    waiting           windows and requests that wait for their thread
    speaking_seconds  for how long the reasoner has been at its present request
    deadline_seconds  how long it may be
    link     to a reasoner on another machine: is there one, why the last question found no answer, counts; None where it runs here
    """

    stage: str
    reason: str
    seconds: float
    seen: Mapping[str, int]
    dropped: Mapping[str, int]
    latency_seconds: float | None
    model: str
    now_seconds: float = 0.0
    active_seconds: float = 0.0
    streams: tuple[StreamWatch, ...] = ()
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    waiting: int = 0
    speaking_seconds: float = 0.0
    deadline_seconds: float = float("inf")
    link: tuple[bool, str, Mapping[str, int]] | None = None


def status(name: str, level: bytes, text: str, values: Sequence[tuple[str, str]]) -> DiagnosticStatus:
    """One part of a node, as /diagnostics carries it."""
    made = DiagnosticStatus(level=level, name=name, message=text, hardware_id="")
    made.values = [KeyValue(key=key, value=value) for key, value in values]
    return made


class Reporter:
    """Turns looks into messages; remembers the last one for the rates."""

    def __init__(self, node_name: str) -> None:
        self._name = node_name
        self._seen: Mapping[str, int] = {}
        self._dropped: Mapping[str, int] = {}

    def report(self, health: Health, stamp: Any) -> DiagnosticArray:
        """The message for /diagnostics; the first status is the node's own."""
        rates = {name: (count - self._seen.get(name, 0)) / max(health.seconds, 1e-3) for name, count in health.seen.items()}
        fresh = {cause: count - self._dropped.get(cause, 0) for cause, count in health.dropped.items()}
        self._seen, self._dropped = health.seen, health.dropped
        level, text = _judge(health, rates, sum(fresh.values()))
        statuses = [self._status("emotion perception", level, text, _values(health, rates))]
        if health.stage == "active":
            statuses += [self._status(watch.name, *_judge_stream(watch, health, rates)) for watch in health.streams]
        statuses.append(self._status("model", *_judge_model(health)))
        message = DiagnosticArray(status=statuses)
        message.header.stamp = stamp
        return message

    def _status(self, part: str, level: bytes, text: str, values: list[tuple[str, str]]) -> DiagnosticStatus:
        return status(f"{self._name}: {part}", level, text, values)


def _judge(health: Health, rates: Mapping[str, float], fresh_drops: int) -> tuple[bytes, str]:
    if health.reason:
        return ERROR, health.reason
    if health.stage != "active":
        return OK, f"{health.stage}: not perceiving"
    if not any(rates.get(name, 0.0) for name in ("pictures", "sounds")):
        return WARN, "neither pictures nor sound arrive; check topic names and QoS (ros2 topic info -v)"
    stalled = [watch.name for watch in health.streams if watch.stage == STALLED]
    if stalled:
        return WARN, f"{' and '.join(stalled)} stopped; perceiving with the rest"
    if fresh_drops:
        return WARN, f"{fresh_drops} drops since the last report"
    return OK, "perceiving"


def _judge_stream(watch: StreamWatch, health: Health, rates: Mapping[str, float]) -> tuple[bytes, str, list[tuple[str, str]]]:
    age = watch.age_seconds(health.now_seconds)
    counted, key = RATES[watch.name]
    values = [("stage", watch.stage), ("stalls", str(watch.stalls)), (key, f"{rates.get(counted, 0.0):.1f}")]
    if age is not None:
        values.append(("newest_age_ms", f"{age * 1e3:.0f}"))
    if watch.stage == LIVE:
        return OK, "live", values
    if watch.stage == WAITING:
        late = health.active_seconds > NEVER_SECONDS
        return (
            (WARN if late else OK),
            "nothing has come yet; check the topic's name and QoS (ros2 topic info -v)" if late else "waiting",
            values,
        )
    if watch.trouble:
        return STALE, watch.trouble, values
    return STALE, f"nothing for {age or 0.0:.1f} s; labels go on without it", values


def _judge_model(health: Health) -> tuple[bytes, str, list[tuple[str, str]]]:
    values = [("model", health.model), ("queue", str(health.waiting)), ("memory_mb", f"{resident_mb():.0f}")]
    values += [(f"{stage}_ms", f"{1e3 * seconds:.1f}") for stage, seconds in health.stage_seconds.items()]
    temperature = temperature_celsius()
    if temperature is not None:
        values.append(("temperature_celsius", f"{temperature:.0f}"))
    if health.speaking_seconds > health.deadline_seconds + 1.0:
        text = f"no word from the language model for {health.speaking_seconds:.0f} s; labels go on. If it stays so, deactivate and activate"
        return ERROR, text, values
    if health.link is not None:
        ready, trouble, counts = health.link
        values += [("reasoner_ready", str(ready).lower()), *((f"reasoner_{name}", str(count)) for name, count in counts.items())]
        if health.stage == "active" and (trouble or not ready):
            return WARN, f"{trouble or 'no reasoner is to be seen'}; labels go on", values
    return OK, health.model or "not loaded", values


def temperature_celsius() -> float | None:
    """The hottest thermal zone; None where none can be read."""
    found = []
    for zone in THERMAL.glob("thermal_zone*/temp"):
        try:
            found.append(int(zone.read_text(encoding="ascii")) / 1000.0)
        except (OSError, ValueError):  # a zone that is switched off refuses to be read
            continue
    return max(found, default=None)


def _values(health: Health, rates: Mapping[str, float]) -> list[tuple[str, str]]:
    values = [("lifecycle_state", health.stage), ("model", health.model)]
    values += [(f"{name}_per_second", f"{rate:.1f}") for name, rate in sorted(rates.items())]
    values += [(name, str(count)) for name, count in sorted(health.seen.items())]
    values += [(f"dropped.{cause}", str(count)) for cause, count in sorted(health.dropped.items())]
    if health.latency_seconds is not None:
        values.append(("current_delay_from_realtime_ms", f"{health.latency_seconds * 1e3:.0f}"))
    return values
