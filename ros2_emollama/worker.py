"""Threads around the pipeline: labels never wait for explanations.

    submit(window) ─► [the newest] ─► perception thread ─► on_state
                                            │ trigger                          ask(question)
                                            ▼                                       │
                                       [slot of one] ─► reasoner thread ◄─ [slot of one]
                                                              └─► on_explanation, or the asker's own sink (partials, then final)
Newest wins everywhere; what was overtaken is counted, never silently lost. Windows wait for each other only where they come in a burst
(a stream that is no longer waited for lets several out at once) and are quick to perceive. What somebody asked goes before what a
trigger wants said, and no trigger cuts it off.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from .config import Config
from .pipeline import Pipeline
from .request_queue import Partials, Request, RequestQueue
from .triggers import ExplanationTriggers, LabelTracker
from .types import EmotionState, Explanation, Percept, Window

T = TypeVar("T")
logger = logging.getLogger(__name__)
STOP_SECONDS = 2.0
CATCH_UP_SECONDS = 0.25  # windows that can all be perceived within this time may wait; of more, the newest win
CALM = 0.9  # how slowly a slow window is forgotten
GRACE_SECONDS = 0.5  # past its deadline the decode loop ends by itself, unless one step of the model hangs


class NewestQueue(Generic[T]):
    """Holds the newest items; older ones give way. `put` says how many did, `take` blocks until there is one or None once closed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._items: deque[T] = deque()
        self._closed = False

    def put(self, item: T, capacity: int = 1) -> int:
        with self._condition:
            self._items.append(item)
            overtaken = max(0, len(self._items) - capacity)
            for _ in range(overtaken):
                self._items.popleft()
            self._condition.notify()
            return overtaken

    def take(self) -> T | None:
        with self._condition:
            self._condition.wait_for(lambda: self._items or self._closed)
            return None if self._closed else self._items.popleft()

    def drop(self) -> None:
        """Let go of what waits."""
        with self._condition:
            self._items.clear()

    def __len__(self) -> int:
        with self._condition:
            return len(self._items)

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()


class Worker:
    """Runs one pipeline on two threads.

    on_state        called on the perception thread, once a window
    on_explanation  called on the reasoner thread: partial ones at most `reasoner.partial_hz` a second, then the final one
    on_error        called with (what failed, the exception); the threads live on

    counters: windows, windows_forgotten, hops_lost, explanations, explanations_overtaken, explanations_given_up, perception_errors,
    reasoner_errors

    Who asks gets exactly one final explanation; besides the decoder's reasons it may end as "overtaken" (a newer question took its place
    before it was begun), "failed" (the reasoner raised) or "cancelled" (by `reset`, `stop` or the asker). Call `check` now and then: it
    ends what a hanging reasoner does not end.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        config: Config,
        on_state: Callable[[EmotionState], None],
        on_explanation: Callable[[Explanation], None],
        on_error: Callable[[str, Exception], None] | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._config = config
        self._on_state = on_state
        self._on_explanation = on_explanation
        self._on_error = on_error or (lambda what, error: logger.error("%s: %s", what, error))
        self._tracker = LabelTracker(config.labels)
        self._triggers = ExplanationTriggers(config.reasoner)
        self._windows: NewestQueue[tuple[int, Window]] = NewestQueue()  # with the generation it belongs to
        self._perceive_seconds = float("inf")  # of the slowest window lately
        self._requests = RequestQueue()
        self._stopping = threading.Event()
        self._generation = 0
        self._newest: Percept | None = None
        self._turn = threading.Lock()  # held while a percept becomes known, and while all is forgotten
        self._lock = threading.Lock()
        self._counters: Counter[str] = Counter()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads; once."""
        if self._threads:
            raise RuntimeError("this worker has been started already; make a new one")
        for target in (self._perceive_loop, self._explain_loop):
            thread = threading.Thread(target=target, name=f"emollama-{target.__name__.strip('_')}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> bool:
        """Cancel what is under way and join the threads. False when one hangs and is left behind: its pipeline must not be used again."""
        self._stopping.set()
        self._windows.close()
        self._requests.close()
        _take_back(self._requests.drain(), "cancelled")
        for thread in self._threads:
            thread.join(timeout=STOP_SECONDS)
        underway = self._requests.underway
        if underway is not None:
            underway.give_up("cancelled")
        return not any(thread.is_alive() for thread in self._threads)

    def check(self) -> None:
        """End requests that are overdue, and those taken back before they were begun. Call it from any thread, several times a second."""
        underway, deadline = self._requests.underway, self._config.reasoner.deadline_seconds + GRACE_SECONDS
        waiting = self._requests.waiting()
        for request in [*waiting, *([underway] if underway is not None else [])]:
            if request.age_seconds > deadline:
                self._give_up(request, "deadline")
            elif request.cancelled.is_set() and request is not underway:
                self._give_up(request, "cancelled")

    def _give_up(self, request: Request, reason: str) -> None:
        if request.give_up(reason):
            self._count("explanations_given_up")

    @property
    def counters(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counters)

    def submit(self, window: Window) -> None:
        """Hand over a window; those still waiting that cannot be caught up with are overtaken and counted as lost hops."""
        overtaken = self._windows.put((self._generation, window), max(1, int(CATCH_UP_SECONDS / self._perceive_seconds)))
        if overtaken:
            self._count("hops_lost", overtaken)

    def ask(self, question: str = "", sink: Callable[[Explanation], None] | None = None) -> Request | None:
        """Explain the newest percept now, or answer a question about it. None when nothing has been perceived yet, or explanations are
        off. Set the request's `cancelled` to take it back."""
        percept = self._newest
        if percept is None or not self._config.reasoner.enabled:
            return None
        request = Request(percept, "request", sink or self._on_explanation, question)
        self._enqueue(request)
        return request

    @property
    def waiting(self) -> int:
        """Windows and requests that wait for their thread."""
        return len(self._windows) + len(self._requests.waiting())

    @property
    def speaking_seconds(self) -> float:
        """For how long the reasoner has been at its present request; 0.0 while it waits for one."""
        request, since = self._requests.underway, self._requests.since
        return time.monotonic() - since if request is not None else 0.0

    def reconfigure(self, config: Config) -> None:
        """Follow a parameter that changed while running."""
        self._config = config
        self._tracker.config, self._triggers.config = config.labels, config.reasoner

    def reset(self) -> None:
        """The clock jumped, or nobody may be watched any more: forget what was held, take back what is being said."""
        with self._turn:
            self._generation += 1  # a window being perceived just now is not heard of again
            self._newest = None
            self._tracker.reset()
            self._triggers.reset()
        self._windows.drop()
        _take_back(self._requests.drain(), "cancelled")
        underway = self._requests.underway
        if underway is not None:
            underway.cancelled.set()

    def _count(self, cause: str, n: int = 1) -> None:
        with self._lock:
            self._counters[cause] += n

    def _perceive_loop(self) -> None:
        while (taken := self._windows.take()) is not None:
            try:
                self._perceive(*taken)
            except Exception as error:  # noqa: BLE001 the node lives on: one bad window must not end the thread
                self._count("perception_errors")
                self._on_error("perception", error)

    def _perceive(self, generation: int, window: Window) -> None:
        began = time.monotonic()
        percept = self._pipeline.perceive(window)
        took = time.monotonic() - began
        self._perceive_seconds = took if self._perceive_seconds == float("inf") else max(took, CALM * self._perceive_seconds, 1e-4)
        with self._turn:
            if generation == self._generation:
                self._tell(percept)
            else:
                self._count("windows_forgotten")

    def _tell(self, raw: Percept) -> None:
        percept = replace(raw, state=self._tracker.update(raw.state))
        self._newest = percept
        self._count("windows")
        self._on_state(percept.state)
        cause = self._triggers.update(percept.state)
        if cause is not None:
            self._enqueue(Request(percept, cause, self._on_explanation))

    def _enqueue(self, request: Request) -> None:
        underway = self._requests.underway
        if request.cause != "period" and underway is not None and not underway.asked:
            underway.cancelled.set()  # what is being said is no longer what should be said
        overtaken = self._requests.put(request)
        if overtaken is not None:
            self._count("explanations_overtaken")
            _take_back([overtaken], "overtaken")

    def _explain_loop(self) -> None:
        while (request := self._requests.take()) is not None:
            try:
                self._explain(request)
            except Exception as error:  # noqa: BLE001 a failing reasoner must not take the labels with it
                self._count("reasoner_errors")
                self._on_error("reasoner", error)
                request.give_up("failed")

    def _explain(self, request: Request) -> None:
        partials = Partials(request, self._config.reasoner.partial_hz)
        waited = request.age_seconds
        final = self._pipeline.explain(
            request.percept,
            question=request.question,
            on_text=partials.publish,
            cancelled=lambda: request.cancelled.is_set() or self._stopping.is_set(),
            deadline_seconds=max(0.0, self._config.reasoner.deadline_seconds - waited),
        )
        seconds = (waited + final.first_token_seconds, waited + final.total_seconds)  # from the trigger, as the message promises
        if request.end(replace(final, first_token_seconds=seconds[0], total_seconds=seconds[1])):
            self._count("explanations")


def _take_back(requests: list[Request], reason: str) -> None:
    """Tell those who asked; of what a trigger wanted nobody knows yet."""
    for request in requests:
        if request.asked:
            request.give_up(reason)
