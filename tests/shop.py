"""A small shop for tests: SKUs with stock and prices, orders put where the intake would put them, a twin provider."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from chain.batch import Batch
from chain.event import AnyEvent, Event
from chain.failures import Failure
from dispatch import dispatcher
from lanka.settings import Dispatch, load_settings
from orders.events import OrderReceived, PaymentConfirmed
from orders.order import Line, Order, new_order_id
from orders.payment import Payment, PaymentStatus
from store.database import Pool, connected, transaction
from store.journal import Journal, record
from workflows.chains import TYPES

PRICE = 250


def running_dispatcher(pool: Pool, wakeup: dispatcher.Wakeup, **other: Any) -> AbstractAsyncContextManager[None]:
    """As the API runs it; `other` stands for what no setting allows."""
    batching = load_settings(Dispatch).of(dispatcher.Batching)
    return dispatcher.running_dispatcher(pool, wakeup, replace(batching, **other))


async def stock_up(pool: Pool, **on_hand: int) -> None:
    """Puts SKUs on sale, at PRICE in EUR since an hour ago: `stock_up(pool, cup=10)`."""
    since = datetime.now(UTC) - timedelta(hours=1)
    async with transaction(pool) as tx:
        for sku, number in on_hand.items():
            await tx.execute("INSERT INTO catalogue (sku, name) VALUES ($1, $1)", sku)
            await tx.execute("INSERT INTO prices VALUES ($1, $2, $3, 'EUR')", sku, since, PRICE)
            await tx.execute("INSERT INTO stock (sku, on_hand) VALUES ($1, $2)", sku, number)


def an_order(payment_id: str | None = None, customer_id: str = "cus_1", **quantities: int) -> Order:
    """`an_order(cup=2)`: an order of two cups at PRICE, paid with a payment of its own unless one is named."""
    order_id = new_order_id()
    lines = [Line(sku=sku, quantity=quantity, unit_price=PRICE) for sku, quantity in quantities.items()]
    return Order(
        order_id=order_id,
        customer_id=customer_id,
        payment_id=payment_id or f"pay_{order_id}",
        currency="EUR",
        lines=tuple(lines),
        total=sum(line.quantity * line.unit_price for line in lines),
        received_at=datetime.now(UTC),
    )


async def accept(pool: Pool, *orders: Order) -> list[AnyEvent]:
    """Puts orders where the intake puts them, oldest first, and returns their OrderReceived."""
    events = [OrderReceived.made_by("intake", o.order_id, o.received_at, {"order": o}) for o in orders]
    async with transaction(pool) as tx:
        for order in orders:
            await tx.execute(
                "INSERT INTO subjects (subject, chain, status, received_at) VALUES ($1, 'orders', 'received', $2)",
                order.order_id,
                order.received_at,
            )
            await tx.execute(
                """
                INSERT INTO orders (order_id, customer_id, payment_id, currency, lines, total, received_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                """,
                order.order_id,
                order.customer_id,
                order.payment_id,
                order.currency,
                [line.model_dump() for line in order.lines],
                order.total,
                order.received_at,
            )
        await record(tx, events, TYPES)
    return [untyped(event) for event in events]


def the_journal(pool: Pool) -> Journal:
    return Journal(pool, TYPES)


def untyped(event: Event[Any]) -> AnyEvent:
    return AnyEvent.model_validate(event.model_dump(mode="json"))


def paid(order: Order, status: PaymentStatus = PaymentStatus.AUTHORIZED) -> Payment:
    return Payment(
        provider="twin", payment_id=order.payment_id, status=status, amount=order.total, currency=order.currency
    )


def payment_confirmed(order: Order) -> AnyEvent:
    data = {"order": order, "payment": paid(order)}
    return untyped(PaymentConfirmed.made_by("payment", order.order_id, datetime.now(UTC), data))


def at(link: str, *, each: bool = False, unrecorded: bool = False, closes: Sequence[str] = ()) -> Batch:
    """For the journal, which is given the events beside it."""
    return Batch(link=link, events=[], each=each, unrecorded=unrecorded, closes=list(closes))


def batch(link: str, events: Sequence[AnyEvent], *, unrecorded: bool = False) -> Batch:
    return Batch(link=link, events=events, unrecorded=unrecorded)


async def fetch(pool: Pool, query: str, *arguments: Any) -> list[dict[str, Any]]:
    async with connected(pool) as connection:
        return [dict(row) for row in await connection.fetch(query, *arguments)]


async def stock_of(pool: Pool, sku: str) -> tuple[int, int]:
    """How many are on hand, and how many of them are reserved."""
    (row,) = await fetch(pool, "SELECT on_hand, reserved FROM stock WHERE sku = $1", sku)
    return row["on_hand"], row["reserved"]


async def journal_of(pool: Pool, order: Order) -> list[str]:
    rows = await fetch(pool, "SELECT type FROM journal WHERE subject = $1 ORDER BY position", order.order_id)
    return [row["type"].removeprefix("lanka.") for row in rows]


class TwinProvider:
    """A payment provider in memory. What is in `failures` is raised instead of an answer."""

    name = "twin"

    def __init__(self, *payments: Payment) -> None:
        self.payments = {payment.payment_id: payment for payment in payments}
        self.failures: dict[str, Failure] = {}
        self.calls: list[tuple[str, str]] = []
        self.keys: set[str] = set()

    async def find(self, payment_id: str, *, timeout: float) -> Payment | None:
        self._note("find", payment_id)
        return self.payments.get(payment_id)

    async def capture(self, payment_id: str, *, key: str, timeout: float) -> Payment:
        self._note("capture", payment_id)
        amount = self.payments[payment_id].amount
        if self.payments[payment_id].status is PaymentStatus.AUTHORIZED:
            self._becomes(payment_id, key, status=PaymentStatus.CAPTURED, captured_amount=amount)
        return self.payments[payment_id]

    async def refund(self, payment_id: str, *, key: str, timeout: float) -> Payment:
        self._note("refund", payment_id)
        captured = self.payments[payment_id].captured_amount
        self._becomes(payment_id, key, status=PaymentStatus.REFUNDED, refunded_amount=captured)
        return self.payments[payment_id]

    def _note(self, call: str, payment_id: str) -> None:
        self.calls.append((call, payment_id))
        if payment_id in self.failures:
            raise self.failures[payment_id]

    def _becomes(self, payment_id: str, key: str, **changes: Any) -> None:
        if key not in self.keys:
            self.keys.add(key)
            self.payments[payment_id] = self.payments[payment_id].model_copy(update=changes)
