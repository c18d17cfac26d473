"""The dispatch mark: which subjects Temporal has been told of, and which workflow carries them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import NamedTuple

import asyncpg

from chain.event import AnyEvent
from store.database import Transaction
from store.journal import event_of, read_events

ACCEPTED = "lanka_accepted"
"""PostgreSQL notifies here when there is something to dispatch; with the payload `ARRIVED` it is only more subjects."""

ARRIVED = "arrived"

LEADER = 6_012_027


@dataclass(frozen=True)
class DispatchBatch:
    """A batch with its workflow: repeated, it is the same batch under the same id. `again`: it may have been there.

    `version`: of the chain's table that it travels with.
    """

    chain: str
    workflow_id: str
    version: int
    events: Sequence[AnyEvent]
    again: bool = False


class PendingWork(NamedTuple):
    """What there is to do. `on_the_way`: workflow ids. `left_behind`: taken, but not marked as dispatched."""

    news: bool
    messages: bool
    left_behind: bool
    on_the_way: Sequence[str]
    waiting: int


class Waiting(NamedTuple):
    """What waits to be taken: how many, since when the oldest, and its position in the order of acceptance."""

    number: int
    oldest_seconds: float
    first: int | None


async def lead(connection: Transaction) -> bool:
    """Makes this connection's process the one dispatcher, until the connection closes; False if another is."""
    return bool(await connection.fetchval("SELECT pg_try_advisory_lock($1)", LEADER))


async def taken_before(connection: Transaction, chains: Sequence[str]) -> DispatchBatch | None:
    """The oldest batch that was taken, but not marked as dispatched: its dispatcher died between the two.

    Or its workflow was lost. It holds those that are still open, if any, and who was taken back begins with that.
    """
    rows = await connection.fetch(
        """
        SELECT * FROM intake
        WHERE dispatched_at IS NULL AND workflow_id = (
            SELECT workflow_id FROM subjects
            WHERE dispatched_at IS NULL AND taken_at IS NOT NULL AND chain = ANY($1::text[])
            ORDER BY position LIMIT 1
        )
        ORDER BY position
        """,
        chains,
    )
    if not rows:
        return None
    events = [event_of(row) for row in rows if not row["ended_at"]]
    of_them = "subject = ANY($1::text[]) AND kind = 'withdrawal'"
    back = await read_events(connection, of_them, [event.subject for event in events])
    withdrawn = {event.subject: event for event in back}
    return _batch(rows, [withdrawn.get(event.subject, event) for event in events], again=True)


async def taken_with(connection: Transaction, subject: str) -> DispatchBatch:
    """The batch that a taken subject travels in."""
    rows = await connection.fetch(
        """
        SELECT * FROM intake WHERE workflow_id = (SELECT workflow_id FROM subjects WHERE subject = $1)
        ORDER BY position
        """,
        subject,
    )
    return _batch(rows, [event_of(row) for row in rows])


async def take(connection: Transaction, subjects: Sequence[str], workflow_id: str, version: int) -> None:
    """Takes subjects that wait; one that was taken before stays in its batch."""
    await connection.execute(
        """
        UPDATE subjects SET workflow_id = $2, version = $3, taken_at = now()
        WHERE subject = ANY($1::text[]) AND workflow_id IS NULL
        """,
        subjects,
        workflow_id,
        version,
    )


async def pending_work(
    connection: Transaction, *, chains: Sequence[str], size: int, stuck_after: timedelta
) -> PendingWork:
    """One round trip for all that the dispatcher may have to do, counting what waits up to `size`.

    A workflow that has been on the way for longer than `stuck_after` merely waits and is left out, and so is one whose
    subjects stand somewhere else than at their start or on the way: a caller who talks to an operator.
    """
    row = await connection.fetchrow(
        """
        SELECT EXISTS (SELECT FROM webhooks WHERE handled_at IS NULL AND look_at <= now()) AS news,
               EXISTS (SELECT FROM messages WHERE delivered_at IS NULL) AS messages,
               EXISTS (
                   SELECT FROM subjects
                   WHERE dispatched_at IS NULL AND taken_at IS NOT NULL AND chain = ANY($1::text[])
               ) AS left_behind,
               ARRAY(
                   SELECT DISTINCT workflow_id FROM subjects
                   WHERE ended_at IS NULL AND dispatched_at > now() - $3::interval AND (
                       status IN ('received', 'processing')
                       OR (chain, status) IN (SELECT chain, status FROM routes WHERE kind = 'start')
                   )
               ) AS on_the_way,
               (
                   SELECT count(*) FROM (
                       SELECT FROM subjects WHERE taken_at IS NULL AND chain = ANY($1::text[]) LIMIT $2
                   ) AS counted
               ) AS waiting
        """,
        chains,
        size,
        stuck_after,
    )
    assert row
    return PendingWork(**row)


async def waiting(connection: Transaction, chains: Sequence[str], limit: int) -> Waiting:
    """What waits to be taken, counted up to `limit`."""
    row = await connection.fetchrow(
        """
        SELECT count(*) AS number, min(position) AS first,
               coalesce(extract(epoch FROM now() - min(received_at)), 0)::float8 AS oldest_seconds
        FROM (
            SELECT position, received_at FROM subjects
            WHERE taken_at IS NULL AND chain = ANY($1::text[]) ORDER BY position LIMIT $2
        ) AS oldest
        """,
        chains,
        limit,
    )
    assert row
    return Waiting(**row)


async def take_oldest(
    connection: Transaction,
    *,
    size: int,
    max_bytes: int,
    workflow_id: Callable[[str, Sequence[str]], str],
    versions: Mapping[str, int],
) -> DispatchBatch | None:
    """The oldest waiting subjects of one of the chains, at most `size` of them and about `max_bytes` of JSON.

    `workflow_id` names the workflow from the chain and the subjects, `versions` the chains and the version of each
    one's table. Their rows tell which workflow carries them, and with which version, before Temporal is told.
    """
    async with connection.transaction():
        rows = await connection.fetch(
            """
            WITH waiting AS MATERIALIZED (  -- locked, because a cancel may take one of them alone at this moment
                SELECT subject FROM subjects
                WHERE dispatched_at IS NULL AND taken_at IS NULL AND chain = ANY($2::text[])
                ORDER BY position LIMIT $1 FOR UPDATE
            )
            SELECT *, octet_length(data::text) AS bytes FROM waiting JOIN intake USING (subject) ORDER BY position
            """,
            size,
            [*versions],
        )
        if not rows:
            return None
        chain = rows[0]["chain"]
        mine = [row for row in rows if row["chain"] == chain]
        fitting = sum(size <= max_bytes for size in accumulate(row["bytes"] for row in mine))
        events = [event_of(row) for row in mine[: max(fitting, 1)]]
        subjects = [event.subject for event in events]
        batch = DispatchBatch(chain, workflow_id(chain, subjects), versions[chain], events)
        await take(connection, subjects, batch.workflow_id, batch.version)
        return batch


async def mark_dispatched(connection: Transaction, batch: DispatchBatch) -> None:
    await connection.execute(
        "UPDATE subjects SET dispatched_at = now() WHERE workflow_id = $1 AND dispatched_at IS NULL",
        batch.workflow_id,
    )


def _batch(rows: Sequence[asyncpg.Record], events: Sequence[AnyEvent], *, again: bool = False) -> DispatchBatch:
    first = rows[0]
    return DispatchBatch(first["chain"], first["workflow_id"], first["version"] or 1, events, again)
