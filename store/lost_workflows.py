"""Open subjects whose workflow Temporal no longer has: let go of, so that the dispatcher brings them again."""

from collections.abc import Sequence
from datetime import timedelta

from orders.envelope import AnyEvent, type_of
from orders.events import OrderParked, OrderReleased
from orders.subject import Parked, Released
from store.database import Transaction
from store.journal import record

BY, WHY = "Lanka", "its workflow was lost, another one takes its place"

RELEASED = {type_of(OrderParked): type_of(OrderReleased), type_of(Parked): type_of(Released)}


async def long_under_way(
    connection: Transaction, *, chains: Sequence[str], since: timedelta, after: str, limit: int
) -> list[str]:
    """Workflows that Temporal was told of some time ago and that carry open subjects, by id, from behind `after`."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT workflow_id FROM subjects
        WHERE ended_at IS NULL AND dispatched_at < now() - $2::interval AND chain = ANY($1::text[]) AND workflow_id > $3
        ORDER BY workflow_id LIMIT $4
        """,
        chains,
        since,
        after,
        limit,
    )
    return [row["workflow_id"] for row in rows]


async def let_go(tx: Transaction, workflow_id: str) -> list[str]:
    """The subjects of a lost workflow that are still open: they are dispatched once more, with all they were told.

    What was parked is tried again, and its journal says so.
    """
    rows = await tx.fetch(
        """
        UPDATE subjects SET dispatched_at = NULL
        WHERE workflow_id = $1 AND ended_at IS NULL AND dispatched_at IS NOT NULL
        RETURNING subject
        """,
        workflow_id,
    )
    subjects = [row["subject"] for row in rows]
    await tx.execute(
        "UPDATE messages SET delivered_at = NULL WHERE subject = ANY($1::text[]) AND id IS NOT NULL", subjects
    )
    await record(tx, await _released(tx, subjects))
    return subjects


async def _released(tx: Transaction, subjects: Sequence[str]) -> list[AnyEvent]:
    rows = await tx.fetch(
        """
        SELECT id, source, type, subject, data, clock_timestamp() AS now FROM journal AS parked
        WHERE subject = ANY($1::text[]) AND type IN ('lanka.OrderParked', 'lanka.Parked')
          AND NOT EXISTS (
              SELECT FROM journal AS later
              WHERE later.subject = parked.subject AND later.id = parked.id || '.released'
          )
        ORDER BY position
        """,
        subjects,
    )
    return [
        AnyEvent(
            id=f"{row['id']}.released",
            source=row["source"],
            type=RELEASED[row["type"]],
            subject=row["subject"],
            time=row["now"],
            data={"link": row["data"]["link"], "stage": row["data"]["stage"], "by": BY, "why": WHY},
        )
        for row in rows
    ]
