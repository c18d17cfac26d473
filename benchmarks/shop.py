"""The shop that all systems sell for, and its customers' orders: 5 lines of 1,000 SKUs unless told otherwise."""

import random
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from lanka.schemas import migrate
from sandbox.ledger import Payment, Status
from store.seed import seed

SKUS = 1_000
ON_HAND = 1_000_000_000
LINES = 5
CURRENCY = "EUR"
KEYS = {"shop": "shop-key-of-the-benchmark", "operator": "operator-key-of-the-benchmark"}


class Wanted(NamedTuple):
    """What one customer sends. The idempotency key is the payment's id."""

    payment_id: str
    body: dict[str, Any]

    @property
    def total(self) -> int:
        return sum(line["quantity"] * line["unit_price"] for line in self.body["lines"])


class Shop:
    """`prices` is SKU -> price of one. What is wanted follows from the seed: every run wants the same."""

    def __init__(self, prices: dict[str, int], payments: Path) -> None:
        self._prices = prices
        self._skus = sorted(prices)
        self._payments = payments
        self._dice = random.Random(20_260_101)  # noqa: S311, nothing is secret
        self._made = 0

    def orders(
        self, number: int, *, lines: int = LINES, hot: bool = False, outcome: str = "authorized"
    ) -> list[Wanted]:
        """Orders that have been paid at the provider. `hot`: all of them want the first SKU, among others."""
        wanted = [self._order(lines, hot) for _ in range(number)]
        _pay(self._payments, wanted, Status(outcome))
        return wanted

    def _order(self, lines: int, hot: bool) -> Wanted:
        self._made += 1
        payment_id = f"pay_{self._made:08}"
        chosen = self._dice.sample(self._skus[1:], lines)
        if hot:
            chosen[0] = self._skus[0]
        body = {
            "customer_id": f"cus_{self._dice.randrange(10_000)}",
            "payment_id": payment_id,
            "currency": CURRENCY,
            "lines": [
                {"sku": sku, "quantity": self._dice.randint(1, 3), "unit_price": self._prices[sku]} for sku in chosen
            ],
        }
        return Wanted(payment_id, body)


async def furnish(database_url: str) -> dict[str, int]:
    """Makes the tables, the catalogue and the API keys; returns the prices."""
    await migrate(database_url)
    await seed(database_url, skus=SKUS, stock=ON_HAND, keys=KEYS)
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT sku, unit_price FROM prices")
    finally:
        await connection.close()
    return {row["sku"]: row["unit_price"] for row in rows}


def _pay(ledger: Path, orders: Sequence[Wanted], status: Status) -> None:
    """Writes the payments into the books of the running provider: over HTTP thousands would take minutes."""
    now = datetime.now(UTC)
    payments = [
        Payment(id=order.payment_id, status=status, amount=order.total, currency=CURRENCY, created_at=now)
        for order in orders
    ]
    with sqlite3.connect(ledger, timeout=10) as books:
        books.executemany(
            "INSERT INTO payments (id, payment) VALUES (?, ?)",
            [(payment.id, payment.model_dump_json()) for payment in payments],
        )
    books.close()


async def fill(database_url: str, ended: int) -> None:
    """Puts orders that ended long ago into the tables: seven rows each in six of them, as if all had gone well."""
    connection = await asyncpg.connect(database_url)
    try:
        # Nothing of this is measured: no waiting for the disk, no checks of foreign keys.
        await connection.execute("SET synchronous_commit = off; SET session_replication_role = replica")
        for first in range(1, ended + 1, FILLED_AT_ONCE):
            await connection.execute(_FILL.format(first=first, last=min(first + FILLED_AT_ONCE - 1, ended)))
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


FILLED_AT_ONCE = 50_000

_FILL = """
    WITH old AS MATERIALIZED (
        SELECT 'old' || lpad(nth::text, 13, '0') AS id, nth, now() - interval '90 days' + nth * interval '3 s' AS at,
               jsonb_build_array(
                   jsonb_build_object('sku', 'SKU-0100', 'quantity', 1, 'unit_price', 2975),
                   jsonb_build_object('sku', 'SKU-0200', 'quantity', 2, 'unit_price', 2975),
                   jsonb_build_object('sku', 'SKU-0300', 'quantity', 1, 'unit_price', 2975),
                   jsonb_build_object('sku', 'SKU-0400', 'quantity', 3, 'unit_price', 2975),
                   jsonb_build_object('sku', 'SKU-0500', 'quantity', 1, 'unit_price', 2975)
               ) AS lines
        FROM generate_series({first}, {last}) AS nth
    ), subjects AS (
        INSERT INTO subjects
            (subject, chain, status, received_at, workflow_id, taken_at, dispatched_at, ended_at)
        SELECT id, 'orders', 'confirmed', at, 'order-' || id, at, at, at + interval '1 s' FROM old
    ), orders AS (
        INSERT INTO orders
            (order_id, customer_id, payment_id, currency, lines, total, received_at, order_number)
        SELECT id, 'cus_' || nth % 10000, 'pay_' || id, 'EUR', lines, 23800, at, 'O' || nth FROM old
    ), keys AS (
        INSERT INTO idempotency_keys (owner, key, fingerprint, subject)
        SELECT 'shop:old', 'pay_' || id, sha256(id::bytea), id FROM old
    ), payments AS (
        INSERT INTO payments (provider, payment_id, order_id, amount, currency, state)
        SELECT 'sandbox', 'pay_' || id, id, 23800, 'EUR', 'captured' FROM old
    ), outbox AS (
        INSERT INTO outbox (subject, type, data)
        SELECT id, 'lanka.OrderConfirmed', jsonb_build_object('order_number', 'O' || nth) FROM old
    )
    INSERT INTO journal (source, id, type, subject, time, data)
    SELECT '/lanka/intake', id || '.intake', 'lanka.OrderReceived', id, at,
           jsonb_build_object('order', jsonb_build_object('order_id', id, 'lines', lines, 'total', 23800)) FROM old
    UNION ALL
    SELECT '/lanka/finalize', id || '.finalize', 'lanka.OrderConfirmed', id, at + interval '1 s',
           jsonb_build_object('order_number', 'O' || nth, 'total', 23800) FROM old
"""
