"""Open subjects whose workflow Temporal no longer has: let go of, so that the dispatcher brings them again."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from chain.event import Event, EventTypes, type_of
from store.database import Transaction
from store.journal import event_of, record
from store.webhooks import LATE

BY, WHY = "Lanka", "its workflow was lost, another one takes its place"


class Carrier(NamedTuple):
    """A workflow that has had something to do for some time before `seen`."""

    workflow_id: str
    chain: str
    seen: datetime


async def long_under_way(
    connection: Transaction,
    *,
    chains: Sequence[str],
    late: tuple[str, Sequence[str]],
    since: timedelta,
    after: str,
    limit: int,
) -> list[Carrier]:
    """By id, from behind `after`.

    Those that carry open subjects, and those that answer what came after the end: at the links of a chain, `late`.
    """
    rows = await connection.fetch(
        """
        SELECT workflow_id, chain, now() AS seen FROM (
            SELECT workflow_id, chain FROM subjects
            WHERE ended_at IS NULL AND dispatched_at < now() - $3::interval AND NOT at_rest
              AND chain = ANY($1::text[])
            UNION
            SELECT $6 || id, chain FROM late_events($7, $2) JOIN subjects USING (subject)
            WHERE time < now() - $3::interval AND chain = ANY($1::text[])
        ) AS carriers
        WHERE workflow_id > $4 ORDER BY workflow_id LIMIT $5
        """,
        chains,
        late[1],
        since,
        after,
        limit,
        LATE,
        late[0],
    )
    return [Carrier(**row) for row in rows]


async def come_to_rest(connection: Transaction, workflow_id: str, seen: datetime) -> None:
    """Its workflow had completed before `seen`, and none of its chain's events has to be an end."""
    await connection.execute(
        """
        UPDATE subjects SET at_rest = true
        WHERE workflow_id = $1 AND ended_at IS NULL AND NOT EXISTS (  -- what began another run since
            SELECT FROM messages WHERE messages.subject = subjects.subject AND delivered_at >= $2
        )
        """,
        workflow_id,
        seen,
    )


async def waits_for_another(connection: Transaction, workflow_id: str) -> bool:
    """Whether subjects of this workflow are to be dispatched once more."""
    waits = "SELECT EXISTS (SELECT FROM subjects WHERE workflow_id = $1 AND dispatched_at IS NULL)"
    return bool(await connection.fetchval(waits, workflow_id))


async def let_go(
    tx: Transaction, workflow_id: str, types: EventTypes, released: Mapping[str, type[Event[Any]]]
) -> list[str]:
    """The subjects for which a lost workflow had still something to do: it is begun once more, with all its messages.

    What was parked is tried again, and its journal says so. `released`: by the type of what parked, what releases it.
    """
    if workflow_id.startswith(LATE):
        rows = await tx.fetch(
            """
            UPDATE webhooks SET handled_at = NULL, look_at = now()
            FROM journal AS late
            WHERE late.kind = 'late' AND late.id = $1
              AND webhooks.payment_id = late.data ->> 'payment_id'
            RETURNING subject
            """,
            workflow_id.removeprefix(LATE),
        )
    else:
        rows = await tx.fetch(
            """
            UPDATE subjects SET dispatched_at = NULL
            WHERE workflow_id = $1 AND ended_at IS NULL AND dispatched_at IS NOT NULL
            RETURNING subject
            """,
            workflow_id,
        )
    subjects = sorted({row["subject"] for row in rows})
    await tx.execute(
        "UPDATE messages SET delivered_at = NULL WHERE subject = ANY($1::text[]) AND id IS NOT NULL", subjects
    )
    parkings = await tx.fetch(
        """
        SELECT source, id || '.released' AS id, type, subject, clock_timestamp() AS time,
               jsonb_build_object('link', data -> 'link', 'by', $2::text, 'why', $3::text) AS data
        FROM parkings WHERE subject = ANY($1::text[]) ORDER BY position
        """,
        subjects,
        BY,
        WHY,
    )
    events = [event_of(row) for row in parkings]
    await record(tx, [e.model_copy(update={"type": type_of(released[e.type])}) for e in events], types)
    return subjects
