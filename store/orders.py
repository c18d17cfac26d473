"""Orders: accepted once, numbered once, read by anybody."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from chain.event import AnyEvent, id_of, maker_of, source_of, type_of
from chain.failures import LankaError
from chain.position import Entry, position
from chain.subject import NOT_DISPATCHED, RECEIVED
from chain.table import Table
from orders.events import OrderReceived
from orders.order import NewOrder
from orders.standing import KnownOrder
from orders.words import Status
from store.database import Pool, Store, Transaction, columns, connected
from store.failpoints import reach
from store.group_commit import GroupCommit
from store.journal import event_of
from store.operations import Carried

CHAIN = "orders"
LINK = "intake"

_JOURNALLED = ("source", "id", "type", "time", "data")


class KeyReused(LankaError):
    """The idempotency key belongs to another request."""


class Accepted(NamedTuple):
    """`replayed`: the same request had been accepted before, as `order_id`."""

    order_id: str
    replayed: bool


class Whole(NamedTuple):
    """An order, what the database knows of it beside, and its journal, oldest event first."""

    order: KnownOrder
    carried: Carried
    events: Sequence[AnyEvent]


class _Wanted(NamedTuple):
    """A request to accept an order. `written`: the order as JSON."""

    order: NewOrder
    owner: str
    key: str
    fingerprint: bytes
    written: str
    traceparent: str | None

    def row(self) -> tuple[Any, ...]:
        """As the statement takes it."""
        order = self.order
        columns = order.order_id, order.customer_id, order.payment_id, order.currency, order.total
        return (*self[1:], *columns, id_of(order.order_id, LINK))


class Orders(Store):
    """`table`: that of the chain of orders, by which is known where an order stands."""

    def __init__(self, pool: Pool, table: Table) -> None:
        super().__init__(pool)
        self._table = table
        self._stored = GroupCommit(self._store)

    async def accept(
        self, order: NewOrder, *, owner: str, key: str, fingerprint: bytes, traceparent: str | None = None
    ) -> Accepted:
        """Stores the order with its key and its first event, all or nothing; once it returns, the order is accepted.

        When it was received is PostgreSQL's to say, whatever the clock of this host.

        The first request with a key wins, the others get its order. Raises `KeyReused` if theirs is another request.
        """
        written = order.model_dump_json()
        if await self._stored(_Wanted(order, owner, key, fingerprint, written, traceparent)):
            return Accepted(order.order_id, replayed=False)
        first = await self.accepted_before(owner=owner, key=key, fingerprint=fingerprint)
        assert first, "idempotency keys are never deleted"
        return first

    async def _store(self, wanted: Sequence[_Wanted]) -> list[bool]:
        """Whether each was stored; those whose key is known were not."""
        async with connected(self._pool) as connection:
            # One statement is one transaction and one round trip. Nobody is notified in it: NOTIFY takes a lock
            # that makes commits wait for each other.
            reach("accept.before_commit")
            rows = await connection.fetch(
                """
                WITH given AS (
                    SELECT * FROM unnest(
                        $1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                        $9::text[], $10::bigint[], $11::text[]
                    ) WITH ORDINALITY AS given (
                        owner, key, fingerprint, written, traceparent, subject, customer_id, payment_id, currency,
                        total, event_id, nth
                    )
                ), kept AS (
                    INSERT INTO idempotency_keys (owner, key, fingerprint, subject)
                    SELECT owner, key, fingerprint, subject FROM given
                    ORDER BY owner, key, nth  -- one order of locks, and the first request with a key wins
                    ON CONFLICT (owner, key) DO NOTHING
                    RETURNING subject
                ), fresh AS MATERIALIZED (
                    SELECT given.*, written::jsonb || jsonb_build_object(
                        'received_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                    ) AS the_order
                    FROM given JOIN kept USING (subject) ORDER BY nth
                ), subject AS (
                    INSERT INTO subjects (subject, chain, status, received_at, traceparent)
                    SELECT subject, $12, $13, now(), traceparent FROM fresh ORDER BY nth
                ), accepted AS (
                    INSERT INTO orders (order_id, customer_id, payment_id, currency, lines, total, received_at)
                    SELECT subject, customer_id, payment_id, currency, the_order -> 'lines', total, now()
                    FROM fresh ORDER BY nth
                ), journalled AS (
                    INSERT INTO journal (source, id, type, kind, subject, time, data)
                    SELECT $14, event_id, $15, $16, subject, now(), jsonb_build_object('order', the_order)
                    FROM fresh ORDER BY nth
                )
                SELECT subject FROM kept
                """,
                *columns([each.row() for each in wanted], 11),
                CHAIN,
                OrderReceived.status,
                source_of(LINK),
                type_of(OrderReceived),
                OrderReceived.kind,
            )
        reach("accept.after_commit")
        stored = {row["subject"] for row in rows}
        return [each.order.order_id in stored for each in wanted]

    async def accepted_before(self, *, owner: str, key: str, fingerprint: bytes) -> Accepted | None:
        """What became of the first request with this key, if there was one. Raises `KeyReused` if it was another."""
        first = await self._first(
            "SELECT subject, fingerprint FROM idempotency_keys WHERE owner = $1 AND key = $2", owner, key
        )
        if first is None:
            return None
        if first["fingerprint"] != fingerprint:
            raise KeyReused(f"{key} was first sent with another order")
        return Accepted(first["subject"], replayed=True)

    async def whole(self, order_id: str) -> Whole | None:
        """The order with all that is known of it, in one look, as customers ask for it again and again.

        Its events come without the order in their data.
        """
        row = await self._first(
            """
            SELECT orders.*, chain, version, status_shown(status, dispatched_at) AS status,
                   ended_at IS NOT NULL AS ended, workflow_id, dispatched_at, traceparent, now() AS seen_at,
                   journalled.*,
                   (
                       SELECT coalesce(jsonb_object_agg(link, attempts), '{}')
                       FROM claims WHERE claims.subject = order_id
                   ) AS done
            FROM orders JOIN subjects ON subjects.subject = orders.order_id
            CROSS JOIN LATERAL (
                SELECT array_agg(source) AS sources, array_agg(id) AS ids, array_agg(type) AS types,
                       array_agg(time) AS times, array_agg(data) AS datas, max(time) AS updated_at,
                       max(data ->> 'reason') FILTER (WHERE kind = 'withdrawal') AS withdrawn
                FROM (
                    SELECT source, id, type, time, kind, data - 'order' AS data  -- which several events repeat
                    FROM journal WHERE journal.subject = order_id ORDER BY position
                ) AS sorted
            ) AS journalled
            WHERE order_id = $1
            """,
            order_id,
        )
        if row is None:
            return None
        rows = zip(*(row[f"{name}s"] for name in _JOURNALLED), strict=True)
        events = [event_of({**dict(zip(_JOURNALLED, each, strict=True)), "subject": order_id}) for each in rows]
        journal = [Entry(maker_of(event.source), event.type, event.data.get("reason")) for event in events]
        return Whole(self._known(row, journal), Carried(**{name: row[name] for name in Carried._fields}), events)

    async def find(self, order_id: str) -> KnownOrder | None:
        orders = await self._read("WHERE order_id = $1", order_id)
        return orders[0] if orders else None

    async def newest(
        self, *, status: Status | None = None, customer_id: str | None = None, before: str | None = None, limit: int
    ) -> list[KnownOrder]:
        """Newest first, only those older than the order `before`."""
        wanted = {
            _SHOWN.get(status, "chain = 'orders' AND status = {}"): status,
            "customer_id = {}": customer_id,
            "order_id < {}": before,
        }
        asked = {condition: value for condition, value in wanted.items() if value is not None}
        conditions = " AND ".join(condition.format(f"${nth}") for nth, condition in enumerate(asked, start=1))
        return await self._read(
            f"{'WHERE' if asked else ''} {conditions} ORDER BY order_id DESC LIMIT ${len(asked) + 1}",
            *asked.values(),
            limit,
        )

    async def number(self, tx: Transaction, order_ids: Sequence[str]) -> dict[str, str]:
        """Gives each order its number, in the order given. Numbers rise; a rolled-back transaction leaves a gap."""
        rows = await tx.fetch(
            """
            UPDATE orders SET order_number = numbered.order_number
            FROM (
                SELECT order_id, 'L' || lpad(nextval('order_numbers')::text, 8, '0') AS order_number
                FROM (
                    SELECT order_id FROM unnest($1::text[]) WITH ORDINALITY AS given (order_id, nth) ORDER BY nth
                ) AS given
            ) AS numbered
            WHERE orders.order_id = numbered.order_id
            RETURNING orders.order_id, orders.order_number
            """,
            order_ids,
        )
        return {row["order_id"]: row["order_number"] for row in rows}

    async def _read(self, which: str, *values: object) -> list[KnownOrder]:
        # `which` is one of the few texts made above, so that each gets the plan that suits it.
        rows = await self._fetch(
            f"""
            SELECT chosen.*, journalled.*,
                   ARRAY(SELECT DISTINCT link FROM claims WHERE claims.subject = chosen.order_id) AS done
            FROM (
                SELECT orders.*, version, status_shown(status, dispatched_at) AS status, dispatched_at,
                       ended_at IS NOT NULL AS ended
                FROM orders JOIN subjects ON subjects.subject = orders.order_id
                {which}
            ) AS chosen
            CROSS JOIN LATERAL (
                SELECT array_agg(source ORDER BY position) AS sources, array_agg(type ORDER BY position) AS types,
                       array_agg(data ->> 'reason' ORDER BY position) AS reasons, max(time) AS updated_at
                FROM journal WHERE journal.subject = chosen.order_id
            ) AS journalled
            ORDER BY order_id DESC
            """,  # noqa: S608  # see above; every value is a parameter
            *values,
        )
        return [self._known(row, _entries(row)) for row in rows]

    def _known(self, row: asyncpg.Record, journal: Sequence[Entry]) -> KnownOrder:
        at, link, reason = position(self._table, journal, row["done"], row["version"])
        stage = next((each.queue for each in self._table.links if each.name == link), None)
        if row["dispatched_at"] is None and not row["ended"]:  # as in chain.steps.states_at()
            at, link, stage = (RECEIVED,), RECEIVED, NOT_DISPATCHED
        return KnownOrder.model_validate({**row, "links_at": at, "link": link, "stage": stage, "reason": reason})


def _entries(row: asyncpg.Record) -> list[Entry]:
    entries = zip(row["sources"], row["types"], row["reasons"], strict=True)
    return [Entry(maker_of(source), event_type, reason) for source, event_type, reason in entries]


# Until an event says otherwise, an order that Temporal knows of is being processed (see status_shown).
_SHOWN: Mapping[Status | None, str] = {
    Status.RECEIVED: "chain = 'orders' AND status = {} AND dispatched_at IS NULL",
    Status.PROCESSING: "chain = 'orders' AND "
    f"(status = {{}} OR status = '{Status.RECEIVED}' AND dispatched_at IS NOT NULL)",
}
