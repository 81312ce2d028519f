"""What the sources share: a node that opens a device on a thread of its own, serves it until it fails, says so once, and opens it again.

A subclass gives `serve` (open, publish, raise `SourceError` when the device fails) and `look` (its health); it calls `live` when the first
data has come, and `start` once it is made. What failed stands in the log once and on /diagnostics for as long as it lasts.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ..config import SourceConfig
from . import parameters
from .diagnostics import status

REPORT_SECONDS = 1.0
LEAVE_SECONDS = 2.0
DIAGNOSTICS_DEPTH = 10

C = TypeVar("C", bound=SourceConfig)


class Health(NamedTuple):
    """A source's status on /diagnostics."""

    level: bytes
    text: str
    values: Sequence[tuple[str, str]]


class SourceError(RuntimeError):
    """A device cannot be opened, or has failed; the message names it, says why and ends with the cure."""


class SourceHung(SourceError):
    """A driver does not come back, and no other can be opened beside it: only a new process helps."""


class SourceNode(Node, ABC, Generic[C]):
    """See the module's contract. ConfigError for an unknown parameter or a bad value.

    reason   why nothing comes at present, with the cure; empty while all is well
    reopens  how often it came back after a failure
    fatal    why the node gave up; empty unless it did
    """

    def __init__(self, defaults: C, **node_options: Any) -> None:
        super().__init__(defaults.node, automatically_declare_parameters_from_overrides=True, **node_options)
        self.config: C = parameters.declare(self, defaults)
        self.reason = self.fatal = ""
        self.reopens = 0
        self._stopping = threading.Event()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", DIAGNOSTICS_DEPTH)
        self._looked = time.monotonic()
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a stopped /clock must not stop the report
        self.create_timer(REPORT_SECONDS, self._report, clock=steady)
        self._thread = threading.Thread(target=self._run, daemon=True)

    @abstractmethod
    def serve(self) -> None:
        """Open the device and publish until `stopped()`, or until there is nothing more to come. SourceError when it fails."""

    @abstractmethod
    def look(self, seconds: float) -> Health:
        """How it is; `seconds` since the last look."""

    def start(self) -> None:
        self._thread.start()

    def stopped(self) -> bool:
        return self._stopping.is_set() or not self.context.ok()

    def live(self, described: str) -> None:
        """The first data since the device was opened has come."""
        again = bool(self.reason)
        self.reopens += again
        self.reason = ""
        self.get_logger().info(f"the {self.config.node} is {'back' if again else 'live'}: {described}")

    def _run(self) -> None:
        while not self.stopped():
            try:
                self.serve()
                return
            except SourceHung as error:
                self._give_up(str(error))
                return
            except Exception as error:  # noqa: BLE001 whatever a driver raises must be said, and the node lives on
                if self.stopped():  # what was published on is gone
                    return
                self._failed(str(error))
            self._stopping.wait(self.config.reopen_seconds)

    def _failed(self, reason: str) -> None:
        first, self.reason = not self.reason, reason
        if first:
            self.get_logger().error(f"{reason}. Trying again every {self.config.reopen_seconds:g} s; see /diagnostics")

    def _give_up(self, reason: str) -> None:
        self.reason = self.fatal = reason
        self.get_logger().fatal(reason)
        self.context.try_shutdown()

    def _report(self) -> None:
        now = time.monotonic()
        health = self.look(now - self._looked)
        self._looked = now
        values = [("device", self.config.device or "default"), *health.values, ("reopens", str(self.reopens))]
        name = f"{self.get_fully_qualified_name()}: {self.config.node}"
        message = DiagnosticArray(status=[status(name, health.level, health.text, values)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def destroy_node(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(LEAVE_SECONDS)  # a driver that hangs is left behind
        super().destroy_node()


def finish(node: Node) -> int:
    """Exit status of a source: 1 where it gave up."""
    assert isinstance(node, SourceNode)
    return 1 if node.fatal else 0
