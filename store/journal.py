"""The journal: the append-only table of all events of all subjects, and the one mechanism for idempotent consumers.

It knows subjects and links, not orders.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any

import asyncpg
from pydantic_core import to_json, to_jsonable_python

from chain.batch import Batch, Decide, Work
from chain.event import AnyEvent, Event, EventTypes, id_of, source_of
from store.database import Pool, Store, Transaction, columns, connected, transaction
from store.failpoints import reach

CHANNEL = "lanka_journal"
"""PostgreSQL notifies here when events were journalled: of which subjects, as a JSON array; empty, of any."""

_ENVELOPE = ("source", "id", "type", "subject", "time", "data")
_COLUMNS = ", ".join(_ENVELOPE)


class Journal(Store):
    """`types`: the events of all chains, which tell what each event means for its subject.

    `about`: what surrounds the external call for one subject; whoever traces puts the subject's own trace here.
    """

    def __init__(
        self, pool: Pool, types: EventTypes, about: Callable[[str], AbstractContextManager[object]] = nullcontext
    ) -> None:
        super().__init__(pool)
        self._types = types
        self.about = about

    async def process_once(
        self, batch: Batch, events: Sequence[Event[Any]], decide: Decide[Any], attempt: int = 1
    ) -> list[AnyEvent]:
        """Lets the link work on each event's subject once, in one transaction, and returns what it made of them.

        `events`: those of `batch` that can be worked on, as the consumer has read them. Claims each (subject, link),
        gives `decide` the events whose claim is new, journals what it returns and commits. For the others the events
        journalled the first time are returned. `unrecorded` events are journalled before `decide` is asked. The links
        that this one `closes` have nothing more to do with the subjects, should an attempt at them still be under way
        somewhere. `attempt` is kept with the claim if it is not the first. With `each` the link works once on each
        event instead, and of a subject there may be several.
        """
        link = batch.link
        wanted: dict[str, Event[Any]] = {}
        for event in events:
            wanted.setdefault(batch.made_id(event), event)
        reach(f"{link}.before_transaction")
        async with transaction(self._pool) as tx:
            claimed, now = await _claim(tx, batch, [*wanted.values()], attempt)
            fresh = [event for made_id, event in wanted.items() if made_id in claimed]
            made: list[AnyEvent] = []
            if fresh:
                made = [_untyped(event) for event in await decide(Work(tx, batch, now), fresh)]
                await record(tx, [*fresh, *made] if batch.unrecorded else made, self._types)
            earlier = [made_id for made_id in wanted if made_id not in claimed]
            mine = "source = $1 AND id = ANY($2::text[])"
            known = await read_events(tx, mine, source_of(link), earlier) if earlier else []
            reach(f"{link}.before_commit")
        reach(f"{link}.after_commit")
        outcome = {event.id: event for event in (*known, *made)}
        return [outcome[made_id] for made_id in map(batch.made_id, events) if made_id in outcome]

    async def done(self, batch: Batch, events: Sequence[Event[Any]]) -> set[str]:
        """Of what the link has already worked on: the ids of what it made, or would have if it had said something."""
        rows = await self._fetch(
            """
            SELECT subject, event FROM unnest($2::text[], $3::text[]) AS given (subject, event)
            JOIN claims USING (subject, event) WHERE link = $1
            """,
            batch.link,
            *_given(batch, events),
        )
        return {id_of(subject, batch.link, event or None) for subject, event in rows}

    async def append(self, events: Sequence[AnyEvent]) -> None:
        """Journals events that no consumer has made, each once."""
        name = events[0].type.partition(".")[2]  # all are of one type
        reach(f"{name}.before_transaction")
        async with transaction(self._pool) as tx:
            await record(tx, events, self._types)
            reach(f"{name}.before_commit")
        reach(f"{name}.after_commit")

    async def of(self, subject: str) -> list[AnyEvent]:
        """All events of the subject, oldest first."""
        async with connected(self._pool) as connection:
            return await read_events(connection, "subject = $1 ORDER BY position", subject)


async def _claim(
    tx: Transaction, batch: Batch, events: Sequence[Event[Any]], attempt: int
) -> tuple[set[str], datetime]:
    """The ids of what may be made now, and the transaction's time."""
    # Sorted, so that two attempts at overlapping batches wait for each other instead of deadlocking.
    row = await tx.fetchrow(
        """
        WITH claimed AS (
            INSERT INTO claims (subject, link, event, attempts)
            SELECT subject, link, CASE WHEN link = $4 THEN event ELSE '' END,
                   CASE WHEN link = $4 THEN nullif($5::integer, 1) END
            FROM unnest($1::text[], $2::text[]) AS given (subject, event), unnest($3::text[]) AS link
            WHERE event = '' OR NOT EXISTS (  -- closed
                SELECT FROM claims WHERE claims.subject = given.subject AND claims.link = $4 AND claims.event = ''
            )
            ORDER BY 1, 2, 3
            ON CONFLICT DO NOTHING
            RETURNING subject, link, event
        )
        SELECT now() AS now, array_agg(subject) AS subjects, array_agg(event) AS events
        FROM claimed WHERE link = $4
        """,
        *_given(batch, events),
        [batch.link, *batch.closes],
        batch.link,
        attempt,
    )
    assert row, "an aggregate has a row"
    pairs = zip(row["subjects"] or (), row["events"] or (), strict=True)
    return {id_of(subject, batch.link, event or None) for subject, event in pairs}, row["now"]


def _given(batch: Batch, events: Sequence[Event[Any]]) -> tuple[Sequence[str], Sequence[str]]:
    """What is claimed, as two columns: the subjects, and the events where the link takes each by itself."""
    return [event.subject for event in events], [event.id if batch.each else "" for event in events]


async def record(tx: Transaction, events: Sequence[Event[Any]], types: EventTypes) -> None:
    """Journals events, each once, and moves their subjects to where those that are new put them."""
    if not events:
        return
    await tx.execute(
        """
        SELECT FROM record_events(
            $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
            $8::text[]::jsonb[]
        )
        """,
        *columns([_row(event, types[event.type]) for event in events], 8),
    )


def _row(event: Event[Any], means: type[Event[Any]]) -> tuple[Any, ...]:
    data = to_json(event.data).decode()
    return event.source, event.id, event.type, means.kind, means.status, event.subject, event.time, data


async def positions_of(connection: Transaction, subjects: Sequence[str]) -> list[int]:
    """Where the events of these subjects are, read from the index alone. A later look may find lower ones."""
    rows = await connection.fetch("SELECT position FROM journal WHERE subject = ANY($1::text[])", subjects)
    return [row["position"] for row in rows]


async def events_at(connection: Transaction, positions: Sequence[int]) -> dict[int, AnyEvent]:
    if not positions:
        return {}
    chosen = f"SELECT position, {_COLUMNS} FROM journal WHERE position = ANY($1::bigint[])"  # noqa: S608
    rows = await connection.fetch(chosen, positions)
    return {row["position"]: event_of(row) for row in rows}


async def read_events(connection: Transaction, which: str, *values: object) -> list[AnyEvent]:
    """`which`: a condition of SQL, and in which order; what is given from outside is a parameter of it."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM journal WHERE {which}", *values)  # noqa: S608
    return [event_of(row) for row in rows]


def event_of(row: asyncpg.Record | Mapping[str, Any]) -> AnyEvent:
    """The event in a row that has at least the columns of the journal."""
    return AnyEvent.model_construct(specversion="1.0", **{name: row[name] for name in _ENVELOPE})


def _untyped(event: Event[Any]) -> AnyEvent:
    return AnyEvent.model_construct(**{**vars(event), "data": to_jsonable_python(event.data)})
