"""Where in a clip play is, when what is next is due, and which stamp it gets. Time is an argument; pure, one thread at a time.

Stamps run on the ROS clock and keep the clip's own pace, whatever the rate. After a pause or a jump they go on at the present: whoever
listens sees a gap, and never a step back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from ..types import NANOSECONDS, AudioChunk, Frame

GAP_NS = NANOSECONDS // 30  # least distance of what is played after a jump, or after a loop, from what was played before


def moment_ns(item: Frame | AudioChunk) -> int:
    """When a sensor would deliver it."""
    return item.stamp_ns if isinstance(item, Frame) else item.end_ns


def items(read: Callable[[int], Iterable[Frame | AudioChunk]], loop: bool, start_ns: int = 0) -> Iterator[Frame | AudioChunk]:
    """What `read(start)` gives, in the order of stamps, which count from the clip's start through all loops."""
    offset_ns = 0
    while True:
        end_ns = start_ns
        for item in read(start_ns):
            end_ns = max(end_ns, moment_ns(item))
            yield replace(item, stamp_ns=item.stamp_ns + offset_ns)
        if not loop or end_ns == 0:
            return
        offset_ns += end_ns + GAP_NS
        start_ns = 0


class Playhead:
    """Stands still until `go`. `now_seconds` is a steady clock's, `now_ns` the ROS clock's."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._position_ns = 0
        self._since_seconds: float | None = None
        self._offset_ns = 0
        self._least_offset_ns: int | None = None
        self._newest_ns: int | None = None

    @property
    def still(self) -> bool:
        return self._since_seconds is None

    def position_ns(self, now_seconds: float) -> int:
        """Where in the clip (through all loops) play is."""
        if self._since_seconds is None:
            return self._position_ns
        return self._position_ns + round((now_seconds - self._since_seconds) * self._rate * NANOSECONDS)

    def halt(self, now_seconds: float) -> None:
        """Stand still here."""
        if not self.still:
            self._position_ns, self._since_seconds = self.position_ns(now_seconds), None
            self._least_offset_ns = self._offset_ns

    def move(self, position_ns: int) -> None:
        """Stand still elsewhere."""
        self._position_ns, self._since_seconds = position_ns, None
        self._least_offset_ns = None if self._newest_ns is None else self._newest_ns + GAP_NS - position_ns

    def go(self, now_seconds: float, now_ns: int) -> None:
        """Play on from where it stands; that place is now."""
        if self.still:
            offset = now_ns - self._position_ns
            self._offset_ns = offset if self._least_offset_ns is None else max(offset, self._least_offset_ns)
            self._since_seconds = now_seconds

    def wait_seconds(self, item: Frame | AudioChunk, now_seconds: float) -> float:
        """Until it is due; negative when that is past."""
        return (moment_ns(item) - self.position_ns(now_seconds)) / (self._rate * NANOSECONDS)

    def stamped(self, item: Frame | AudioChunk) -> Frame | AudioChunk:
        """The item with its stamp on the ROS clock."""
        made = replace(item, stamp_ns=item.stamp_ns + self._offset_ns)
        self._newest_ns = max(self._newest_ns or 0, moment_ns(made))
        return made
