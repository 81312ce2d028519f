"""The node: pictures and sound in, `emotion/state` and `emotion/reasoning` out. A lifecycle node named `perception`.

    configure   load the model folder and check its hashes; a failure says why and leaves the node unconfigured, to be tried again
    activate    warm up, start the worker's threads, subscribe
    deactivate, cleanup, shutdown   the way back, in that order
With `autostart` (the default) it brings itself to active.

The executor's one thread receives and cuts windows; the worker's two threads compute and publish. Pictures are subscribed serialized:
the stamp says whether a picture is needed, and seven of eight are not. A message that cannot be used is counted by its cause and logged
once a cause.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from emollama.msg import AudioChunk as AudioChunkMessage
from emollama.msg import EmotionReasoning as EmotionReasoningMessage
from emollama.msg import EmotionState as EmotionStateMessage
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from ..config import Config
from ..pipeline import Pipeline
from ..types import EmotionState, Explanation, Frame, Window
from ..windows import WindowAssembler
from ..worker import Worker
from . import conversions, parameters
from .bad_message import BadMessage
from .diagnostics import Health, Reporter, Tally
from .pictures import compressed_to_rgb, image_to_rgb
from .running import run

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
OUTPUT_DEPTH = 10
TRANSCRIPT_DEPTH = 10


class PerceptionNode(LifecycleNode):
    """See the module's contract. ConfigError for an unknown parameter or a bad value."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("perception", automatically_declare_parameters_from_overrides=True, **node_options)
        self.config = parameters.declare(self)
        parameters.follow(self, lambda: self.config, self._reconfigure)
        self._pipeline: Pipeline | None = None
        self._worker: Worker | None = None
        self._assembler: WindowAssembler | None = None
        self._inputs: list[Any] = []
        self._seen, self._dropped = Tally(), Tally()
        self._hops_lost = 0
        self._frame_id = ""
        self._stage, self._reason = "unconfigured", ""
        self._latency_seconds: float | None = None
        self._states = self.create_lifecycle_publisher(EmotionStateMessage, "emotion/state", OUTPUT_DEPTH)
        self._reasonings = self.create_lifecycle_publisher(EmotionReasoningMessage, "emotion/reasoning", OUTPUT_DEPTH)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", OUTPUT_DEPTH)
        self._reporter, self._reported = Reporter(self.get_fully_qualified_name()), time.monotonic()
        self.create_timer(self.config.diagnostics.period_seconds, self._report)
        # Held, because the clock keeps only a weak hand on it.
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True), post_callback=self._on_clock_jump
        )

    def start(self) -> bool:
        """Bring the node to active; False when a step failed (the log says why)."""
        return bool(self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS)

    # Transitions. A failure is logged and reported, and the node stays where it was.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        started = time.monotonic()
        try:
            self._pipeline = Pipeline.load(self.config)
        except Exception as error:  # noqa: BLE001 whatever keeps the model from loading must be said, and the node lives on
            return self._refuse("configure", error)
        self.get_logger().info(f"configured in {time.monotonic() - started:.1f} s: {self._pipeline.describe()}")
        self._stage, self._reason = "inactive", ""
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._pipeline is not None, "configure comes first"
        started = time.monotonic()
        try:
            self._pipeline.warm_up()
            self._assembler = WindowAssembler(self._pipeline.window_spec)
            self._worker = Worker(self._pipeline, self.config, self._publish_state, self._publish_explanation, self._on_worker_error)
            self._hops_lost = 0
            self._worker.start()
            self._subscribe()
        except Exception as error:  # noqa: BLE001 as above
            self._stop()
            return self._refuse("activate", error)
        self._stage, self._reason = "active", ""
        self.get_logger().info(f"active, warmed up in {time.monotonic() - started:.1f} s; listening to {', '.join(self._topics())}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._stage = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._pipeline = None
        self._stage = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._pipeline = None
        self._stage = "finalized"
        return super().on_shutdown(state)

    def destroy_node(self) -> None:
        self._stop()
        super().destroy_node()

    def _refuse(self, step: str, error: Exception) -> TransitionCallbackReturn:
        self._reason = f"cannot {step}: {error}"
        self.get_logger().error(self._reason)
        return FAILURE

    def _stop(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs = []
        if self._worker is not None:
            self._worker.stop()
        self._worker = self._assembler = None

    # Inputs.

    def _subscribe(self) -> None:
        image, audio = self.config.image, self.config.audio
        compressed = image.transport == "compressed"
        kind, topic = (CompressedImage, "image_raw/compressed") if compressed else (Image, "image_raw")
        self._inputs = [
            self._listen(kind, topic, self._on_picture, _qos(image.depth, image.reliability), raw=True),
            self._listen(AudioChunkMessage, "audio", self._on_audio, _qos(audio.depth, audio.reliability)),
            self._listen(String, "transcript", self._on_transcript, _qos(TRANSCRIPT_DEPTH, "reliable")),
        ]

    def _listen(self, kind: Any, topic: str, callback: Any, qos: QoSProfile, raw: bool = False) -> Any:
        def incompatible(event: Any) -> None:
            self.get_logger().error(
                f"a publisher of {self.resolve_topic_name(topic)} offers a QoS we cannot take (policy {event.last_policy_kind}), "
                f"nothing will arrive from it; set image.reliability or audio.reliability to best_effort"
            )

        events = SubscriptionEventCallbacks(incompatible_qos=incompatible)
        return self.create_subscription(kind, topic, callback, qos, raw=raw, event_callbacks=events)

    def _topics(self) -> list[str]:
        return [subscription.topic_name for subscription in self._inputs]

    def _on_picture(self, cdr: bytes) -> None:
        assembler = self._assembler
        if assembler is None:
            return
        self._seen.add("pictures")
        try:
            stamp = conversions.serialized_stamp_ns(cdr)
            windows = self._take_picture(assembler, stamp, cdr) if assembler.wants_frame(stamp) else assembler.skip_frame(stamp)
        except BadMessage as error:
            self._drop(error)
            return
        self._submit(windows)

    def _take_picture(self, assembler: WindowAssembler, stamp: int, cdr: bytes) -> list[Window]:
        compressed = self.config.image.transport == "compressed"
        message = deserialize_message(cdr, CompressedImage if compressed else Image)
        self._frame_id = message.header.frame_id
        return assembler.add_frame(Frame(stamp, compressed_to_rgb(message) if compressed else image_to_rgb(message)))

    def _on_audio(self, message: AudioChunkMessage) -> None:
        if self._assembler is None:
            return
        self._seen.add("sounds")
        try:
            windows = self._assembler.add_audio(conversions.audio_from_message(message))
        except BadMessage as error:
            self._drop(error)
            return
        self._submit(windows)

    def _on_transcript(self, message: String) -> None:
        if self._assembler is not None:
            self._assembler.set_transcript(self.get_clock().now().nanoseconds, message.data)

    def _drop(self, error: BadMessage) -> None:
        if self._assembler is not None:
            self._assembler.count(error.cause)
        if self._dropped.add(error.cause):
            self.get_logger().warning(f"dropped a message ({error.cause}): {error}; more of this cause are only counted, see /diagnostics")

    def _submit(self, windows: Sequence[Window]) -> None:
        assert self._worker is not None and self._assembler is not None
        for window in windows:
            self._worker.submit(window)
        lost = self._worker.counters.get("hops_lost", 0)
        if lost > self._hops_lost:  # the next state reports them
            self._assembler.count("hops_lost", lost - self._hops_lost)
            self._hops_lost = lost

    def _on_clock_jump(self, jump: TimeJump) -> None:
        if self._assembler is not None and self._worker is not None:
            self._assembler.flush("clock_jumps")
            self._worker.reset()
            self.get_logger().warning("the clock jumped; windows begin anew")

    def _reconfigure(self, config: Config) -> None:
        self.config = config
        if self._pipeline is not None:
            self._pipeline.config = config
        if self._worker is not None:
            self._worker.reconfigure(config)

    # Outputs, from the worker's threads.

    def _publish_state(self, state: EmotionState) -> None:
        self._states.publish(conversions.state_to_message(EmotionStateMessage(), state, self._frame_id))
        self._seen.add("states")
        if state.newest_frame_ns is not None:
            self._latency_seconds = (self.get_clock().now().nanoseconds - state.newest_frame_ns) * 1e-9

    def _publish_explanation(self, explanation: Explanation) -> None:
        self._reasonings.publish(conversions.explanation_to_message(EmotionReasoningMessage(), explanation, self._frame_id))
        if explanation.final:
            self._seen.add("explanations")

    def _on_worker_error(self, what: str, error: Exception) -> None:
        if self._dropped.add(f"{what}_errors"):
            self.get_logger().error(f"{what} failed: {error}; more of these are only counted, see /diagnostics")

    def _report(self) -> None:
        now = time.monotonic()
        dropped = self._dropped.snapshot() | (self._assembler.counters if self._assembler is not None else {})
        model = self._pipeline.describe() if self._pipeline is not None else ""
        health = Health(self._stage, self._reason, now - self._reported, self._seen.snapshot(), dropped, self._latency_seconds, model)
        self._reported = now
        self._diagnostics.publish(self._reporter.report(health, self.get_clock().now().to_msg()))


def _qos(depth: int, reliability: str) -> QoSProfile:
    policy = ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(depth=depth, reliability=policy)


def _started() -> PerceptionNode:
    node = PerceptionNode()
    if node.config.autostart:
        node.start()
    return node


def main(argv: Sequence[str] | None = None) -> int:
    """`ros2 run emollama perception`; parameters: config/perception.yaml."""
    if argv and {"-h", "--help"} & set(argv):
        print(__doc__, "\nParameters: --ros-args -p NAME:=VALUE, or --ros-args --params-file FILE; all of them: config/perception.yaml")
        return 0
    return run(_started, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
