"""The journal: the append-only table of all events of all subjects, and the one mechanism for idempotent consumers.

It knows subjects and links, not orders.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
from pydantic_core import to_json, to_jsonable_python

from chain.batch import Work
from chain.event import AnyEvent, Event, class_of, id_of, source_of
from store.database import Pool, Transaction, columns, connected, transaction
from store.failpoints import reach

CHANNEL = "lanka_journal"
"""PostgreSQL notifies here when events were journalled: of which subjects, separated by commas; empty, of any."""

Decide = Callable[[Work, Sequence[Any]], Awaitable[Sequence[Event[Any]]]]


class Journal:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def once(
        self,
        link: str,
        events: Sequence[Event[Any]],
        decide: Decide,
        *,
        unrecorded: bool = False,
        closes: Sequence[str] = (),
        attempt: int = 1,
    ) -> list[AnyEvent]:
        """Lets `link` work on each event's subject once, in one transaction, and returns what it made of them.

        Claims each (subject, link), gives `decide` the events whose claim is new, journals what it returns and
        commits. For the others the events journalled the first time are returned. `unrecorded` events are
        journalled before `decide` is asked. The links that `link` `closes` have nothing more to do with the subjects,
        should an attempt at them still be under way somewhere. `attempt` is kept with the claim if it is not the first.
        """
        reach(f"{link}.before_transaction")
        async with transaction(self._pool) as tx:
            claimed, now = await self._claim(tx, link, [event.subject for event in events], closes, attempt)
            fresh = [event for event in events if event.subject in claimed]
            earlier = [event.subject for event in events if event.subject not in claimed]
            made: list[AnyEvent] = []
            if fresh:
                made = [_untyped(event) for event in await decide(Work(tx, link, now), fresh)]
                await record(tx, [*fresh, *made] if unrecorded else made)
            known = await _made_by(tx, link, earlier) if earlier else []
            reach(f"{link}.before_commit")
        reach(f"{link}.after_commit")
        outcome = {event.subject: event for event in (*known, *made)}
        return [outcome[event.subject] for event in events if event.subject in outcome]

    async def done(self, link: str, subjects: Sequence[str]) -> set[str]:
        """Which of the subjects `link` has already worked on."""
        async with connected(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT subject FROM claims WHERE link = $1 AND subject = ANY($2::text[])", link, subjects
            )
        return {row["subject"] for row in rows}

    async def note(self, events: Sequence[AnyEvent]) -> None:
        """Journals events that no consumer has made, each once."""
        told = events[0].type.partition(".")[2]  # all are of one type
        reach(f"{told}.before_transaction")
        async with transaction(self._pool) as tx:
            await record(tx, events)
            reach(f"{told}.before_commit")
        reach(f"{told}.after_commit")

    async def of(self, subject: str) -> list[AnyEvent]:
        """All events of the subject, oldest first."""
        async with connected(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT source, id, type, subject, time, data FROM journal WHERE subject = $1 ORDER BY position",
                subject,
            )
        return [event_of(row) for row in rows]

    @staticmethod
    async def _claim(
        tx: Transaction, link: str, subjects: Sequence[str], closes: Sequence[str], attempt: int
    ) -> tuple[set[str], Any]:
        # Sorted, so that two attempts at overlapping batches wait for each other instead of deadlocking.
        rows = await tx.fetch(
            """
            WITH claimed AS (
                INSERT INTO claims (subject, link, attempts)
                SELECT subject, link, CASE WHEN link = $3 THEN nullif($4::integer, 1) END
                FROM unnest($1::text[]) AS subject, unnest($2::text[]) AS link
                ORDER BY subject, link
                ON CONFLICT DO NOTHING
                RETURNING subject, link
            )
            SELECT now() AS now, (SELECT array_agg(subject) FROM claimed WHERE link = $3) AS subjects
            """,
            subjects,
            [link, *closes],
            link,
            attempt,
        )
        return set(rows[0]["subjects"] or ()), rows[0]["now"]


async def record(tx: Transaction, events: Sequence[Event[Any]]) -> None:
    """Journals events, each once, and moves their subjects to where those that are new put them."""
    if not events:
        return
    rows = await tx.fetch(
        """
        WITH given AS (
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[])
                WITH ORDINALITY AS given (source, id, type, subject, time, data, nth)
        ), journalled AS (
            INSERT INTO journal (source, id, type, subject, time, data)
            SELECT source, id, type, subject, time, data::jsonb FROM given ORDER BY nth
            ON CONFLICT (source, id) DO NOTHING
            RETURNING source, id, subject
        )
        SELECT source, id, (  -- once, not for each row; a payload holds less than 8000 bytes
            SELECT pg_notify($7, CASE WHEN octet_length(subjects) < 8000 THEN subjects ELSE '' END)
            FROM (SELECT string_agg(DISTINCT subject, ',') AS subjects FROM journalled) AS told
        )
        FROM journalled
        """,
        *columns([(e.source, e.id, e.type, e.subject, e.time, to_json(e.data).decode()) for e in events], 6),
        CHANNEL,
    )
    new = {(row["source"], row["id"]) for row in rows}
    kinds = {event.type: class_of(event.type) for event in events}
    moved = {  # of two events of one subject the later counts
        event.subject: (event.subject, kinds[event.type].status, kinds[event.type].ends)
        for event in events
        if kinds[event.type].status and (event.source, event.id) in new
    }
    if moved:
        await tx.execute(
            """
            UPDATE subjects SET status = moved.status, ended_at = CASE WHEN moved.ends THEN now() END
            FROM unnest($1::text[], $2::text[], $3::boolean[]) AS moved (subject, status, ends)
            WHERE subjects.subject = moved.subject AND subjects.status <> moved.status AND subjects.ended_at IS NULL
            """,
            *columns(list(moved.values()), 3),
        )


async def positions_of(connection: Transaction, subjects: Sequence[str]) -> list[int]:
    """Where the events of these subjects are, read from the index alone. A later look may find lower ones."""
    rows = await connection.fetch("SELECT position FROM journal WHERE subject = ANY($1::text[])", subjects)
    return [row["position"] for row in rows]


async def events_at(connection: Transaction, positions: Sequence[int]) -> dict[int, AnyEvent]:
    if not positions:
        return {}
    rows = await connection.fetch(
        "SELECT position, source, id, type, subject, time, data FROM journal WHERE position = ANY($1::bigint[])",
        positions,
    )
    return {row["position"]: event_of(row) for row in rows}


async def _made_by(tx: Transaction, link: str, subjects: Sequence[str]) -> list[AnyEvent]:
    rows = await tx.fetch(
        "SELECT source, id, type, subject, time, data FROM journal WHERE source = $1 AND id = ANY($2::text[])",
        source_of(link),
        [id_of(subject, link) for subject in subjects],
    )
    return [event_of(row) for row in rows]


def event_of(row: asyncpg.Record) -> AnyEvent:
    """The event in a row that has at least the columns of the journal."""
    return AnyEvent.model_construct(
        specversion="1.0",
        source=row["source"],
        id=row["id"],
        type=row["type"],
        subject=row["subject"],
        time=row["time"],
        data=row["data"],
    )


def _untyped(event: Event[Any]) -> AnyEvent:
    return AnyEvent.model_construct(**{**vars(event), "data": to_jsonable_python(event.data)})
