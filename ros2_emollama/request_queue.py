"""What is asked of the reasoner: one request, the place where two of them wait, and its answer as it grows. Pure but for time.monotonic.

Every request ends exactly once, whoever comes first: the reasoner with its answer, or whoever gives up on it. After that nothing more of it
reaches its sink, so a reasoner that hangs and comes back late is not heard.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from .types import Explanation, Percept


class Request:
    """An explanation wanted. `sink` gets the partial ones and the final one, one at a time.

    cause      "change", "period" or "request"
    cancelled  set it to take the request back
    """

    def __init__(self, percept: Percept, cause: str, sink: Callable[[Explanation], None], question: str = "") -> None:
        self.percept, self.cause, self.question = percept, cause, question
        self.cancelled = threading.Event()
        self._sink = sink
        self._triggered = time.monotonic()
        self._lock = threading.Lock()
        self._ended = False
        self._newest = Explanation(percept.state, "", False, "", 0, 0.0, 0.0)

    @property
    def asked(self) -> bool:
        """Somebody asked; no trigger did."""
        return self.cause == "request"

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def age_seconds(self) -> float:
        """Since it was triggered."""
        return time.monotonic() - self._triggered

    def say(self, explanation: Explanation) -> None:
        """A partial answer."""
        with self._lock:
            if not self._ended:
                self._newest = explanation
                self._sink(explanation)

    def end(self, explanation: Explanation) -> bool:
        """The final answer; False when the request had ended before, and nobody hears of this."""
        with self._lock:
            if self._ended:
                return False
            self._ended = True
            self._sink(explanation)
            return True

    def give_up(self, reason: str) -> bool:
        """End it with what has been said so far."""
        self.cancelled.set()
        return self.end(replace(self._newest, final=True, finish_reason=reason, total_seconds=self.age_seconds))


class RequestQueue:
    """One request asked for and one triggered wait; a newer one of its kind takes a waiting one's place. What was asked comes first.

    underway  the one that was taken, until the next `take`; with no moment between the two in which it is neither
    since     when it was taken, on time.monotonic()
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: dict[bool, Request] = {}  # by "was asked for"
        self._closed = False
        self.underway: Request | None = None
        self.since = 0.0

    def put(self, request: Request) -> Request | None:
        """The request whose place it took, if any."""
        with self._condition:
            overtaken = self._waiting.get(request.asked)
            self._waiting[request.asked] = request
            self._condition.notify()
            return overtaken if overtaken is not None and not overtaken.ended else None

    def take(self) -> Request | None:
        """Wait for a request that has not ended yet; None once closed. Whatever was under way is done."""
        with self._condition:
            self.underway = None
            while True:
                self._condition.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return None
                request = self._waiting.pop(True, None) or self._waiting.pop(False)
                if not request.ended:
                    self.underway, self.since = request, time.monotonic()
                    return request

    def waiting(self) -> list[Request]:
        """Those that wait, still in their places."""
        with self._condition:
            return [request for request in self._waiting.values() if not request.ended]

    def drain(self) -> list[Request]:
        """Those that wait, taken out."""
        with self._condition:
            waiting, self._waiting = list(self._waiting.values()), {}
            return waiting

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()


class Partials:
    """Thins the token stream to a rate a subscriber can read; the first text goes out at once."""

    def __init__(self, request: Request, rate_hz: float) -> None:
        self._request = request
        self._interval = 1.0 / rate_hz if rate_hz > 0 else float("inf")
        self._last = float("-inf")
        self._first = 0.0
        self._tokens = 0

    def publish(self, text: str) -> None:
        now = time.monotonic()
        self._tokens += 1
        if self._tokens == 1:
            self._first = self._request.age_seconds
        if now - self._last < self._interval or self._interval == float("inf"):
            return
        self._last = now
        state = self._request.percept.state
        self._request.say(Explanation(state, text, False, "", self._tokens, self._first, self._request.age_seconds))
