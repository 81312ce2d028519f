"""Is a stream alive? Arrival times in, changes out. Pure: time is an argument.

The windows know what is missing from stamps alone (types.Window.missing); this watch also sees both streams stop at once, when no window
is cut any more, and gives the log and /diagnostics their words.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WAITING, LIVE, STALLED = "waiting", "live", "stalled"
ARRIVES_SECONDS = 0.2
STILL = "arrives, but always with the same value; is it muted or unplugged?"
SYNCHRONISE = "synchronise the clocks of their computers (chrony), or let the drivers stamp on arrival"


@dataclass
class StreamWatch:
    """One stream. `stage` is waiting (nothing came yet), live or stalled; `if_useless` is what to say of it when states do without it
    although it arrives."""

    name: str
    stall_seconds: float
    if_useless: str = ""
    stage: str = WAITING
    stalls: int = 0
    trouble: str = ""  # why it is of no use although it arrives
    newest_stamp_ns: int = 0
    _newest_seconds: float | None = field(default=None)

    def arrived(self, now_seconds: float, stamp_ns: int = 0) -> None:
        self._newest_seconds, self.newest_stamp_ns = now_seconds, stamp_ns

    def examine(self, missing: bool, other: StreamWatch, now_seconds: float) -> None:
        """Say why, when states call it missing while it arrives."""
        age = self.age_seconds(now_seconds)
        self.trouble = ""
        if missing and age is not None and age < ARRIVES_SECONDS:
            behind_seconds = (other.newest_stamp_ns - self.newest_stamp_ns) * 1e-9
            apart = other.stage == LIVE and behind_seconds > self.stall_seconds
            self.trouble = f"its stamps are {behind_seconds:.1f} s behind the {other.name}'s; {SYNCHRONISE}" if apart else self.if_useless

    def look(self, now_seconds: float) -> str | None:
        """The new stage when it changed, else None."""
        before = self.stage
        if self._newest_seconds is not None:
            late = now_seconds - self._newest_seconds > self.stall_seconds
            self.stage = STALLED if late or self.trouble else LIVE
        self.stalls += self.stage == STALLED and before != STALLED
        return self.stage if self.stage != before else None

    def age_seconds(self, now_seconds: float) -> float | None:
        """Since the newest arrival; None before the first."""
        return None if self._newest_seconds is None else now_seconds - self._newest_seconds

    def forget(self) -> None:
        """The clock jumped, or the input was closed: begin anew."""
        self.stage, self.trouble, self._newest_seconds = WAITING, "", None
