"""Where all open subjects stand at this moment, and how fast they move: what the operator's console shows.

Made to be asked once a second. It reads open subjects and the newest events only, so it costs the same however long
the journal is.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from chain import steps
from store.database import Pool, Store, Transaction, connected
from store.link_failures import Failing, failing_now
from store.operations import Compensation

RATE_OVER = timedelta(seconds=10)  # what is moving now is counted over so long
COUNTED_OVER = timedelta(hours=1)  # what was done, if there was not too much of it before somebody looked
COUNTED_AT_FIRST = 50_000  # events that the first look reads at most, to know what was done before it
SETTLED_AFTER = timedelta(seconds=5)  # an event takes its position before its transaction commits; by then it has
NEWEST = 5_000  # events among which those are that have just happened: more than a machine makes while they are fresh
FORGOTTEN_AFTER = timedelta(minutes=1)  # when nobody has looked for so long, counting begins anew

Made = tuple[str, str]  # the source and the type of an event


@dataclass(frozen=True)
class Group(steps.Group):
    """Open subjects of one chain, and how many there are. `parked_errors`: of each place in `parked` the last error, if
    all of them met the same.

    `owed`: how many have money to get back. `oldest`: when the first of them was received. Where somebody has asked for
    it, `since`: the oldest of the events that brought them where they are, and `names`: which they are.
    """

    chain: str
    subjects: int
    owed: int
    oldest: datetime
    parked_since: datetime | None
    parked_errors: Sequence[str | None]
    since: datetime | None
    names: Sequence[str]


class Moment(NamedTuple):
    """What was known at one look. `position` rises with every event of the journal. `failing`: the worst first.

    `per_second` and `made` count events, `made` those since `made_since`. `at`: when, by PostgreSQL's clock.
    """

    groups: Sequence[Group]
    position: int
    per_second: dict[Made, float]
    made: Counter[Made]
    made_since: datetime
    failing: Sequence[Failing]
    at: datetime


class Overview(Store):
    """What has happened within `moves_within` is fresh."""

    def __init__(self, pool: Pool, *, moves_within: timedelta, compensation: Compensation) -> None:
        super().__init__(pool)
        self._asked = (moves_within, compensation.back, compensation.late, compensation.chain)
        self._counting: _Counting | None = None

    async def groups(self, *, since: bool = False, named: bool = False) -> list[Group]:
        """Raises `Outage`."""
        return [_group(row) for row in await self._fetch(_GROUPS, *self._asked, NEWEST, since, named)]

    async def groups_of(self, subjects: Sequence[str]) -> list[Group]:
        """Those of these subjects that are open, with their names. Raises `Outage`."""
        rows = await self._fetch(_GROUPS_OF, *self._asked, NEWEST, *(False, True), subjects)
        return [_group(row) for row in rows]

    async def look(self) -> Moment:
        """Raises `Outage`. One look at a time."""
        groups = await self.groups()
        async with connected(self._pool) as connection:
            head = await connection.fetchrow("SELECT now(), coalesce(max(position), 0) FROM journal")
            assert head, "an aggregate has a row"
            now, position = head
            if self._counting is None or now - self._counting.last > FORGOTTEN_AFTER:
                self._counting = await _Counting.begun(connection, now)
            await self._counting.go_on(connection, now, position)
            failing = await failing_now(connection)
        return self._counting.moment(groups, position, failing)


class _Counting:
    """Counts events of the journal, each once, although those of the last seconds may commit in any order."""

    def __init__(self, settled_at: int, since: datetime) -> None:
        self._settled: Counter[Made] = Counter()
        self._settled_at = settled_at
        self._heads: deque[tuple[datetime, int]] = deque()
        self._totals: deque[tuple[datetime, Counter[Made]]] = deque([(since, Counter())])

    @classmethod
    async def begun(cls, connection: Transaction, now: datetime) -> "_Counting":
        first = await connection.fetchval(_POSITION_AT, now - COUNTED_OVER, COUNTED_AT_FIRST)
        lately = await connection.fetchval(_POSITION_AT, now - RATE_OVER, COUNTED_AT_FIRST)
        since = await connection.fetchval("SELECT min(time) FROM journal WHERE position = $1 + 1", first)
        counting = cls(first, max(since or now, now - COUNTED_OVER))
        await counting.go_on(connection, now - RATE_OVER, lately)
        return counting

    @property
    def last(self) -> datetime:
        return self._totals[-1][0]

    def moment(self, groups: Sequence[Group], position: int, failing: Sequence[Failing]) -> Moment:
        (since, before), (now, total) = self._totals[0], self._totals[-1]
        then, lately = next((each for each in reversed(self._totals) if each[0] <= now - RATE_OVER), self._totals[0])
        seconds = max((now - then).total_seconds(), 1)
        per_second = {made: count / seconds for made, count in (total - lately).items()}
        return Moment(groups, position, per_second, total - before, since, failing, now)

    async def go_on(self, connection: Transaction, now: datetime, position: int) -> None:
        settles_at = self._settled_at
        while self._heads and self._heads[0][0] <= now - SETTLED_AFTER:
            settles_at = self._heads.popleft()[1]
        total = self._settled.copy()
        for row in await connection.fetch(_MADE, self._settled_at, settles_at, position):
            total[row["source"], row["type"]] += row["events"]
            if row["settled"]:
                self._settled[row["source"], row["type"]] += row["events"]
        self._settled_at = settles_at
        self._heads.append((now, position))
        self._totals.append((now, total))
        while self._totals[1][0] <= now - COUNTED_OVER:
            self._totals.popleft()


def _group(row: asyncpg.Record) -> Group:
    sets = {name: frozenset(row[name] or ()) for name in ("done", "types")}
    parked = tuple((link, reason) for link, reason in row["parked"] or ())
    pairs = zip(row["errors"] or (), row["parked_errors"] or (), strict=True)
    errors = [low if low == high else None for low, high in pairs]
    known = {name: row[name] for name in row.keys() if name != "errors"}  # noqa: SIM118, a record has no other
    return Group(**{**known, **sets, "parked": parked, "parked_errors": errors, "names": row["names"] or ()})


_GROUPS = """
    WITH standing AS (
        SELECT subject, chain, version, received_at, dispatched_at, false AS ended
        FROM subjects WHERE ended_at IS NULL -- of all
        UNION ALL
        SELECT subject, chain, version, received_at, dispatched_at, true
        FROM subjects JOIN (SELECT DISTINCT subject FROM late_events($4, $3)) AS late USING (subject)
        WHERE ended_at IS NOT NULL -- of all
    ), moved AS MATERIALIZED (  -- from the end of the journal, which has no index by time
        SELECT DISTINCT subject FROM (SELECT subject, time FROM journal ORDER BY position DESC LIMIT $5) AS newest
        WHERE time > now() - $1::interval
    )
    SELECT chain, version, dispatched_at IS NOT NULL AS dispatched,
           coalesce(dispatched_at > now() - $1::interval, false) OR subject IN (SELECT subject FROM moved) AS fresh,
           ended, claimed.done, turns.types, waits.parked,
           count(*) AS subjects, count(money.owed) AS owed, min(received_at) AS oldest,
           min(waits.since) AS parked_since, min(waits.errors) AS errors, max(waits.errors) AS parked_errors,
           min(last.time) AS since, array_agg(subject) FILTER (WHERE $7) AS names
    FROM standing
    -- LATERAL: a look into an index for each open subject, where PostgreSQL would like to read the whole table.
    CROSS JOIN LATERAL (
        SELECT array_agg(DISTINCT link ORDER BY link) AS done FROM claims WHERE claims.subject = standing.subject
    ) AS claimed
    CROSS JOIN LATERAL (  -- by the indexes journal_turns and journal_late
        SELECT array_agg(type ORDER BY type) FILTER (WHERE kind <> 'parked') AS types,
               coalesce(bool_or(kind = 'parked'), false) AS parked,
               coalesce(bool_or(kind IN ('refusal', 'withdrawal')), false) AS refused,
               coalesce(bool_or(kind = 'withdrawal'), false) AS withdrawn
        FROM (
            SELECT type, kind FROM journal
            WHERE journal.subject = standing.subject AND kind IN ('pending', 'refusal', 'withdrawal', 'parked')
            UNION ALL
            SELECT type, kind FROM journal WHERE ended AND journal.subject = standing.subject AND kind = 'late'
        ) AS turned
    ) AS turns
    CROSS JOIN LATERAL (
        SELECT array_agg(ARRAY[data ->> 'link', data ->> 'reason'] ORDER BY position) AS parked, min(time) AS since,
               array_agg(data ->> 'last_error' ORDER BY position) AS errors
        FROM parkings WHERE turns.parked AND parkings.subject = standing.subject
    ) AS waits
    LEFT JOIN LATERAL (  -- the rule of `Operations.refunds`
        SELECT true AS owed FROM (
            SELECT WHERE standing.ended OR turns.refused AND NOT $2::text[] <@ coalesce(claimed.done, '{}')
        ) AS undone LEFT JOIN payments ON payments.order_id = standing.subject
        WHERE standing.ended OR coalesce(state <> 'refunded', turns.withdrawn AND chain = $4)
        LIMIT 1
    ) AS money ON true
    LEFT JOIN LATERAL (
        SELECT time FROM journal WHERE $6 AND journal.subject = standing.subject ORDER BY position DESC LIMIT 1
    ) AS last ON true
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
_GROUPS_OF = _GROUPS.replace("-- of all", "AND subject = ANY($8::text[])")

_MADE = """
    SELECT source, type, position <= $2 AS settled, count(*) AS events
    FROM journal WHERE position > $1 AND position <= $3 GROUP BY 1, 2, 3
"""

# The journal has no index by time. Its positions rise with the time, nearly, so a moment is found by halving.
_POSITION_AT = """
    WITH RECURSIVE halving AS (
        SELECT greatest(coalesce(max(position), 0) - $2, 0) AS low, coalesce(max(position), 0) AS high FROM journal
        UNION ALL
        SELECT CASE WHEN before THEN middle ELSE low END, CASE WHEN before THEN high ELSE middle - 1 END
        FROM (SELECT low, high, (low + high + 1) / 2 AS middle FROM halving WHERE low < high) AS half
        CROSS JOIN LATERAL (
            SELECT coalesce((
                SELECT time < $1 FROM journal WHERE position <= middle ORDER BY position DESC LIMIT 1
            ), true) AS before
        ) AS found
    )
    SELECT low FROM halving ORDER BY high - low LIMIT 1
"""
