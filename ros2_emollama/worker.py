"""Threads around the pipeline: labels never wait for explanations.

    submit(window) ─► [slot of one] ─► perception thread ─► on_state
                                            │ trigger
                                            ▼
                                       [slot of one] ─► reasoner thread ─► on_explanation (partials, then final)
Newest wins in both slots; what was overtaken is counted, never silently lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from .config import Config
from .pipeline import Pipeline
from .triggers import ExplanationTriggers
from .types import EmotionState, Explanation, Percept, Window

T = TypeVar("T")
logger = logging.getLogger(__name__)


class NewestSlot(Generic[T]):
    """Holds at most one item; a newer one replaces it. `put` says whether one was overtaken, `take` blocks until there is one or None
    once closed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> bool:
        with self._condition:
            overtaken = self._item is not None
            self._item = item
            self._condition.notify()
            return overtaken

    def take(self) -> T | None:
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._closed)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()


@dataclass(frozen=True)
class _Request:
    percept: Percept
    cause: str
    cancel: threading.Event
    triggered: float  # time.monotonic()


class Worker:
    """Runs one pipeline on two threads.

    on_state        called on the perception thread, once a window
    on_explanation  called on the reasoner thread: partial ones at most `reasoner.partial_hz` a second, then the final one
    on_error        called with (what failed, the exception); the threads live on

    counters: windows, hops_lost, explanations, explanations_overtaken, perception_errors, reasoner_errors
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
        self._triggers = ExplanationTriggers(config.labels, config.reasoner)
        self._windows: NewestSlot[Window] = NewestSlot()
        self._percepts: NewestSlot[_Request] = NewestSlot()
        self._outstanding: list[threading.Event] = []  # cancels of the request under way and the one waiting
        self._stopping = threading.Event()
        self._newest: Percept | None = None
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

    def stop(self) -> None:
        """Cancel what is under way and join the threads."""
        self._stopping.set()
        self._windows.close()
        self._percepts.close()
        for thread in self._threads:
            thread.join(timeout=5.0)

    @property
    def counters(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counters)

    def submit(self, window: Window) -> None:
        """Hand over a window; one still waiting is overtaken and counted as a lost hop."""
        if self._windows.put(window):
            self._count("hops_lost")

    def request_explanation(self) -> bool:
        """Explain the newest percept now. False when nothing has been perceived yet, or explanations are off."""
        percept = self._newest
        if percept is None or not self._config.reasoner.enabled:
            return False
        self._enqueue(percept, "request")
        return True

    def reconfigure(self, config: Config) -> None:
        """Follow a parameter that changed while running; what triggers an explanation begins anew."""
        self._config = config
        self._triggers = ExplanationTriggers(config.labels, config.reasoner)

    def reset(self) -> None:
        """The clock jumped: forget what was held."""
        self._triggers.reset()
        self._newest = None

    def _count(self, cause: str) -> None:
        with self._lock:
            self._counters[cause] += 1

    def _perceive_loop(self) -> None:
        while (window := self._windows.take()) is not None:
            try:
                self._perceive(window)
            except Exception as error:  # noqa: BLE001 the node lives on: one bad window must not end the thread
                self._count("perception_errors")
                self._on_error("perception", error)

    def _perceive(self, window: Window) -> None:
        percept = self._pipeline.perceive(window)
        self._newest = percept
        self._count("windows")
        self._on_state(percept.state)
        cause = self._triggers.update(percept.state)
        if cause is not None:
            self._enqueue(percept, cause)

    def _enqueue(self, percept: Percept, cause: str) -> None:
        request = _Request(percept, cause, threading.Event(), time.monotonic())
        with self._lock:
            if cause != "period":
                for cancel in self._outstanding:  # what is being said is no longer what should be said
                    cancel.set()
            self._outstanding = [*self._outstanding[-1:], request.cancel]
        if self._percepts.put(request):
            self._count("explanations_overtaken")

    def _explain_loop(self) -> None:
        while (request := self._percepts.take()) is not None:
            try:
                self._explain(request)
            except Exception as error:  # noqa: BLE001 a failing reasoner must not take the labels with it
                self._count("reasoner_errors")
                self._on_error("reasoner", error)

    def _explain(self, request: _Request) -> None:
        partials = _Partials(request, self._config.reasoner.partial_hz, self._on_explanation)
        waited = time.monotonic() - request.triggered
        final = self._pipeline.explain(
            request.percept,
            on_text=partials.publish,
            cancelled=lambda: request.cancel.is_set() or self._stopping.is_set(),
        )
        self._count("explanations")
        seconds = (waited + final.first_token_seconds, waited + final.total_seconds)  # from the trigger, as the message promises
        self._on_explanation(replace(final, first_token_seconds=seconds[0], total_seconds=seconds[1]))


class _Partials:
    """Thins the token stream to a rate a subscriber can read; the first text goes out at once."""

    def __init__(self, request: _Request, rate_hz: float, publish: Callable[[Explanation], None]) -> None:
        self._state = request.percept.state
        self._interval = 1.0 / rate_hz if rate_hz > 0 else float("inf")
        self._sink = publish
        self._started = request.triggered
        self._last = float("-inf")
        self._first = 0.0
        self._tokens = 0

    def publish(self, text: str) -> None:
        now = time.monotonic()
        self._tokens += 1
        if self._tokens == 1:
            self._first = now - self._started
        if now - self._last < self._interval or self._interval == float("inf"):
            return
        self._last = now
        self._sink(Explanation(self._state, text, False, "", self._tokens, self._first, now - self._started))
