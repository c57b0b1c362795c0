"""How fast to call: limits per minute, and how long to wait after a failure."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from supreme import retry

#: Wait before the first retry; each further one doubles it.
BACKOFF_S = 1.0
MAX_BACKOFF_S = 60.0


class Pace:
    """Lets ``per_minute`` units through in a minute, evenly spread; 0 is no limit."""

    def __init__(self, per_minute: float) -> None:
        self._unit_s = 60.0 / per_minute if per_minute else 0.0
        self._free = 0.0

    async def take(self, units: float = 1.0) -> None:
        """Wait for the turn of ``units``."""
        now = time.monotonic()
        turn = max(now, self._free)
        self._free = turn + units * self._unit_s
        await asyncio.sleep(turn - now)

    def charge(self, units: float) -> None:
        """Count units that were used beyond (or, if negative, below) what was taken."""
        self._free += units * self._unit_s

    def pause(self, seconds: float) -> None:
        """Let nothing through for some time."""
        self._free = max(self._free, time.monotonic() + seconds)


def backoff_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, with jitter, at most a minute."""
    return retry.backoff_s(failures, BACKOFF_S, MAX_BACKOFF_S)


def retry_after_s(header: str | None) -> float:
    """Seconds of a Retry-After header, a whole number or a date; 0 without one that can be read."""
    text = (header or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return 0.0
