"""The language model on a machine of its own: prefixes in, label probabilities or explanations out, over the action `emotion/reason`.

For robots too small for it: their perception node has `reasoner.mode` "remote" and the same model folder, and this node runs elsewhere in
the same ROS graph. One text is made and one may wait, label scores go between; the newest wins. A model that hangs ends the node, so that
launch starts another.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from emollama.action import Reason
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ..config import ReasonerNodeConfig
from ..model.folder import ModelFolderError, find_model, open_folder
from ..reasoner import Reasoner, Talker
from ..reasoner.prompt import reads_labels
from ..request_queue import Request, RequestQueue
from ..runtime.base import RuntimeUnavailable
from ..runtime.factory import open_language
from ..types import UNKNOWN, EmotionState, Explanation, Percept
from . import parameters
from .conversions import stamp_ns
from .diagnostics import ERROR, OK, WARN, Tally, status
from .goal_server import GoalServer, Sink
from .prefixes import prefix_from_message
from .remote_reasoner import ACTION
from .running import Refused, asked_for_help, run

DEPTH = 10
SIGN_OF_LIFE_SECONDS = 0.25
GRACE_SECONDS = 0.5  # past its deadline the decode loop ends by itself, unless one step of the model hangs
HUNG_SECONDS = 10.0  # past its deadline: only a new process helps
MOST_TOKENS, LONGEST_SECONDS = 1024, 600.0  # of one answer, as the perception node's own parameters allow
LABELS_SCORED = 64


@dataclass(frozen=True)
class Answer(Explanation):
    """An explanation, or the probabilities of labels; `error` where there is neither."""

    probabilities: tuple[float, ...] = ()
    error: str = ""


class Job(Request):
    """A goal as a request: label scores take the place that triggers have in the queue, texts that of what somebody asked."""

    def __init__(self, percept: Percept, goal: Any, sink: Sink) -> None:
        super().__init__(percept, "change" if goal.labels else "request", sink, goal.question)
        self.labels = tuple(goal.labels)
        self.max_tokens = min(max(1, int(goal.max_tokens)), MOST_TOKENS)
        self.deadline_seconds = min(float(goal.deadline_seconds), LONGEST_SECONDS) if math.isfinite(goal.deadline_seconds) else 0.0
        self.temperature = float(goal.temperature) if math.isfinite(goal.temperature) and goal.temperature > 0.0 else 0.0


class ReasonerNode(Node):
    """See the module's contract. ConfigError for an unknown parameter or a bad value, Refused where the model cannot be loaded."""

    def __init__(self, open_talker: Callable[[Any, ReasonerNodeConfig], Talker] | None = None, **node_options: Any) -> None:
        super().__init__("reasoner", automatically_declare_parameters_from_overrides=True, **node_options)
        self.config = parameters.declare(self, ReasonerNodeConfig())
        started = time.monotonic()
        try:
            self._folder = open_folder(find_model(self.config.model.path))
            self._talker = (open_talker or _open_talker)(self._folder, self.config)
        except (ModelFolderError, RuntimeUnavailable) as error:
            raise Refused(str(error)) from error
        self._talker.warm_up()
        self._model_id, self._after_scene = self._folder.model_id, self._talker.after_scene
        self._last: tuple[Any, Any] = (None, None)  # a prefix as it came and as it was read: scores and text of one window share it
        self._queue, self._tally, self._hung = RequestQueue(), Tally(), False
        self._server = GoalServer(self, Reason, ACTION, lambda goal: "", self._ask, self._feedback, self._result)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", DEPTH)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(SIGN_OF_LIFE_SECONDS, self._look, clock=steady)
        self.create_timer(self.config.diagnostics.period_seconds, self._report, clock=steady)
        self._thread = threading.Thread(target=self._loop, name="emollama-reasoner", daemon=True)
        self._thread.start()
        self.get_logger().info(f"{self._model_id} on {self._talker.name}, ready in {time.monotonic() - started:.1f} s; serving {ACTION}")

    @property
    def failed(self) -> bool:
        """The model hangs, and the node gave up."""
        return self._hung

    def destroy_node(self) -> None:
        self._queue.close()
        for request in [*self._queue.drain(), *([self._queue.underway] if self._queue.underway is not None else [])]:
            request.give_up("cancelled")
        self._thread.join(2.0)
        self._server.destroy()
        super().destroy_node()

    # Goals, on the executor's thread.

    def _ask(self, goal: Any, sink: Sink) -> Job | str:
        self._tally.add("asked")
        self._tally.add("bytes_received", len(goal.prefix.data))
        try:
            job = Job(self._percept(goal), goal, sink)
        except ValueError as error:
            self._tally.add("refused")
            return str(error)
        overtaken = self._queue.put(job)
        if overtaken is not None:
            self._give_up(overtaken, "overtaken")
        return job

    def _percept(self, goal: Any) -> Percept:
        """What the goal tells of a window. ValueError with the cure."""
        preset = self._folder.preset
        if len(goal.labels) > LABELS_SCORED or len(set(goal.labels)) != len(goal.labels) or not all(goal.labels):
            raise ValueError(f"labels to be scored must be different, not empty and at most {LABELS_SCORED}, got {len(goal.labels)}")
        known = preset.labels if reads_labels(preset) else (*preset.labels, "")
        if not goal.labels and goal.label not in known:
            raise ValueError(f"{goal.label[:40]!r} is no label of {self._model_id}: {', '.join(preset.labels)}")
        came, read = self._last
        if came is None or came != goal.prefix:
            read = prefix_from_message(goal.prefix, self._folder, self._model_id, self._after_scene)
            self._last = (goal.prefix, read)
        stamp, even = stamp_ns(goal.prefix.header.stamp), 1.0 / len(preset.labels)
        state = EmotionState(
            stamp, stamp, None, preset.labels, (even,) * len(preset.labels), math.nan, math.nan, (), math.nan, math.nan, {}, {},
            self._model_id, self._talker.name, held=goal.label or UNKNOWN,
        )  # fmt: skip
        return Percept(state, read, goal.transcript)

    def _feedback(self, said: Explanation) -> Any:
        return Reason.Feedback(text=said.text)

    def _result(self, said: Explanation | str) -> tuple[Any, bool]:
        if isinstance(said, str):
            return Reason.Result(finish_reason="refused", error=said), False
        result = Reason.Result(text=said.text, finish_reason=said.finish_reason, token_count=said.token_count)
        result.first_token_seconds, result.total_seconds = said.first_token_seconds, said.total_seconds
        if isinstance(said, Answer):
            result.probabilities, result.error = said.probabilities, said.error
        elif said.finish_reason == "overtaken":
            result.error = "a newer question took its place"
        return result, not result.error and said.finish_reason in ("stop", "length", "deadline")

    def _give_up(self, request: Request, reason: str) -> None:
        if request.give_up(reason):
            self._tally.add(reason)

    def _look(self) -> None:
        """Signs of life for those who wait; ends for what is overdue or was taken back before it was begun."""
        underway = self._queue.underway
        for handle, request in self._server.answering:
            assert isinstance(request, Job)
            overdue = request.age_seconds - request.deadline_seconds
            if overdue > GRACE_SECONDS:
                self._give_up(request, "deadline")
            elif request.cancelled.is_set() and request is not underway:
                self._give_up(request, "cancelled")
            else:
                handle.publish_feedback(Reason.Feedback())
        if isinstance(underway, Job) and time.monotonic() - self._queue.since > underway.deadline_seconds + HUNG_SECONDS:
            self._hung = True
            self.get_logger().fatal("the language model hangs; leaving, so that a new process can take its place")
            self.context.try_shutdown()

    # Answers, on a thread of their own.

    def _loop(self) -> None:
        while (job := self._queue.take()) is not None:
            assert isinstance(job, Job)
            began = time.monotonic()
            try:
                final = self._scores(job) if job.labels else self._text(job)
            except Exception as error:  # noqa: BLE001 whatever fails is told to who asked, and the node lives on
                final = self._failed(job, error)
            final = replace(final, total_seconds=job.age_seconds)
            if job.end(final):
                self._tally.add("answered")
                self._tally.add("busy_ms", round(1e3 * (time.monotonic() - began)))

    def _scores(self, job: Job) -> Answer:
        found = self._talker.score_labels(job.percept.prefix, job.labels, job.percept.transcript)
        return Answer(job.percept.state, "", True, "stop", 0, 0.0, 0.0, tuple(float(share) for share in found))

    def _text(self, job: Job) -> Explanation:
        count, waited = [0], job.age_seconds

        def on_text(text: str) -> None:
            count[0] += 1
            job.say(Explanation(job.percept.state, text, False, "", count[0], 0.0, job.age_seconds))

        left = max(0.0, job.deadline_seconds - waited)
        final = self._talker.explain(job.percept, job.question, on_text, job.cancelled.is_set, job.max_tokens, left, job.temperature)
        return replace(final, first_token_seconds=waited + final.first_token_seconds)

    def _failed(self, job: Job, error: Exception) -> Answer:
        if self._tally.add("failed"):
            self.get_logger().error(f"an answer failed: {error}; more of these are only counted, see /diagnostics")
        return Answer(job.percept.state, "", True, "failed", 0, 0.0, 0.0, error=str(error) or type(error).__name__)

    def _report(self) -> None:
        counts = self._tally.snapshot()
        speaking = time.monotonic() - self._queue.since if self._queue.underway is not None else 0.0
        values = [("model", self._model_id), ("runtime", self._talker.name), ("waiting", str(len(self._queue.waiting())))]
        values += [("speaking_seconds", f"{speaking:.1f}"), *((name, str(count)) for name, count in sorted(counts.items()))]
        level, text = (ERROR, "the language model hangs") if self._hung else (OK, "ready")
        if counts.get("refused") or counts.get("failed"):
            level, text = max(level, WARN), "some questions were refused or failed; see the log"
        message = DiagnosticArray(status=[status(f"{self.get_fully_qualified_name()}: reasoner", level, text, values)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _open_talker(folder: Any, config: ReasonerNodeConfig) -> Talker:
    """The folder's language model, verified and loaded. ModelFolderError or RuntimeUnavailable with the cure."""
    folder.verify()
    engines = Path(config.model.engines).expanduser() if config.model.engines else None
    return Reasoner(open_language(folder, config.model.runtime, config.model.threads, engines), folder.language("tokenizer"), folder.preset)


def _finish(node: Node) -> int:
    """Exit status: 1 where it gave up."""
    assert isinstance(node, ReasonerNode)
    return 1 if node.failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """`ros2 run emollama reasoner`; parameters: config/reasoner.yaml."""
    if asked_for_help(argv, __doc__, ReasonerNodeConfig):
        return 0
    return run(ReasonerNode, argv, _finish)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
