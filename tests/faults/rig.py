"""One perception process with the shipped model, one feeder that can be broken, and ears for everything that is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from emollama.msg import EmotionReasoning, EmotionState
from rclpy.node import Node
from rclpy.parameter import Parameter

from benchmarks.graph import Process, figures, percentile
from ros2_emollama.ros.conversions import stamp_ns
from tests.ros.graph import Graph

LEVELS = {b"\x00": "OK", b"\x01": "WARN", b"\x02": "ERROR", b"\x03": "STALE"}
REPOSITORY = Path(__file__).resolve().parents[2]


class Missed(Exception):
    """A claim did not hold; the text says by how much."""


def claim(held: bool, text: str) -> None:
    if not held:
        raise Missed(text)


class Rig:
    """All of it. `close` ends it."""

    def __init__(
        self,
        clip: Path,
        parameters: dict[str, Any] | None = None,
        node: str = "perception",
        feeder: tuple[str, ...] = (),
        wait_active: bool = True,
    ) -> None:
        self._clip, self._node_module, self._feeder_arguments = clip, node, feeder
        self._parameters = {"reasoner.period_seconds": 0.5, **(parameters or {})}
        self.states: list[tuple[int, EmotionState]] = []
        self.reasonings: list[tuple[int, EmotionReasoning]] = []
        self.reports: list[DiagnosticArray] = []
        self._graph = Graph()
        os.environ["ROS_DOMAIN_ID"] = str(self._graph.domain)  # of the processes that are started: nobody else hears of these faults
        self.node = self._graph.add(self._listen())
        self.perception = self.start_perception()
        self.feeder: subprocess.Popen[str] | None = None
        if wait_active:
            self.perception.wait_active()
            self.start_feeder()

    def _listen(self) -> Node:
        node = rclpy.create_node("faults", context=self._graph.context)
        node.create_subscription(EmotionState, "emotion/state", lambda m: self.states.append((time.time_ns(), m)), 50)
        node.create_subscription(EmotionReasoning, "emotion/reasoning", lambda m: self.reasonings.append((time.time_ns(), m)), 50)
        node.create_subscription(DiagnosticArray, "/diagnostics", self.reports.append, 50)
        return node

    def start_perception(self) -> Process:
        parameters = [part for name, value in self._parameters.items() for part in ("-p", f"{name}:={_yaml(value)}")]
        return Process(self._node_module, "--ros-args", *parameters)

    def start_feeder(self) -> None:
        command = [sys.executable, "-m", "tests.faults.feeder", "--clip", str(self._clip), *self._feeder_arguments]
        self.feeder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        assert self.feeder.stdout is not None
        if self.feeder.stdout.readline().strip() != "feeding":
            raise Missed("the feeder did not start; run it by hand: python -m tests.faults.feeder --clip FILE")
        self.wait(lambda: bool(self.states), 10.0, "the first state")

    def close(self) -> None:
        if self.feeder is not None and self.feeder.stdin is not None:
            self.feeder.stdin.close()
            self.feeder.wait(10)
        self.perception.end()
        self._graph.close()

    # What is done to it.

    def feed(self, **command: Any) -> float:
        """Tell the sensors; the moment, on time.monotonic()."""
        assert self.feeder is not None and self.feeder.stdin is not None
        self.feeder.stdin.write(json.dumps(command) + "\n")
        self.feeder.stdin.flush()
        return time.monotonic()

    def set_parameters(self, **values: Any) -> None:
        from rcl_interfaces.srv import SetParameters

        parameters = [Parameter(name.replace("__", "."), value=value).to_parameter_msg() for name, value in values.items()]
        answer = self.call(SetParameters, "perception/set_parameters", SetParameters.Request(parameters=parameters))
        claim(all(result.successful for result in answer.results), f"parameters refused: {answer.results}")

    def call(self, kind: Any, name: str, request: Any, seconds: float = 10.0) -> Any:
        client = self.node.create_client(kind, name)
        self.wait(client.service_is_ready, seconds, f"the service {name}")
        future = client.call_async(request)
        self.wait(future.done, seconds, f"an answer of {name}")
        self.node.destroy_client(client)
        return future.result()

    # What is seen of it.

    def wait(self, reached: Callable[[], bool], seconds: float, what: str) -> float:
        """Seconds it took. Missed when it does not come."""
        began = time.monotonic()
        while not reached():
            if time.monotonic() - began > seconds:
                raise Missed(f"{what} did not come within {seconds:g} s")
            time.sleep(0.005)
        return time.monotonic() - began

    @property
    def newest(self) -> EmotionState:
        return self.states[-1][1]

    def dropped(self, cause: str, since: int = 0) -> int:
        """How often `cause` was counted in the states from number `since` on."""
        states = [m for _, m in self.states[since:]]
        return sum(n for m in states for name, n in zip(m.dropped_causes, m.dropped_counts, strict=True) if name == cause)

    def status(self, part: str) -> tuple[str, str]:
        """Level and message of one part of the newest report."""
        if not self.reports:
            return "", ""
        found = next((s for s in self.reports[-1].status if s.name.endswith(part)), None)
        return (LEVELS[found.level], found.message) if found is not None else ("", "")

    def logged(self, text: str, since: int = 0) -> list[str]:
        """Lines of the perception process that hold `text`."""
        return [line for line in list(self.perception.lines)[since:] if text in line]

    def measure(self, seconds: float, stamp: str = "newest_frame") -> dict[str, float]:
        """The benchmark's figures of the next `seconds`. `stamp`: what latency counts from, newest_frame or the window's end."""
        process = psutil.Process(self.perception.child.pid)
        before, began = process.cpu_times(), time.monotonic()
        first, first_reason = len(self.states), len(self.reasonings)
        time.sleep(seconds)
        spent, after = time.monotonic() - began, process.cpu_times()
        states = self.states[first:]
        found = figures(states, [m for _, m in self.reasonings[first_reason:] if m.final and m.token_count], spent)
        if len(states) > 1:  # in so short a time one state more or less at the edges must not count
            found["states_per_second"] = (len(states) - 1) / (1e-9 * (states[-1][0] - states[0][0]))
        if stamp == "end":
            latency = [(arrived - stamp_ns(m.header.stamp)) * 1e-6 for arrived, m in states]
            found |= {f"stamp_to_state_ms_p{p}": percentile(latency, p) for p in (50, 99)}
        found["cpu_cores"] = (after.user + after.system - before.user - before.system) / spent
        found["rss_mb"] = process.memory_info().rss / 1e6
        return found

    def recover(self) -> float:
        """All live again; seconds until a state says so."""
        began = self.feed(camera="live", microphone="live")
        first = len(self.states)
        self.wait(lambda: len(self.states) > first and not self.newest.missing, 5.0, "a state with both streams live")
        return time.monotonic() - began


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
