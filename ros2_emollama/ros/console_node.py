"""Shows what the perception node says, live; ends with a summary. A node named `console`.

Exit status 0 when states were seen, 1 when none came.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from emollama.msg import EmotionReasoning as EmotionReasoningMessage
from emollama.msg import EmotionState as EmotionStateMessage
from rclpy.node import Node
from rclpy.utilities import remove_ros_args

from ..display import Screen
from . import conversions
from .running import run

INPUT_DEPTH = 20


class ConsoleNode(Node):
    """`emotion/state` and `emotion/reasoning` → a `Screen`."""

    def __init__(self, stream: TextIO, live: bool | None = None, **node_options: Any) -> None:
        super().__init__("console", **node_options)
        self.screen = Screen(stream, live)
        self._runtime = ""
        self.create_subscription(EmotionStateMessage, "emotion/state", self._on_state, INPUT_DEPTH)
        self.create_subscription(EmotionReasoningMessage, "emotion/reasoning", self._on_reasoning, INPUT_DEPTH)

    def _on_state(self, message: EmotionStateMessage) -> None:
        received_ns = self.get_clock().now().nanoseconds
        state = conversions.state_from_message(message)
        if state.runtime != self._runtime:
            self._runtime = state.runtime
            self.screen.note(f"model {state.model_id} on {state.runtime}")
        latency = None if state.newest_frame_ns is None else (received_ns - state.newest_frame_ns) * 1e-9
        self.screen.state(state, time.monotonic(), latency)

    def _on_reasoning(self, message: EmotionReasoningMessage) -> None:
        self.screen.explanation(conversions.explanation_from_message(message), time.monotonic())


def _finish(node: Node) -> int:
    assert isinstance(node, ConsoleNode)
    node.screen.close()
    return 0 if node.screen.summary.states else 1


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="console", description="Show emotion/state and emotion/reasoning, live.")
    parser.add_argument("--plain", action="store_true", help="plain lines, also on a terminal")
    arguments = parser.parse_args(remove_ros_args(list(argv if argv is not None else sys.argv[1:])))
    return run(lambda: ConsoleNode(sys.stdout, False if arguments.plain else None), argv, _finish)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
