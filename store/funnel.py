"""What the links have made, hour by hour."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from store.database import Pool, Store, columns, connected, transaction

STEP = 20_000  # positions of the journal that are counted in one transaction
TAIL = 5_000  # positions that are counted on the spot for whoever asks, as they are not in `link_hours` yet
PAUSE = timedelta(seconds=1)  # between two steps, in whichever process
ROUNDED = 1.2  # durations are counted by powers of this, from a millisecond on: a percentile is exact to a tenth


class Made(NamedTuple):
    """`events` of a type that a link made in an hour, after about `seconds` at the link (None: they began there)."""

    hour: datetime
    link: str
    type: str
    reason: str | None
    seconds: float | None
    events: int


_EVENTS = """
    SELECT hour, chain, part.link, type, coalesce(part.reason, '') AS reason,
           CASE WHEN part.ms IS NULL THEN -1 ELSE ceil(ln(greatest(part.ms, 1)) / ln($5::float8)) END::smallint
           AS bucket, count(*) AS events
    FROM (
        SELECT date_trunc('hour', made.time, 'UTC') AS hour, subjects.chain, made.type,
               CASE WHEN made.source LIKE '/lanka/%' THEN substr(made.source, 8) ELSE '' END AS link,
               CASE WHEN made.kind IN ('refusal', 'parked', 'end') THEN made.data ->> 'reason' END AS reason,
               1000 * extract(epoch FROM made.time - (
                   SELECT max(given.time) FROM journal AS given
                   WHERE given.subject = made.subject AND given.type = ANY(string_to_array(inputs.types, ' '))
                     AND given.position <> made.position AND given.time <= made.time
               ))::float8 AS ms,
               made.kind, 1000 * extract(epoch FROM made.time - subjects.received_at)::float8 AS whole
        FROM journal AS made JOIN subjects USING (subject)
        LEFT JOIN unnest($2::text[], $3::text[], $4::text[]) AS inputs (chain, link, types)
            ON inputs.chain = subjects.chain AND '/lanka/' || inputs.link = made.source
        WHERE made.position > (SELECT counted FROM link_hours_progress) AND made.position <= $1
          -- What begins or ends a subject may come from outside, by nobody's link.
          AND (made.source LIKE '/lanka/%' OR made.kind IN ('start', 'end'))
    ) AS made
    CROSS JOIN LATERAL (VALUES
        (made.link, made.reason, made.ms, true),
        ('*', NULL, CASE WHEN kind = 'end' THEN whole END, kind IN ('start', 'end'))
    ) AS part (link, reason, ms, counts)
    WHERE counts
    GROUP BY 1, 2, 3, 4, 5, 6
"""
"""What is not counted yet, up to a position, as rows for `link_hours`: of each link what it has made, and as the link
`*` what begins and ends subjects, with how long they took from the one to the other.
"""


class Funnel(Store):
    """`inputs`: for each link of each chain the types of the events that bring a subject to it."""

    def __init__(self, pool: Pool, inputs: Mapping[str, Mapping[str, frozenset[str]]]) -> None:
        super().__init__(pool)
        of_links = [(chain, *each) for chain, links in inputs.items() for each in links.items()]
        self._inputs = columns([(chain, link, " ".join(sorted(types))) for chain, link, types in of_links], 3)

    async def made(self, chain: str, since: datetime, until: datetime) -> list[Made]:
        """What the links of a chain have made in the hours that begin within this time, up to now."""
        return await self._counted(chain, since, until, "link <> '*'")

    async def whole(self, chain: str, since: datetime, until: datetime) -> list[Made]:
        """What has begun and what has come to an end, with the time that it took from its start."""
        return await self._counted(chain, since, until, "link = '*'")

    async def _counted(self, chain: str, since: datetime, until: datetime, which: str) -> list[Made]:
        async with connected(self._pool) as connection:
            tail = await connection.fetchval("SELECT counted FROM link_hours_progress") + TAIL
            rows = await connection.fetch(  # one statement: all of it was counted at the same moment
                f"""
                SELECT hour, link, type, nullif(reason, '') AS reason, events,
                       CASE WHEN bucket >= 0 THEN $5::float8 ^ (bucket - 0.5) / 1000 END AS seconds
                FROM (SELECT * FROM link_hours UNION ALL {_EVENTS}) AS counted
                WHERE hour >= $6 AND hour < $7 AND chain = $8 AND {which}
                """,  # noqa: S608
                *self._read(tail),
                since,
                until,
                chain,
            )
        return [Made(**row) for row in rows]

    async def count_on(self) -> bool:
        """Counts the next events of the journal, each once; whether there are more that could be.

        Not those up to the newest: positions are given before the commit, and one that commits late would be missed.
        A stretch is closed when all transactions that were under way after it was seen have ended. It is the stretch
        seen one step earlier, as a transaction takes its position a moment before its number.
        """
        async with transaction(self._pool) as tx:
            progress = await tx.fetchrow(
                """
                SELECT counted, closing, seen, xact <= pg_snapshot_xmin(pg_current_snapshot()) AS closed
                FROM link_hours_progress WHERE counted < closing OR at <= now() - $1::interval
                FOR UPDATE SKIP LOCKED
                """,
                PAUSE,
            )
            if progress is None:
                return False
            counted, closing = progress["counted"], progress["closing"]
            if counted < closing:
                if not progress["closed"]:
                    return False
                counted = min(closing, counted + STEP)
                await tx.execute(
                    f"""
                    INSERT INTO link_hours (hour, chain, link, type, reason, bucket, events) {_EVENTS}
                    ON CONFLICT (hour, chain, link, type, reason, bucket)
                    DO UPDATE SET events = link_hours.events + excluded.events
                    """,
                    *self._read(counted),
                )
            await tx.execute(
                """
                UPDATE link_hours_progress
                SET counted = $1, at = now(), seen = newest,
                    closing = CASE WHEN $1 < closing THEN closing ELSE greatest(closing, seen) END,
                    xact = CASE WHEN $1 < closing THEN xact ELSE pg_snapshot_xmax(pg_current_snapshot()) END
                FROM (SELECT coalesce(max(position), 0) AS newest FROM journal) AS journal
                """,
                counted,
            )
            return bool(counted < closing)

    def _read(self, upto: int) -> tuple[object, ...]:
        return upto, *self._inputs, ROUNDED
