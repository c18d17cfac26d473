"""Where everything stands, counted: what waits at which stage and since when, and whether somebody dispatches."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from store.database import Pool, connected
from store.dispatch import LEADER

NOT_DISPATCHED = "dispatch"
"""The stage before the first."""


class Step(NamedTuple):
    """Who takes an event of `type`: first all links of rank 0, then those of rank 1."""

    chain: str
    type: str
    rank: int
    link: str
    stage: str


class Waiting(NamedTuple):
    """`number` subjects that stand at a stage with this status, the oldest of them for `seconds`."""

    chain: str
    stage: str
    status: str
    number: int
    seconds: float


class Reconciled(NamedTuple):
    at: datetime
    discrepancies: int


class Standing:
    def __init__(self, pool: Pool, steps: Sequence[Step]) -> None:
        self._pool = pool
        self._steps = list(zip(*steps, strict=True))
        self._types = sorted({step.type for step in steps})

    async def waiting(self) -> list[Waiting]:
        """Reads what has not ended, nothing else."""
        async with connected(self._pool) as connection:
            rows = await connection.fetch(
                """
                WITH step AS (
                    SELECT * FROM unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::text[])
                        AS step (chain, type, rank, link, stage)
                ), standing AS (
                    SELECT subjects.subject, subjects.chain, subjects.status, last.type, last.time
                    FROM subjects CROSS JOIN LATERAL (
                        SELECT type, time FROM journal
                        WHERE journal.subject = subjects.subject AND type = ANY($1::text[])
                        ORDER BY position DESC LIMIT 1
                    ) AS last
                    WHERE ended_at IS NULL AND dispatched_at IS NOT NULL
                ), next AS (
                    SELECT subject, chain, stage, status, time, rank, min(rank) OVER (PARTITION BY subject) AS first
                    FROM standing JOIN step USING (chain, type)
                    WHERE NOT EXISTS (
                        SELECT FROM claims WHERE claims.subject = standing.subject AND claims.link = step.link
                    )
                )
                SELECT chain, stage, status, count(DISTINCT subject) AS number, min(time) AS since
                FROM next WHERE rank = first GROUP BY chain, stage, status
                UNION ALL
                SELECT chain, $7, 'received', count(*), min(received_at)
                FROM subjects WHERE dispatched_at IS NULL AND ended_at IS NULL GROUP BY chain
                """,
                self._types,
                *self._steps,
                NOT_DISPATCHED,
            )
            now = await connection.fetchval("SELECT now()")
        return [
            Waiting(
                row["chain"], row["stage"], row["status"], row["number"], max((now - row["since"]).total_seconds(), 0)
            )
            for row in rows
        ]

    async def dispatched(self) -> bool:
        """Whether some process holds the dispatcher's lead."""
        async with connected(self._pool) as connection:
            held: bool = await connection.fetchval(
                """
                SELECT EXISTS (
                    SELECT FROM pg_locks
                    WHERE locktype = 'advisory' AND classid = 0 AND objid = $1::bigint::oid AND objsubid = 1 AND granted
                      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                )
                """,
                LEADER,
            )
        return held

    async def reconciled(self) -> Reconciled | None:
        """The last reconciliation; None where there was none."""
        async with connected(self._pool) as connection:
            row = await connection.fetchrow(
                "SELECT finished_at, total FROM reconciliations ORDER BY position DESC LIMIT 1"
            )
        return Reconciled(row["finished_at"], row["total"]) if row else None
