"""The steps of one order as a careful handler writes them: one or two statements each, on Lanka's own tables.

No journal and no claims: those keep promises that a handler does not make. SKUs are locked in one order.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from api.orders import OrderRequest
from orders.order import Order, new_order_id
from orders.payment import Payment, PaymentStatus

OWNER = "shop"


class Statements(Protocol):
    """What runs SQL: a connection of asyncpg, or its like over another driver."""

    async def fetch(self, query: str, /, *values: Any) -> Sequence[Any]: ...
    async def fetchrow(self, query: str, /, *values: Any) -> Any: ...
    async def fetchval(self, query: str, /, *values: Any) -> Any: ...


class RefusedError(Exception):
    """The order cannot be confirmed."""


def received(wanted: OrderRequest) -> Order:
    return Order(received_at=datetime.now(UTC), **dict(wanted.with_id(new_order_id())))


async def first_time(tx: Statements, order: Order, step: str) -> bool:
    """Whether the step was not done before. For those whose steps may be repeated."""
    claimed = "INSERT INTO claims (subject, link) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING subject"
    return await tx.fetchval(claimed, order.order_id, step) is not None


async def accept(tx: Statements, order: Order, key: str, fingerprint: bytes) -> str | None:
    """Stores the key and the order; the id of the order that had the key before, or None."""
    fresh = await tx.fetchval(
        """
        WITH kept AS (
            INSERT INTO idempotency_keys (owner, key, fingerprint, subject) VALUES ($1, $2, $3, $4)
            ON CONFLICT (owner, key) DO NOTHING RETURNING subject
        ), subject AS (
            INSERT INTO subjects (subject, chain, status, received_at)
            SELECT subject, 'orders', 'processing', $5 FROM kept
        ), ordered AS (
            INSERT INTO orders (order_id, customer_id, payment_id, currency, lines, total, received_at)
            SELECT subject, $6, $7, $8, $9::text::jsonb, $10, $5 FROM kept
        )
        SELECT subject FROM kept
        """,
        OWNER,
        key,
        fingerprint,
        order.order_id,
        order.received_at,
        order.customer_id,
        order.payment_id,
        order.currency,
        json.dumps([line.model_dump() for line in order.lines]),
        order.total,
    )
    if fresh:
        return None
    first = await tx.fetchrow(
        "SELECT subject, fingerprint FROM idempotency_keys WHERE owner = $1 AND key = $2", OWNER, key
    )
    if first is None or first["fingerprint"] != fingerprint:
        raise RefusedError("the key belongs to another order")
    return str(first["subject"])


async def claim_payment(tx: Statements, order: Order, payment: Payment | None) -> None:
    if payment is None or payment.status is not PaymentStatus.AUTHORIZED:
        raise RefusedError("not paid")
    if (payment.amount, payment.currency) != (order.total, order.currency):
        raise RefusedError("another sum was paid")
    claimed = await tx.fetchval(
        """
        INSERT INTO payments (order_id, provider, payment_id, amount, currency, state)
        VALUES ($1, $2, $3, $4, $5, 'held') ON CONFLICT DO NOTHING RETURNING order_id
        """,
        order.order_id,
        payment.provider,
        payment.payment_id,
        payment.amount,
        payment.currency,
    )
    if claimed is None:
        raise RefusedError("the payment serves another order")


async def reserve_stock(tx: Statements, order: Order) -> None:
    wanted = order.quantities()
    reserved = await tx.fetchval(
        """
        WITH wanted AS (
            SELECT * FROM unnest($2::text[], $3::bigint[]) AS wanted (sku, quantity)
        ), locked AS (
            SELECT sku FROM stock WHERE sku = ANY($2::text[]) ORDER BY sku FOR UPDATE
        ), reserved AS (
            UPDATE stock SET reserved = reserved + wanted.quantity
            FROM locked JOIN wanted USING (sku)
            WHERE stock.sku = locked.sku AND stock.on_hand - stock.reserved >= wanted.quantity
            RETURNING stock.sku, wanted.quantity
        ), held AS (
            INSERT INTO reservations (order_id, sku, quantity) SELECT $1, sku, quantity FROM reserved RETURNING sku
        )
        SELECT count(*) FROM held
        """,
        order.order_id,
        list(wanted),
        list(wanted.values()),
    )
    if reserved != len(wanted):
        raise RefusedError("out of stock")


async def check_prices(tx: Statements, order: Order) -> None:
    rows = await tx.fetch(
        """
        SELECT asked.sku, price.unit_price, price.currency FROM unnest($1::text[]) AS asked (sku)
        CROSS JOIN LATERAL (
            SELECT unit_price, currency FROM prices WHERE prices.sku = asked.sku AND prices.valid_from <= $2
            ORDER BY valid_from DESC LIMIT 1
        ) AS price
        """,
        list(order.quantities()),
        order.received_at,
    )
    prices = {row["sku"]: (row["unit_price"], row["currency"]) for row in rows}
    if any(prices.get(line.sku) != (line.unit_price, order.currency) for line in order.lines):
        raise RefusedError("the price has changed")


async def finalise(tx: Statements, order: Order, payment: Payment) -> str:
    """After the capture: reservations become sales, the order gets its number, the customer's message is put."""
    if payment.status is not PaymentStatus.CAPTURED or payment.captured_amount != order.total:
        raise RefusedError("the money could not be taken")
    await tx.fetch(
        """
        WITH locked AS (
            SELECT sku FROM stock WHERE sku = ANY($2::text[]) ORDER BY sku FOR UPDATE
        ), sold AS (
            UPDATE reservations SET state = 'sold' WHERE order_id = $1 AND state = 'held' RETURNING sku, quantity
        )
        UPDATE stock SET reserved = reserved - sold.quantity, on_hand = on_hand - sold.quantity
        FROM locked JOIN sold USING (sku) WHERE stock.sku = locked.sku
        """,
        order.order_id,
        list(order.quantities()),
    )
    number = await tx.fetchval(
        """
        WITH numbered AS (
            UPDATE orders SET order_number = 'L' || lpad(nextval('order_numbers')::text, 8, '0')
            WHERE order_id = $1 AND order_number IS NULL RETURNING order_number
        ), paid AS (
            UPDATE payments SET state = 'captured' WHERE order_id = $1
        ), ended AS (
            UPDATE subjects SET status = 'confirmed', ended_at = now() WHERE subject = $1
        ), told AS (
            INSERT INTO outbox (subject, type, data)
            SELECT $1, 'lanka.OrderConfirmed', $2::text::jsonb || jsonb_build_object('order_number', order_number)
            FROM numbered
        )
        SELECT order_number FROM numbered
        """,
        order.order_id,
        json.dumps(
            {
                "customer_id": order.customer_id,
                "payment_id": order.payment_id,
                "total": order.total,
                "currency": order.currency,
            }
        ),
    )
    return str(number)
