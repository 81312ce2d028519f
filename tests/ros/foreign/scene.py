"""A perception node that follows quickly and remembers what it heard, and somebody elsewhere who publishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from rclpy.node import Node
from rclpy.qos import QoSProfile

from ros2_emollama.ros.perception_node import PerceptionNode
from ros2_emollama.types import AudioChunk
from tests.ros.graph import Driver, Graph, perception, said_by, wait_until


class Scene:
    """`heard`, `words` and `said` grow as the node goes on."""

    def __init__(self, graph: Graph, elsewhere: Graph, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> None:
        monkeypatch.setattr("ros2_emollama.ros.perception_node.FOLLOW_SECONDS", 0.1)
        self.node: PerceptionNode = perception(graph, **parameters)
        self.said = said_by(self.node)
        self.heard: list[AudioChunk] = []
        self.words: list[tuple[int, str]] = []
        take_sound, take_words = self.node._on_sound, self.node._on_words

        def on_sound(chunks: Sequence[AudioChunk]) -> None:
            self.heard += chunks
            take_sound(chunks)

        def on_words(stamp_ns: int, text: str) -> None:
            self.words.append((stamp_ns, text))
            take_words(stamp_ns, text)

        monkeypatch.setattr(self.node, "_on_sound", on_sound)
        monkeypatch.setattr(self.node, "_on_words", on_words)
        assert graph.add(self.node).start(), self.said
        self.listener: Driver = graph.add(Driver(graph.context))
        for publisher in (self.listener.pictures, self.listener.sounds, self.listener.transcripts):
            self.listener.destroy_publisher(publisher)
        self.other: Node = elsewhere.add(Node("other", context=elsewhere.context))

    def publisher(self, kind: Any, topic: str, qos: QoSProfile | int = 50, matched: bool = True) -> Any:
        """Of the other node; when this returns, the perception node listens to it."""
        made = self.other.create_publisher(kind, topic, qos)
        if matched:
            wait_until(lambda: made.get_subscription_count() > 0)
        return made

    def publish(self, publisher: Any, messages: Sequence[Any], until: Callable[[], bool] = lambda: True) -> None:
        """One every 4 ms, then wait."""
        for message in messages:
            publisher.publish(message)
            time.sleep(0.004)
        wait_until(until)

    def sound_states(self) -> int:
        """How many states had sound in their window."""
        return sum("audio" in state.modalities for state in self.listener.states)
