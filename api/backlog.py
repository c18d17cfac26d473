"""The backlog is bounded: while too many subjects wait for the dispatcher, or the oldest for too long, none is added.

Each API process looks now and then, so that the question costs a request nothing.
"""

import asyncio
import math
import time
from dataclasses import dataclass

import structlog

from api.problems import Code, Problem
from chain.failures import Outage
from store.database import Pool, connected
from store.dispatch import Waiting, waiting
from workflows.chains import CHAINS

BETWEEN_LOOKS = 0.5
"""Seconds."""

LONGEST_RETRY_AFTER = 60
"""Seconds."""

log = structlog.get_logger()


@dataclass(frozen=True)
class BacklogLimits:
    """How many subjects may wait for the dispatcher, and for how many seconds the oldest may."""

    backlog: int
    backlog_seconds: float


class Backlog:
    def __init__(self, pool: Pool, limits: BacklogLimits) -> None:
        self._pool = pool
        self._limits = limits
        self._seen = Waiting(0, 0.0, None)
        self._at = time.monotonic()
        self._added = 0
        self._per_second = 0.0

    @property
    def full(self) -> bool:
        """Whether new subjects are refused."""
        return (
            self._seen.number + self._added >= self._limits.backlog
            or self._seen.oldest_seconds > self._limits.backlog_seconds
        )

    def add(self, number: int) -> None:
        """So many were accepted here: no need to wait for the next look."""
        self._added += number

    def refusal(self) -> Problem:
        return Problem(Code.BACKLOG_FULL, headers={"Retry-After": str(self._retry_after())})

    def _retry_after(self) -> int:
        """Until what waits now has left, as fast as it leaves now; if nothing leaves, as long as it has waited."""
        number = self._seen.number + self._added
        seconds = number / self._per_second if self._per_second else self._seen.oldest_seconds
        return min(max(1, math.ceil(seconds)), LONGEST_RETRY_AFTER)

    async def run(self) -> None:
        was_full = False
        while True:
            try:
                await self._look()
            except Outage as outage:
                log.warning("the backlog is not known", error=str(outage))
            except Exception:
                log.exception("the backlog is not known")
            if self.full is not was_full:
                was_full = self.full
                log.warning("the backlog is full" if was_full else "the backlog has room", **self._seen._asdict())
            await asyncio.sleep(BETWEEN_LOOKS)

    async def _look(self) -> None:
        added = self._added
        async with connected(self._pool) as connection:
            seen = await waiting(connection, [*CHAINS], self._limits.backlog)
        now, before = time.monotonic(), self._seen.first
        if before is not None and seen.first is not None:
            self._per_second = (self._per_second + (seen.first - before) / (now - self._at)) / 2
        self._seen, self._at = seen, now
        self._added -= added
