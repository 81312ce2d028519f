"""How fast a server may be asked: requests and tokens a minute, and everybody waits when it says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

MINUTE = 60.0


async def at_once(count: int, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` in `count` workers until all are done; where one fails, the others are ended before its error goes on."""
    workers = [asyncio.ensure_future(work()) for _ in range(max(1, count))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


class Pace:
    """Spreads requests evenly; 0 is no limit. Tokens are booked by a guess and put right once the server has counted them."""

    def __init__(
        self,
        requests_per_minute: float = 0.0,
        tokens_per_minute: float = 0.0,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if min(requests_per_minute, tokens_per_minute) < 0:
            raise ValueError(f"limits must be at least 0, got {requests_per_minute} requests and {tokens_per_minute} tokens a minute")
        self._request_seconds = MINUTE / requests_per_minute if requests_per_minute else 0.0
        self._token_seconds = MINUTE / tokens_per_minute if tokens_per_minute else 0.0
        self._now, self._sleep = now, sleep
        self._next_request = self._next_token = self._held_until = now()

    async def take(self, tokens: int) -> None:
        """Wait for a turn."""
        now = self._now()
        start = max(now, self._next_request, self._next_token)
        self._next_request = max(now, self._next_request) + self._request_seconds
        self._next_token = max(now, self._next_token) + tokens * self._token_seconds
        while (wait := max(start, self._held_until) - self._now()) > 0:
            await self._sleep(wait)

    def counted(self, guessed: int, tokens: int) -> None:
        """The server counted `tokens` where `guessed` had been booked."""
        self._next_token += (tokens - guessed) * self._token_seconds

    def hold(self, seconds: float) -> None:
        """Nobody asks for so long."""
        self._held_until = max(self._held_until, self._now() + seconds)


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """What a Retry-After header asks for: seconds, or a date; None where it says nothing that is understood."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
        except (ValueError, TypeError):
            return None
        until = until if until.tzinfo else until.replace(tzinfo=timezone.utc)
        seconds = (until - (now or datetime.now(timezone.utc))).total_seconds()
    return max(0.0, seconds) if seconds == seconds and abs(seconds) != float("inf") else None
