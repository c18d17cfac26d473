"""Reconciliation: holds the provider's books, the orders, the journal and the stock against each other.

The provider's books and a digest of the journal go into temporary tables; then each check is one statement. What has
changed after the cutoff, the start less the grace, is on its way and left out. The journal is never changed, so it
says how an order stands, and the tables are held against it.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from chain.event import EventTypes, type_of
from orders.discrepancies import Finding, Kind, Report
from orders.events import OrderConfirmed, PaymentRefunded
from orders.money import written
from orders.payment import Payment, PaymentStatus
from orders.ports import ListedPayment
from store.database import Pool, Store, Transaction, columns, connected

GRACE = timedelta(seconds=60)
ABANDONED = timedelta(hours=1)  # an authorisation may wait so long: the customer may still be on the way to Pay
MOST = 200  # findings that are kept and shown; the others are counted
SECONDS = 600.0  # how long a statement may take: each reads whole tables


class Reconciliations(Store):
    """`types`: the events of the chain of orders, with what status each gives."""

    def __init__(self, pool: Pool, types: EventTypes) -> None:
        super().__init__(pool)
        self._types = types

    async def compare(
        self, provider: str, books: AsyncIterator[Sequence[ListedPayment]], *, grace: timedelta = GRACE
    ) -> Report:
        """Compares everything with the books of `provider` and keeps the report."""
        async with connected(self._pool) as connection:
            started_at: datetime = await connection.fetchval("SELECT clock_timestamp()")
            try:
                await _take_down(connection, books, started_at - grace, started_at - max(grace, ABANDONED))
                # One moment for all tables, so that nothing is between two of them.
                async with connection.transaction(isolation="repeatable_read"):
                    await connection.execute("SET LOCAL enable_seqscan = on")  # everything is read
                    await _digest(connection, provider, started_at - grace, self._types)
                    return await _keep(connection, started_at, *await _find(connection))
            finally:
                # The connection goes back to the pool; if it is broken, its temporary tables are gone already.
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await connection.execute(AWAY)


# ---- both sides ---------------------------------------------------------------------------------------------------

AWAY = "DROP TABLE IF EXISTS pg_temp.books"

BOOKS = """
CREATE TEMPORARY TABLE books (  -- what the provider says
    payment_id text PRIMARY KEY,
    status     text NOT NULL,
    currency   text NOT NULL,
    captured   bigint NOT NULL,
    money      bigint NOT NULL,
    since      timestamptz NOT NULL,
    quiet      boolean NOT NULL,      -- nothing has changed for as long as the grace
    abandoned  boolean NOT NULL       -- and nobody is still going to order with it
)
"""


async def _take_down(
    connection: Transaction, books: AsyncIterator[Sequence[ListedPayment]], cutoff: datetime, abandoned: datetime
) -> None:
    await connection.execute(AWAY)
    await connection.execute(BOOKS)
    async for page in books:
        rows = [
            (
                payment.payment_id,
                payment.status.value,
                payment.currency,
                payment.captured_amount,
                _money(payment),
                since,
                since < cutoff,
                since < (abandoned if payment.status is PaymentStatus.AUTHORIZED else cutoff),
            )
            for payment, since in page
        ]
        await connection.execute(
            """
            INSERT INTO books
            SELECT * FROM unnest(
                $1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::boolean[],
                $8::boolean[]
            )
            ON CONFLICT DO NOTHING
            """,
            *columns(rows, 8),
        )
    await connection.execute("ANALYZE books", timeout=SECONDS)


def _money(payment: Payment) -> int:
    """What the provider holds of the customer's."""
    authorized = payment.status is PaymentStatus.AUTHORIZED
    return payment.amount if authorized else payment.captured_amount - payment.refunded_amount


async def _digest(connection: Transaction, provider: str, cutoff: datetime, types: EventTypes) -> None:
    # The first end event counts: whatever comes after it (a late refund that parks) moves the order no more.
    await connection.execute(
        """
        CREATE TEMPORARY TABLE digest ON COMMIT DROP AS  -- what the journal says of each order
        SELECT summed.*, last_time < $1 AS quiet,  -- nothing was journalled for as long as the grace
               NOT EXISTS (  -- not paid at another provider
                   SELECT FROM payments WHERE payments.order_id = summed.order_id AND provider <> $2
               ) AS ours
        FROM (
            SELECT orders.order_id, max(journal.time) AS last_time,
                   coalesce(
                       (array_agg(gives.status ORDER BY position) FILTER (WHERE kind = 'end'))[1],
                       (array_agg(gives.status ORDER BY position DESC) FILTER (WHERE gives.status IS NOT NULL))[1],
                       'unknown'
                   ) AS status,
                   bool_or(kind = 'end') AS ended,
                   bool_or(type = $5) AS confirmed,
                   bool_or(kind IN ('refusal', 'withdrawal') OR kind = 'end' AND type <> $5) AS refused,
                   bool_or(type = $6) AS refunded,
                   min(data ->> 'order_number') FILTER (WHERE type = $5) AS order_number
            FROM orders
            JOIN journal ON journal.subject = orders.order_id
            LEFT JOIN unnest($3::text[], $4::text[]) AS gives (type, status) USING (type)
            GROUP BY orders.order_id
        ) AS summed
        """,
        cutoff,
        provider,
        *columns([(type_of(event), event.status) for event in types], 2),
        type_of(OrderConfirmed),
        type_of(PaymentRefunded),
        timeout=SECONDS,
    )
    await connection.execute("ANALYZE digest", timeout=SECONDS)


# ---- the checks ---------------------------------------------------------------------------------------------------


class Check(NamedTuple):
    """`query` gives subject, since and what `detail` needs."""

    kind: Kind
    query: str
    detail: Callable[[asyncpg.Record], str] = lambda row: str(row["detail"])


def _held(row: asyncpg.Record) -> str:
    return f"{_written(row['money'], row['currency'])} {row['status']}"


def _paid_without_order(row: asyncpg.Record) -> str:
    return f"{_held(row)}, {'refused: ' + row['named_by'] if row['named_by'] else 'no order names it'}"


def _order_without_payment(row: asyncpg.Record) -> str:
    wanted = f"{_written(row['total'], row['currency'])} confirmed, payment {row['payment_id']}"
    if row["status"] != PaymentStatus.CAPTURED:
        return f"{wanted} is {row['status'] or 'not known to the provider'}"
    return f"{wanted} is captured with {_written(row['captured'], row['paid_in'])}"


def _refund_owed(row: asyncpg.Record) -> str:
    journal = "although its journal says refunded" if row["refunded"] else "not refunded"
    return f"{_held(row)} on payment {row['payment_id']}, {journal}"


def _written(amount: int, currency: str) -> str:
    try:
        return written(amount, currency)
    except KeyError:  # the provider may know more currencies than ISO 4217
        return f"{currency} {amount}"


CHECKS = (
    Check(
        Kind.PAID_WITHOUT_ORDER,
        """
        WITH unclaimed AS MATERIALIZED (
            SELECT * FROM books
            WHERE money > 0 AND abandoned
              AND NOT EXISTS (SELECT FROM payments WHERE payments.payment_id = books.payment_id)
        )
        SELECT payment_id AS subject, since, money, unclaimed.currency, unclaimed.status, named.named_by
        FROM unclaimed
        CROSS JOIN LATERAL (
            SELECT string_agg(order_id, ', ' ORDER BY order_id) AS named_by,
                   coalesce(bool_and(coalesce(refused AND ended AND quiet, false)), true) AS nobody_wants_it
            FROM orders LEFT JOIN digest USING (order_id)
            WHERE orders.payment_id = unclaimed.payment_id
        ) AS named
        WHERE nobody_wants_it
        """,
        _paid_without_order,
    ),
    Check(
        Kind.ORDER_WITHOUT_PAYMENT,
        """
        SELECT order_id AS subject, last_time AS since, payment_id, total, orders.currency,
               books.status, books.captured, books.currency AS paid_in
        FROM digest JOIN orders USING (order_id) LEFT JOIN books USING (payment_id)
        WHERE confirmed AND digest.quiet AND ours
          AND (books.status, books.captured, books.currency) IS DISTINCT FROM ('captured', total, orders.currency)
        """,
        _order_without_payment,
    ),
    Check(
        Kind.PAYMENT_ON_TWO_ORDERS,
        """
        SELECT payment_id AS subject, max(last_time) AS since,
               'taken for ' || string_agg(order_id, ', ' ORDER BY order_id) AS detail
        FROM (
            SELECT provider, payment_id, order_id FROM payments
            UNION
            SELECT data -> 'payment' ->> 'provider', data -> 'payment' ->> 'payment_id', subject
            FROM journal WHERE data -> 'payment' ->> 'payment_id' IS NOT NULL  -- in whichever event
        ) AS taken
        LEFT JOIN digest USING (order_id)
        GROUP BY provider, payment_id
        HAVING count(*) > 1
        """,
    ),
    Check(
        Kind.STOCK_HELD_WITHOUT_OPEN_ORDER,
        """
        SELECT order_id AS subject, last_time AS since,
               'still holds ' || string_agg(quantity || ' of ' || sku, ', ' ORDER BY sku) AS detail
        FROM reservations LEFT JOIN digest USING (order_id)
        WHERE state = 'held' AND coalesce(ended AND quiet, true)
        GROUP BY order_id, last_time
        UNION ALL
        SELECT sku, NULL, format('%s reserved, orders hold %s', reserved, coalesce(held.quantity, 0))
        FROM stock
        LEFT JOIN (
            SELECT sku, sum(quantity) AS quantity FROM reservations WHERE state = 'held' GROUP BY sku
        ) AS held USING (sku)
        WHERE reserved <> coalesce(held.quantity, 0)
        """,
    ),
    Check(
        Kind.REFUND_OWED,
        """
        SELECT order_id AS subject, greatest(last_time, books.since) AS since,
               money, books.currency, books.status, payment_id, refunded
        FROM books JOIN payments USING (payment_id) JOIN digest USING (order_id)
        WHERE money > 0 AND books.quiet AND digest.quiet AND ours AND refused AND NOT confirmed
          AND NOT EXISTS (
              SELECT FROM orders AS other JOIN digest AS its USING (order_id)
              WHERE other.payment_id = books.payment_id AND its.confirmed
          )
        """,
        _refund_owed,
    ),
    Check(
        Kind.JOURNAL_AND_STATE_DISAGREE,
        """
        WITH known AS (
            SELECT order_id, orders.order_number, payment_id, subjects.status, taken_at, ended_at IS NOT NULL AS ended,
                   coalesce(last_time, subjects.received_at) AS since,
                   digest.status AS journal_status, digest.ended AS journal_ended,
                   digest.order_number AS journal_number, confirmed, refunded
            FROM orders JOIN subjects ON subject = order_id LEFT JOIN digest USING (order_id)
            WHERE coalesce(quiet, true)
        ), wanted AS (
            SELECT order_id, line ->> 'sku' AS sku, sum((line ->> 'quantity')::bigint) AS quantity
            FROM known JOIN orders USING (order_id) CROSS JOIN jsonb_array_elements(lines) AS line
            WHERE confirmed
            GROUP BY 1, 2
        ), sold AS (
            SELECT order_id, sku, quantity FROM known JOIN reservations USING (order_id) WHERE state = 'sold'
        ), disagreeing AS (
            SELECT order_id, 1 AS nth, format(
                'status %s%s, journal %s%s',
                status, CASE WHEN ended THEN ' (ended)' END,
                coalesce(journal_status, 'empty'), CASE WHEN journal_ended THEN ' (ended)' END
            ) AS words
            FROM known
            WHERE (status_shown(status, taken_at), ended)  -- what is shown already is not written, see record_events()
                  IS DISTINCT FROM (status_shown(journal_status, taken_at), journal_ended)
            UNION ALL
            SELECT order_id, 2, format(
                'number %s, journal %s', coalesce(order_number, 'missing'), coalesce(journal_number, 'none')
            )
            FROM known WHERE order_number IS DISTINCT FROM journal_number
            UNION ALL
            SELECT order_id, 3, format('%s of %s sold, confirmed %s', coalesce(sold.quantity, 0), sku,
                                       coalesce(wanted.quantity, 0))
            FROM wanted FULL JOIN sold USING (order_id, sku)
            WHERE wanted.quantity IS DISTINCT FROM sold.quantity
            UNION ALL
            SELECT order_id, 4, format('payment %s, journal %s', state, CASE
                WHEN refunded THEN 'refunded' WHEN confirmed THEN 'captured' ELSE 'not refunded'
            END)
            FROM known JOIN payments USING (order_id)
            WHERE (state = 'refunded') <> refunded OR (confirmed AND state = 'held')
            UNION ALL
            SELECT order_id, 5, 'confirmed, but no payment is noted'
            FROM known
            WHERE confirmed AND NOT EXISTS (SELECT FROM payments WHERE payments.payment_id = known.payment_id)
        )
        SELECT order_id AS subject, since, string_agg(words, '; ' ORDER BY nth, words) AS detail
        FROM disagreeing JOIN known USING (order_id)
        GROUP BY order_id, since
        """,
    ),
)


async def _find(connection: Transaction) -> tuple[list[Finding], int]:
    findings: list[Finding] = []
    total = 0
    for check in CHECKS:
        rows = await connection.fetch(
            f"SELECT *, count(*) OVER () AS in_all FROM ({check.query}) AS found ORDER BY since, subject LIMIT {MOST}",  # noqa: S608  # ours
            timeout=SECONDS,
        )
        total += rows[0]["in_all"] if rows else 0
        findings += [
            Finding(kind=check.kind, subject=row["subject"], detail=check.detail(row), since=row["since"])
            for row in rows
        ]
    return findings[:MOST], total


async def _keep(connection: Transaction, started_at: datetime, findings: Sequence[Finding], total: int) -> Report:
    row = await connection.fetchrow(
        """
        INSERT INTO reconciliations (started_at, finished_at, total, findings, checked)
        SELECT $1, clock_timestamp(), $2, $3, to_jsonb(counted) FROM (
            SELECT (SELECT count(*) FROM books) AS payments, (SELECT count(*) FROM orders) AS orders,
                   (SELECT count(*) FROM journal) AS events, (SELECT count(*) FROM stock) AS skus
        ) AS counted
        RETURNING *
        """,
        started_at,
        total,
        [finding.model_dump(mode="json") for finding in findings],
        timeout=SECONDS,
    )
    assert row
    return Report(**row)
