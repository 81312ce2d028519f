"""What a robot sees: player and perception as processes of their own, this process listening, explanations being made all the time.

stamp → state     arrival of `emotion/state` here minus the stamp of the newest frame in its window; player and listener share one clock
first token       as the explanation itself reports it, from trigger to first token
CPU, memory       of the perception process, as the kernel counts them
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from emollama.msg import EmotionReasoning, EmotionState
from rclpy.executors import SingleThreadedExecutor

from ros2_emollama.ros.conversions import stamp_ns

START_SECONDS = 30.0
SETTLE_SECONDS = 3.0


class Process:
    """One node; its log is read for the line that says it is active. `node` is a name of ours, or a dotted module."""

    def __init__(self, node: str, *arguments: str) -> None:
        command = [sys.executable, "-m", node if "." in node else f"ros2_emollama.ros.{node}_node", *arguments]
        self.started = time.monotonic()
        self.child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.active_seconds: float | None = None
        self.lines: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.append(line.rstrip())
            if "active, warmed up" in line:
                self.active_seconds = time.monotonic() - self.started

    def wait_active(self) -> float:
        """Seconds from start to active. RuntimeError with the node's last words when it does not come up."""
        while self.active_seconds is None:
            if self.child.poll() is not None or time.monotonic() - self.started > START_SECONDS:
                raise RuntimeError("perception did not become active:\n" + "\n".join(self.lines[-8:]))
            time.sleep(0.02)
        return self.active_seconds

    def end(self) -> None:
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()


class Listener:
    """Receives states and explanations with their arrival times."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("benchmark", context=self.context)
        self.states: list[tuple[int, EmotionState]] = []
        self.explanations: list[EmotionReasoning] = []
        self.node.create_subscription(EmotionState, "emotion/state", lambda m: self.states.append((time.time_ns(), m)), 50)
        self.node.create_subscription(EmotionReasoning, "emotion/reasoning", lambda m: m.final and self.explanations.append(m), 50)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@contextmanager
def _graph(clip: Path, model: str, explain_seconds: float) -> Iterator[tuple[Process, Listener]]:
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    parameters = ["-p", f"model.path:={model}", "-p", f"reasoner.period_seconds:={explain_seconds}"]
    perception, listener = Process("perception", "--ros-args", *parameters), Listener()
    player: Process | None = None
    try:
        perception.wait_active()
        player = Process("player", "--clip", str(clip), "--loop")
        yield perception, listener
    finally:
        for process in (player, perception):
            if process is not None:
                process.end()
        listener.close()


def measure_graph(clip: Path, model: str, seconds: float, explain_seconds: float = 0.25) -> dict[str, Any]:
    """Run the graph for `seconds` after it has settled."""
    with _graph(clip, model, explain_seconds) as (perception, listener):
        process = psutil.Process(perception.child.pid)
        while not listener.states and time.monotonic() - perception.started < 2 * START_SECONDS:
            listener.spin(0.1)
        listener.spin(SETTLE_SECONDS)
        listener.states.clear()
        listener.explanations.clear()
        before, began = process.cpu_times(), time.monotonic()
        listener.spin(seconds)
        spent, after = time.monotonic() - began, process.cpu_times()
        memory = process.memory_info().rss
        cpu = (after.user + after.system - before.user - before.system) / spent
        return {
            "start_to_active_seconds": perception.active_seconds,
            "cpu_cores": cpu,
            "rss_mb": memory / 1e6,
            **figures(listener.states, listener.explanations, spent),
        }


def figures(states: list[tuple[int, EmotionState]], explanations: list[EmotionReasoning], spent: float) -> dict[str, Any]:
    """What states (with their arrival in ns) and final explanations of `spent` seconds come to. RuntimeError without any state."""
    if not states:
        raise RuntimeError("no state arrived; does the clip have pictures?")
    latency = np.array([(arrived - stamp_ns(m.newest_frame)) * 1e-6 for arrived, m in states if stamp_ns(m.newest_frame)])
    stages: dict[str, list[float]] = {}
    for _, message in states:
        for name, value in zip(message.stages, message.stage_seconds, strict=True):
            stages.setdefault(name, []).append(1e3 * value)
    lost = sum(count for _, m in states for cause, count in zip(m.dropped_causes, m.dropped_counts, strict=True) if cause == "hops_lost")
    decode = [m.token_count / max(1e-6, m.total_seconds - m.first_token_seconds) for m in explanations if m.token_count > 3]
    return {
        "states_per_second": len(states) / spent,
        "hops_lost": lost,
        "stamp_to_state_ms_p50": percentile(latency, 50),
        "stamp_to_state_ms_p99": percentile(latency, 99),
        "stage_ms_median": {name: float(np.median(values)) for name, values in stages.items()},
        "explanations_per_second": len(explanations) / spent,
        "first_token_ms_p50": percentile([1e3 * m.first_token_seconds for m in explanations], 50),
        "first_token_ms_p99": percentile([1e3 * m.first_token_seconds for m in explanations], 99),
        "tokens_per_second": float(np.median(decode)) if decode else float("nan"),
    }


def percentile(values: Sequence[float] | np.ndarray[Any, Any], percent: float) -> float:
    """NaN of nothing."""
    return float(np.percentile(values, percent)) if len(values) else float("nan")
