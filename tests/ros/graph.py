"""A ROS graph of one test: a domain of its own, a perception node around a scripted pipeline, a driver that feeds it and listens."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from emollama.msg import AudioChunk as AudioChunkMessage
from emollama.msg import EmotionReasoning, EmotionState
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import String

from ros2_emollama.config import Config
from ros2_emollama.ros import conversions
from ros2_emollama.ros.compat import leave_nodes_to_their_makers
from ros2_emollama.ros.perception_node import PerceptionNode
from ros2_emollama.types import AudioChunk, Explanation, Percept, Window
from ros2_emollama.types import EmotionState as State
from ros2_emollama.windows import WindowSpec
from tests.domains import take_domain

PICTURE = np.full((48, 64, 3), 90, np.uint8)
CHUNK_NS = 20_000_000
PICTURE_NS = 50_000_000


def wait_until(reached: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return as soon as it is so; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "this was waited for in vain"
        time.sleep(0.01)


class ScriptedPipeline:
    """Says "happy" of everything, at once; explains in words of its own while `gate` is open, else waits to be cancelled; hangs, deaf to
    all, while `hang` is set."""

    window_spec = WindowSpec()

    def __init__(self, config: Config) -> None:
        self.config = config
        self.fail_next = False
        self.forgotten = 0
        self.face = 0.5
        self.gate, self.hang = threading.Event(), threading.Event()
        self.gate.set()

    def describe(self) -> str:
        return "scripted"

    def warm_up(self) -> None: ...

    def forget(self) -> None:
        self.forgotten += 1

    def perceive(self, window: Window) -> Percept:
        if self.fail_next:
            self.fail_next = False
            raise ValueError("a window nobody expected")
        held = {"video": any(window.frames), "audio": bool(window.audio_seen.any()), "text": bool(window.transcript)}
        modalities = tuple(name for name, present in held.items() if present)
        return Percept(
            State(
                window.start_ns, window.end_ns, window.newest_frame_ns, ("neutral", "happy"), (0.25, 0.75), self.face, 0.0, modalities,
                math.nan, math.nan, window.dropped, {"frames": 0.001}, "scripted@0", "none", (0.5, 0.5, 0.5), window.missing,
            ),
            np.zeros((1, 4), np.float32),
            window.transcript,
        )  # fmt: skip

    def explain(
        self, percept: Percept, on_text: Callable[[str], None], cancelled: Callable[[], bool], question: str = "", **_: Any
    ) -> Explanation:
        on_text("because")
        while self.hang.is_set():
            time.sleep(0.01)
        while not self.gate.wait(0.005):
            if cancelled():
                return Explanation(percept.state, "because", True, "cancelled", 1, 0.1, 0.2)
        return Explanation(percept.state, f"because {question or percept.state.label}", True, "stop", 2, 0.1, 0.2)


class Driver(Node):
    """Feeds a perception node with stamps of its own choosing, and keeps what comes back."""

    def __init__(self, context: Context) -> None:
        super().__init__("driver", context=context)
        self.pictures = self.create_publisher(Image, "image_raw", 10)
        self.sounds = self.create_publisher(AudioChunkMessage, "audio", 50)
        self.transcripts = self.create_publisher(String, "transcript", 10)
        self.states: list[EmotionState] = []
        self.reasonings: list[EmotionReasoning] = []
        self.reports: list[DiagnosticArray] = []
        self.create_subscription(EmotionState, "emotion/state", self.states.append, 100)
        self.create_subscription(EmotionReasoning, "emotion/reasoning", self.reasonings.append, 100)
        self.create_subscription(DiagnosticArray, "/diagnostics", self.reports.append, 100)
        self.now_ns = 100_000_000_000
        self._noise = np.random.default_rng(0)

    def await_listener(self) -> None:
        wait_until(lambda: bool(self.pictures.get_subscription_count() and self.sounds.get_subscription_count()))
        wait_until(lambda: self.count_publishers("emotion/state") > 0)

    def feed(self, seconds: float, *, picture: bool = True, sound: bool = True) -> None:
        """Twenty pictures and fifty chunks for every second of stamps, several times faster than real time."""
        end_ns = self.now_ns + round(seconds * 1e9)
        while self.now_ns < end_ns:
            if picture and self.now_ns % PICTURE_NS < CHUNK_NS:
                self.pictures.publish(conversions.picture_to_message(Image(), PICTURE, self.now_ns, "camera"))
            if sound:
                self.sounds.publish(self.sound())
            self.now_ns += CHUNK_NS
            time.sleep(0.002)

    def sound(self, samples: np.ndarray | None = None) -> AudioChunkMessage:
        samples = self._noise.uniform(-0.1, 0.1, 320).astype(np.float32) if samples is None else samples  # a live microphone is never still
        return conversions.audio_to_message(AudioChunkMessage(), AudioChunk(self.now_ns, samples, 16000))

    def dropped(self) -> dict[str, int]:
        """All drops reported by states so far, by cause."""
        total: dict[str, int] = {}
        for state in list(self.states):
            for cause, count in zip(state.dropped_causes, state.dropped_counts, strict=True):
                total[cause] = total.get(cause, 0) + count
        return total

    def last_report(self) -> dict[str, str]:
        status = self.reports[-1].status[0]
        return {"level": str(int.from_bytes(status.level, "little")), "message": status.message} | {v.key: v.value for v in status.values}


class Graph:
    """Nodes that spin on one thread until the test is over.

    Those of one graph are one DDS participant, which has one type a topic; `beside` makes another participant that sees the same topics.
    """

    def __init__(self, beside: Graph | None = None) -> None:
        self.context = Context()
        self.domain, self._claim = (beside.domain, None) if beside else take_domain()
        rclpy.init(context=self.context, domain_id=self.domain)
        leave_nodes_to_their_makers(self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._nodes: list[Node] = []
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def add(self, node: Any) -> Any:
        self._nodes.append(node)
        self._executor.add_node(node)
        if not self._thread.is_alive():
            self._thread.start()
        return node

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def close(self) -> None:
        self._executor.shutdown()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)
        for node in self._nodes:
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        if self._claim is not None:
            self._claim.close()


def perception(graph: Graph, **parameters: Any) -> PerceptionNode:
    """A perception node, not yet started; `reasoner__period_seconds=1.0` sets reasoner.period_seconds."""
    overrides = [Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()]
    node: PerceptionNode = PerceptionNode(context=graph.context, parameter_overrides=overrides)
    return node


def said_by(node: Node) -> list[str]:
    """Everything the node logs from here on, "level: text"."""
    said: list[str] = []

    def listen(level: str) -> Callable[..., bool]:
        return lambda text, **_: said.append(f"{level}: {text}") is None

    for level in ("info", "warning", "error"):
        setattr(node.get_logger(), level, listen(level))
    return said
