"""The node: pictures and sound in, `emotion/state` and `emotion/reasoning` out. A lifecycle node named `perception`.

    configure   load the model folder and check its hashes; a failure says why and leaves the node unconfigured, to be tried again
    activate    warm up, start the worker's threads, subscribe
    deactivate, cleanup, shutdown   the way back, in that order
With `autostart` (the default) it brings itself to active. The service `~/enabled` (consent) closes the inputs and drops all that is held.

The executor's one thread receives and cuts windows; the worker's two threads compute and publish. Pictures are subscribed serialized:
the stamp says whether a picture is needed, and seven of eight are not. A message that cannot be used is counted by its cause and logged
once a cause.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import SetBool

from ..config import Config
from ..pipeline import Pipeline
from ..types import AudioChunk, EmotionState, Explanation, Frame, Window
from ..windows import WindowAssembler
from ..worker import Worker
from . import conversions, parameters
from .bad_message import BadMessage
from .diagnostics import Health, Reporter, Tally
from .explain_server import ExplainServer
from .inputs import Inputs, message_from
from .outputs import DEPTH, Outputs
from .pictures import compressed_to_rgb, image_to_rgb
from .remote_reasoner import ReasonerLink, RemoteReasoner
from .running import asked_for_help, run
from .watch import STALLED, STILL, StreamWatch

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
WATCH_SECONDS = 0.1
FOLLOW_SECONDS = 1.0  # how often publishers' types are looked at


class PerceptionNode(LifecycleNode):
    """See the module's contract. ConfigError for an unknown parameter or a bad value."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("perception", automatically_declare_parameters_from_overrides=True, **node_options)
        self.config = parameters.declare(self, Config())
        parameters.follow(self, lambda: self.config, self._reconfigure)
        self._pipeline: Pipeline | None = None
        self._worker: Worker | None = None
        self._assembler: WindowAssembler | None = None
        self._inputs: Inputs | None = None
        self._seen, self._dropped, self._told = Tally(), Tally(), Tally()  # told: causes that stand in the log
        self._hops_lost = 0
        self._stage, self._reason = "unconfigured", ""
        self._latency_seconds: float | None = None
        self._newest: EmotionState | None = None
        self._outputs = Outputs(self, self.config)
        self._link = ReasonerLink(self, self.config.reasoner.link_seconds) if self.config.reasoner.mode == "remote" else None
        self._explain = ExplainServer(self, lambda: self._outputs.frame_id)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", DEPTH)
        self._reporter, self._reported = Reporter(self.get_fully_qualified_name()), time.monotonic()
        self._activated = self._followed = 0.0
        stall = self.config.window.stall_seconds
        self._camera, self._microphone = StreamWatch("camera", stall), StreamWatch("microphone", stall, if_useless=STILL)
        self.create_service(SetBool, "~/enabled", self._on_enable)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a stopped /clock must not stop the watch
        self.create_timer(self.config.diagnostics.period_seconds, self._report, clock=steady)
        self.create_timer(WATCH_SECONDS, self._watch, clock=steady)
        # Held, because the clock keeps only a weak hand on it.
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True), post_callback=self._on_clock_jump
        )

    def start(self) -> bool:
        """Bring the node to active; False when a step failed (the log says why)."""
        return bool(self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS)

    def _load(self) -> Pipeline:
        link = self._link
        if link is None:
            return Pipeline.load(self.config)
        return Pipeline.load(self.config, remote=lambda folder: RemoteReasoner(link, folder))

    # Transitions. A failure is logged and reported, and the node stays where it was.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        started = time.monotonic()
        try:
            self._pipeline = self._load()
        except Exception as error:  # noqa: BLE001 whatever keeps the model from loading must be said, and the node lives on
            return self._refuse("configure", error)
        self.get_logger().info(f"configured in {time.monotonic() - started:.1f} s: {self._pipeline.describe()}")
        self._stage, self._reason = "inactive", ""
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        started = time.monotonic()
        try:
            if self._pipeline is None:  # its language model hung when it was last active
                self._pipeline = self._load()
            self._pipeline.warm_up()
            self._assembler = WindowAssembler(self._pipeline.window_spec)
            self._worker = Worker(self._pipeline, self.config, self._publish_state, self._publish_explanation, self._on_worker_error)
            self._hops_lost = 0
            self._worker.start()
            self._inputs = Inputs(self, self.config, self._on_picture, self._on_sound, self._on_words, self._drop)
            if self.config.perception.enabled:
                self._open()
        except Exception as error:  # noqa: BLE001 as above
            self._stop()
            return self._refuse("activate", error)
        self._stage, self._reason, self._activated = "active", "", time.monotonic()
        listening = ", ".join(self._inputs.names) if self.config.perception.enabled else "nothing: perception.enabled is false"
        self.get_logger().info(f"active, warmed up in {time.monotonic() - started:.1f} s; listening to {listening}")
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
        self._explain.destroy()
        if self._link is not None:
            self._link.destroy()
        super().destroy_node()

    def _refuse(self, step: str, error: Exception) -> TransitionCallbackReturn:
        self._reason = f"cannot {step}: {error}"
        self.get_logger().error(self._reason)
        return FAILURE

    def _stop(self) -> None:
        self._close()
        if self._worker is not None and not self._worker.stop():
            self.get_logger().error("the model hangs and is left behind; it is loaded anew on activation")
            self._pipeline = None
        if self._pipeline is not None:
            self._pipeline.forget()
        if self._assembler is not None:
            for cause, count in self._assembler.counters.items():
                self._dropped.add(cause, count)
        self._worker = self._assembler = self._inputs = None

    # Consent: open to look and listen, closed and forgetful.

    def _open(self) -> None:
        assert self._inputs is not None and self._worker is not None
        self._inputs.open()
        if self.config.reasoner.enabled:
            self._explain.ask = self._worker.ask

    def _close(self) -> None:
        self._explain.ask = None
        if self._inputs is not None:
            self._inputs.close()
        for watch in (self._camera, self._microphone):
            watch.forget()

    def _on_enable(self, request: Any, response: Any) -> Any:
        [result] = self.set_parameters([Parameter("perception.enabled", value=bool(request.data))])
        response.success, response.message = (
            result.successful,
            result.reason or ("enabled" if request.data else "disabled, nothing is held"),
        )
        return response

    def _enable(self, enabled: bool) -> None:
        if self._inputs is None or self._worker is None or self._assembler is None or self._pipeline is None:
            return  # takes effect on activation
        if enabled:
            self._open()
        else:
            self._close()
            self._forget("disabled")
        self.get_logger().warning(f"perception {'enabled' if enabled else 'disabled: inputs closed, buffers dropped'}")

    def _forget(self, cause: str) -> None:
        assert self._worker is not None and self._assembler is not None and self._pipeline is not None
        self._assembler.flush(cause)
        self._worker.reset()
        self._pipeline.forget()
        self._outputs.forget()
        self._newest = self._latency_seconds = None

    # Inputs, on the executor's thread.

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
        self._camera.arrived(self._now_seconds(), stamp)
        self._submit(windows)

    def _take_picture(self, assembler: WindowAssembler, stamp: int, cdr: bytes) -> list[Window]:
        assert self._inputs is not None
        message = message_from(cdr, self._inputs.picture_class)
        pixels = compressed_to_rgb(message) if isinstance(message, CompressedImage) else image_to_rgb(message)
        frame = Frame(stamp, pixels)
        self._outputs.see(frame, message.header.frame_id)
        return assembler.add_frame(frame)

    def _on_sound(self, chunks: Sequence[AudioChunk]) -> None:
        if self._assembler is None:
            return
        self._seen.add("sounds")
        for chunk in chunks:
            self._microphone.arrived(self._now_seconds(), chunk.end_ns)
            self._submit(self._assembler.add_audio(chunk))

    def _on_words(self, stamp_ns: int, text: str) -> None:
        if self._assembler is not None:
            self._assembler.set_transcript(stamp_ns or self.get_clock().now().nanoseconds, text)

    def _drop(self, error: BadMessage) -> None:
        if self._assembler is not None:
            self._assembler.count(error.cause)
        if self._told.add(error.cause):
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
            self._forget("clock_jumps")
            for watch in (self._camera, self._microphone):
                watch.forget()
            self.get_logger().warning("the clock jumped; windows begin anew")

    def _reconfigure(self, config: Config) -> None:
        before, self.config = self.config, config
        self._outputs.config = config
        if self._pipeline is not None:
            self._pipeline.config = config
        if self._worker is not None:
            self._worker.reconfigure(config)
        if config.perception.enabled != before.perception.enabled:
            self._enable(config.perception.enabled)

    # Outputs, from the worker's threads.

    def _publish_state(self, state: EmotionState) -> None:
        self._outputs.state(state)
        self._seen.add("states")
        self._newest = state
        if state.newest_frame_ns is not None:
            self._latency_seconds = (self.get_clock().now().nanoseconds - state.newest_frame_ns) * 1e-9

    def _publish_explanation(self, explanation: Explanation) -> None:
        self._outputs.explanation(explanation)
        if explanation.final:
            self._seen.add("explanations")

    def _on_worker_error(self, what: str, error: Exception) -> None:
        self._dropped.add(f"{what}_errors")
        if self._told.add(f"{what}_errors"):
            self.get_logger().error(f"{what} failed: {error}; more of these are only counted, see /diagnostics")

    # Watching, on the executor's thread.

    def _now_seconds(self) -> float:
        """The clock that a stall is measured on: a bag may be paused or played slowly."""
        clock = self.get_clock()
        return clock.now().nanoseconds * 1e-9 if clock.ros_time_is_active else time.monotonic()

    def _watch(self) -> None:
        if self._worker is not None:
            self._worker.check()
        if self._inputs is None or not self.config.perception.enabled:
            return
        now, missing = self._now_seconds(), self._newest.missing if self._newest is not None else ()
        for watch, stream, other in ((self._camera, "video", self._microphone), (self._microphone, "audio", self._camera)):
            watch.examine(stream in missing, other, now)
            self._say(watch, watch.look(now))
        if time.monotonic() - self._followed >= FOLLOW_SECONDS:
            self._followed = time.monotonic()
            self._inputs.follow()

    def _say(self, watch: StreamWatch, stage: str | None) -> None:
        if stage == STALLED:
            self.get_logger().warning(f"the {watch.name} {watch.trouble or 'stopped'}; labels go on without it")
        elif stage is not None:
            self.get_logger().info(f"the {watch.name} is live")

    @property
    def dropped(self) -> dict[str, int]:
        """Everything lost since the start, by cause."""
        return dict(Counter(self._dropped.snapshot()) + Counter(self._assembler.counters if self._assembler is not None else {}))

    def _report(self) -> None:
        now = time.monotonic()
        worker, state = self._worker, self._newest
        enabled = self.config.perception.enabled or self._stage != "active"
        health = Health(
            stage=self._stage if enabled else "disabled",
            reason=self._reason,
            seconds=now - self._reported,
            seen=self._seen.snapshot(),
            dropped=self.dropped,
            latency_seconds=self._latency_seconds,
            model=self._pipeline.describe() if self._pipeline is not None else "",
            now_seconds=self._now_seconds(),
            active_seconds=now - self._activated,
            streams=(self._camera, self._microphone),
            stage_seconds=state.stage_seconds if state is not None else {},
            waiting=worker.waiting if worker is not None else 0,
            speaking_seconds=worker.speaking_seconds if worker is not None else 0.0,
            deadline_seconds=self.config.reasoner.deadline_seconds,
            link=None if self._link is None else (self._link.ready, self._link.trouble, self._link.counters),
        )
        self._reported = now
        self._diagnostics.publish(self._reporter.report(health, self.get_clock().now().to_msg()))


def _started() -> PerceptionNode:
    node = PerceptionNode()
    if node.config.autostart:
        node.start()
    return node


def main(argv: Sequence[str] | None = None) -> int:
    """`ros2 run emollama perception`; parameters: config/perception.yaml."""
    if asked_for_help(argv, __doc__, Config):
        return 0
    return run(_started, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
