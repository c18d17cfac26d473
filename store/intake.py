"""The intake of events that are no orders: from HTTP, and (by the same SQL) from an application's outbox."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import asyncpg

from chain.event import AcceptedType, AnyEvent
from chain.failures import LankaError
from store.database import Store, Transaction, columns, transaction
from store.journal import event_of


class NoRouteError(LankaError):
    """No chain takes events of this type."""


class ReservedSourceError(LankaError):
    """Sources that begin with /lanka/ are our own."""


class OtherChainError(LankaError):
    """The subject belongs to another chain than the one that takes events of this type."""


class OtherContentError(LankaError):
    """An event of this source and id was published before, with another type, subject, data or time."""


class TwoChainsError(LankaError):
    """An event from outside goes to one chain, and two take its type."""


_PUBLISHING = 5  # the first half of the advisory locks on subjects that are published about
_REFUSALS: dict[str, type[LankaError]] = {  # see publish()
    "LK001": NoRouteError,
    "LK002": ReservedSourceError,
    "LK003": OtherChainError,
    "LK004": OtherContentError,
}


class Given(Protocol):
    """An event from outside. Without a `time` it is of the moment in which it is stored."""

    @property
    def source(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def time(self) -> datetime | None: ...
    @property
    def data(self) -> dict[str, Any]: ...


class Message(NamedTuple):
    """Something for the workflow that carries `subject`: an event, or None where it is only to look again.

    `version`: of the chain's table that the subject travels with.
    """

    position: int
    chain: str
    workflow_id: str
    version: int
    subject: str
    event: AnyEvent | None


class Intake(Store):
    async def publish(self, events: Sequence[Given], traceparent: str | None = None) -> list[bool]:
        """Stores events, all or none; False for each that was there before.

        Subjects that begin with them keep the `traceparent`.
        Raises `NoRouteError`, `ReservedSourceError`, `OtherChainError` and `OtherContentError`.
        """
        try:
            async with transaction(self._pool) as tx:
                await _lock(tx, [event.subject for event in events])
                fresh: list[bool] = [
                    await tx.fetchval(
                        "SELECT publish($1, $2, $3, $4, $5, $6)", e.source, e.id, e.type, e.subject, e.time, e.data
                    )
                    for e in events
                ]
                if traceparent:
                    await tx.execute(
                        "UPDATE subjects SET traceparent = $2 WHERE subject = ANY($1::text[]) AND traceparent IS NULL",
                        [event.subject for event in events],
                        traceparent,
                    )
                return fresh
        except asyncpg.PostgresError as error:
            refusal = _REFUSALS.get(error.sqlstate or "")
            if refusal is None:
                raise
            raise refusal(str(error)) from error

    async def known(self, events: Sequence[Given]) -> bool:
        """Whether all of them were stored before."""
        names = {(event.source, event.id) for event in events}
        found = await self._fetch(
            "SELECT FROM journal JOIN unnest($1::text[], $2::text[]) AS given (source, id) USING (source, id)",
            *columns([*names], 2),
        )
        return len(found) == len(names)


async def _lock(tx: Transaction, subjects: Sequence[str]) -> None:
    """Until the commit. Events are published in the order given, in which others may hold what comes next."""
    await tx.execute(
        """
        SELECT pg_advisory_xact_lock($2, key)
        FROM (SELECT DISTINCT hashtext(subject) AS key FROM unnest($1::text[]) AS subject ORDER BY key) AS sorted
        """,
        subjects,
        _PUBLISHING,
    )


def one_chain_each(types: Sequence[AcceptedType]) -> None:
    """Raises `TwoChainsError`."""
    chains: dict[str, str] = {}
    for each in types:
        other = chains.setdefault(each.type, each.chain)
        if other != each.chain:
            raise TwoChainsError(f"the chains {other} and {each.chain} both accept {each.type}; it can go to one only")


async def register(connection: Transaction, accepted: Sequence[AcceptedType]) -> None:
    """Makes the database know the tables of this code. Types that they no longer have stay known.

    Raises `TwoChainsError`.
    """
    one_chain_each(accepted)
    await connection.execute(
        """
        INSERT INTO routes (type, chain, kind, status)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) ORDER BY 1
        ON CONFLICT (type) DO UPDATE SET chain = excluded.chain, kind = excluded.kind, status = excluded.status
        """,
        *columns([(each.type, each.chain, each.kind, each.status) for each in dict.fromkeys(accepted)], 4),
    )


async def wake(tx: Transaction, subjects: Sequence[str]) -> None:
    """Has the workflows that carry these subjects look again, once this transaction is committed."""
    if subjects:
        await tx.execute("INSERT INTO messages (subject) SELECT unnest($1::text[])", subjects)
        await tx.execute("SELECT pg_notify('lanka_accepted', '')")


async def undelivered(connection: Transaction, chains: Sequence[str]) -> list[Message]:
    """The oldest messages of subjects whose workflow Temporal has been told of."""
    rows = await connection.fetch(
        """
        SELECT messages.position AS message, subjects.chain, subjects.workflow_id, messages.subject,
               coalesce(subjects.version, 1) AS version,
               journal.source, journal.id, journal.type, journal.time, journal.data
        FROM messages
        JOIN subjects ON subjects.subject = messages.subject AND subjects.dispatched_at IS NOT NULL
        LEFT JOIN journal ON journal.source = messages.source AND journal.id = messages.id
        WHERE messages.delivered_at IS NULL AND subjects.chain = ANY($1::text[])
        ORDER BY messages.position LIMIT 200
        """,
        chains,
    )
    events = (event_of(row) if row["id"] else None for row in rows)
    return [
        Message(row["message"], row["chain"], row["workflow_id"], row["version"], row["subject"], event)
        for row, event in zip(rows, events, strict=True)
    ]


async def mark_delivered(connection: Transaction, message: Message) -> None:
    if message.event:
        # Of subjects whose end was published before their beginning, or at the same moment.
        await connection.execute(
            """
            SELECT FROM messages JOIN journal USING (source, id, subject) JOIN subjects USING (subject)
            JOIN routes ON routes.type = journal.type AND routes.chain = subjects.chain
            CROSS JOIN LATERAL record_events(
                ARRAY[source], ARRAY[id], ARRAY[journal.type], ARRAY[journal.kind], ARRAY[routes.status],
                ARRAY[subject], ARRAY[time], ARRAY[data]
            )
            WHERE messages.position = $1 AND journal.kind = 'end' AND ended_at IS NULL
            """,
            message.position,
        )
    await connection.execute(
        """
        WITH delivered AS (
            UPDATE messages SET delivered_at = now() WHERE position = $1 RETURNING subject
        )
        UPDATE subjects SET at_rest = false FROM delivered WHERE subjects.subject = delivered.subject AND at_rest
        """,
        message.position,
    )
