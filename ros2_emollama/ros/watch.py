"""Is a stream alive? Arrival times in, changes out. Pure: time is an argument.

The windows know what is missing from stamps alone (types.Window.missing); this watch also sees both streams stop at once, when no window
is cut any more, and gives the log and /diagnostics their words.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WAITING, LIVE, STALLED = "waiting", "live", "stalled"


@dataclass
class StreamWatch:
    """One stream. `stage` is waiting (nothing came yet), live or stalled."""

    name: str
    stall_seconds: float
    stage: str = WAITING
    stalls: int = 0
    still: bool = False  # it arrives, and says nothing: a muted microphone
    _newest_seconds: float | None = field(default=None)

    def arrived(self, now_seconds: float) -> None:
        self._newest_seconds = now_seconds

    def look(self, now_seconds: float) -> str | None:
        """The new stage when it changed, else None."""
        before = self.stage
        if self._newest_seconds is not None:
            late = now_seconds - self._newest_seconds > self.stall_seconds
            self.stage = STALLED if late or self.still else LIVE
        self.stalls += self.stage == STALLED and before != STALLED
        return self.stage if self.stage != before else None

    def age_seconds(self, now_seconds: float) -> float | None:
        """Since the newest arrival; None before the first."""
        return None if self._newest_seconds is None else now_seconds - self._newest_seconds

    def forget(self) -> None:
        """The clock jumped, or the input was closed: begin anew."""
        self.stage, self.still, self._newest_seconds = WAITING, False, None
