"""Why subjects wait where nothing is parked: what the workers fail at and try again, link by link.

Each worker keeps what it knows of itself, and writes of each link the error that most subjects meet there. While all is
well nothing is kept and nothing is written.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

import structlog

from chain.commands import printable
from chain.failures import Outage
from store.database import Pool, Store, Transaction, columns

log = structlog.get_logger()

PAUSE = 1.0
"""Seconds between two writes of one worker."""

SILENCE = 30.0
"""Seconds after the next attempt was due, in which it may have failed: then it is no news any more."""

MAX_ERROR = 300

Place = tuple[str, str]
"""A chain and a link."""


class Failing(NamedTuple):
    """So many subjects meet this error at this link, the first of them since then."""

    chain: str
    link: str
    kind: str
    error: str
    subjects: int
    since: datetime


class _Failure(NamedTuple):
    """Of one subject. Times are those of the monotonic clock."""

    kind: str
    error: str
    since: float
    until: float


class LinkFailures(Store):
    """`chains`: by the type of their workflow."""

    def __init__(self, pool: Pool, chains: Mapping[str, str]) -> None:
        super().__init__(pool)
        self._worker = uuid4().hex
        self._chains = chains
        self._failing: dict[Place, dict[str, _Failure]] = {}
        self._others: Counter[Place] = Counter()
        self._unwritten: set[Place] = set()
        self._news = asyncio.Event()

    def failed(
        self, workflow_type: str, link: str, subjects: Sequence[str], kind: str, error: str, again_in: float
    ) -> None:
        """They will be tried again in so many seconds."""
        place, now = (self._chains.get(workflow_type, workflow_type), link), time.monotonic()
        error = printable(error)[:MAX_ERROR]
        failing = self._failing.setdefault(place, {})
        for subject in subjects:
            before = failing.get(subject)
            since = before.since if before and (before.kind, before.error) == (kind, error) else now
            failing[subject] = _Failure(kind, error, since, now + again_in + SILENCE)
        self._changed(place)

    def works(self, workflow_type: str, link: str, subjects: Sequence[str]) -> None:
        """What has failed there before, here or at another worker, does not any more."""
        place = self._chains.get(workflow_type, workflow_type), link
        failing = self._failing.setdefault(place, {})
        self._others[place] += sum(failing.pop(subject, None) is None for subject in subjects)
        self._changed(place)

    async def run(self) -> None:
        """Writes what has changed, at most once a second; while PostgreSQL is away nobody is told."""
        while True:
            await self._news.wait()
            self._news.clear()
            places, self._unwritten = self._unwritten, set()
            try:
                await self._write(places)
            except Outage:
                self._unwritten |= places
                self._news.set()
            except Exception:
                log.exception("what fails could not be written down, the work goes on")
            await asyncio.sleep(PAUSE)

    def _changed(self, place: Place) -> None:
        self._unwritten.add(place)
        self._news.set()

    async def _write(self, places: set[Place]) -> None:
        now = time.monotonic()
        rows = [(*place, *self._worst(place, now), self._others.pop(place, 0)) for place in sorted(places)]
        await self._fetch(
            """
            WITH given AS (
                SELECT * FROM unnest(
                    $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::float8[], $8::float8[],
                    $9::integer[]
                ) AS given (chain, link, kind, error, subjects, age, lasts, others)
            ), fewer AS (  -- which the other worker may never hear of
                UPDATE link_failures SET subjects = link_failures.subjects - others FROM given
                WHERE worker <> $1 AND link_failures.chain = given.chain AND link_failures.link = given.link
                  AND others > 0
            ), gone AS (
                DELETE FROM link_failures USING given
                WHERE worker = $1 AND link_failures.chain = given.chain AND link_failures.link = given.link
                  AND given.subjects = 0
            ), of_the_dead AS (
                DELETE FROM link_failures WHERE worker <> $1 AND until < now() - interval '1 hour'
            )
            INSERT INTO link_failures (worker, chain, link, kind, error, subjects, since, until)
            SELECT $1, chain, link, kind, error, subjects, now() - age * interval '1 s', now() + lasts * interval '1 s'
            FROM given WHERE subjects > 0
            ON CONFLICT (worker, chain, link) DO UPDATE
            SET kind = excluded.kind, error = excluded.error, subjects = excluded.subjects, until = excluded.until,
                since = CASE  -- two clocks never agree to the millisecond, and nothing has changed for a reader
                    WHEN abs(extract(epoch FROM link_failures.since - excluded.since)) < 1 THEN link_failures.since
                    ELSE excluded.since
                END
            """,
            self._worker,
            *columns(rows, 8),
        )

    def _worst(self, place: Place, now: float) -> tuple[str, str, int, float, float]:
        """Kind and error, how many subjects meet it, since how many seconds, and for how many it is news."""
        failing = {subject: each for subject, each in self._failing[place].items() if each.until > now}
        self._failing[place] = failing
        met = Counter((each.kind, each.error) for each in failing.values())
        if not met:
            return "", "", 0, 0, 0
        worst, subjects = met.most_common(1)[0]
        times = [(each.since, each.until) for each in failing.values() if (each.kind, each.error) == worst]
        return *worst, subjects, now - min(times)[0], max(until for _, until in times) - now


async def failing_now(connection: Transaction) -> list[Failing]:
    """Of all workers: at each link the error that most subjects meet comes first."""
    rows = await connection.fetch(
        """
        SELECT chain, link, kind, error, sum(subjects)::integer AS subjects, min(since) AS since
        FROM link_failures WHERE until > now() AND subjects > 0
        GROUP BY chain, link, kind, error ORDER BY subjects DESC, since
        """
    )
    return [Failing(**row) for row in rows]
