"""Who is carried by which workflow, with which version of the table, and what waits for a person."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chain.event import Event
from orders.events import (
    OrderParked,
    OrderRejected,
    OrderReleased,
    OrderWithdrawn,
    PaymentArrivedLate,
    PaymentConfirmed,
    PaymentPending,
    PriceChanged,
)
from orders.order import Order
from store.database import Pool, connected
from store.dispatch import mark_dispatched, pending_work, take, take_oldest, taken_before, taken_with
from store.operations import Compensation, Operations, WantedParkings
from store.overview import Overview
from tests.shop import accept, an_order, fetch, paid, the_journal, untyped

BACK = Compensation("orders", ["refund"], ["late-refund"])
PARKING = {"link": "cart", "reason": "key_error", "attempts": 3, "last_error": "KeyError"}
WITHDRAWAL = {"reason": "cancelled_by_customer", "detail": "", "by": "shop"}
REFUSAL = {"reason": "price_changed", "detail": ""}


async def dispatched(pool: Pool, *orders: Order, version: int = 1) -> None:
    """Takes what waits, tells nobody, and marks it."""
    async with connected(pool) as connection:
        batch = await take_oldest(
            connection,
            size=len(orders),
            max_bytes=500_000,
            workflow_id=lambda _, subjects: f"batch-{subjects[0]}",
            versions={"orders": version},
        )
        assert batch
        assert batch.version == version
        await mark_dispatched(connection, batch)


async def told(pool: Pool, kind: type[Event[Any]], order: Order, data: Any, link: str = "cart", **of: Any) -> str:
    event = untyped(kind.made_by(link, order.order_id, datetime.now(UTC), data)).model_copy(update=of)
    await the_journal(pool).append([event])
    return event.id


async def parked(pool: Pool, **asked: Any) -> list[str]:
    return [each.id for each in (await Operations(pool, BACK).parked(WantedParkings(**asked), limit=9)).parked]


async def test_the_version_is_written_when_an_order_is_taken_and_stays(pool: Pool) -> None:
    waits, batched, alone = orders = [an_order(cup=1) for _ in range(3)]
    await accept(pool, *orders)
    async with connected(pool) as connection:
        await take(connection, [alone.order_id], f"order-{alone.order_id}", 7)
        await take(connection, [alone.order_id], "another", 8)
    await dispatched(pool, waits, batched, version=3)

    kept = await fetch(pool, "SELECT subject, version FROM subjects ORDER BY version")
    assert [(row["version"], row["subject"]) for row in kept] == [
        (3, waits.order_id), (3, batched.order_id), (7, alone.order_id)
    ]  # fmt: skip
    async with connected(pool) as connection:
        again = await taken_before(connection, ["orders"])
        assert again
        assert (again.version, again.workflow_id, again.again) == (7, f"order-{alone.order_id}", True)
        assert (await taken_with(connection, waits.order_id)).version == 3
    carried = await Operations(pool, BACK).carried(alone.order_id)
    assert carried
    assert (carried.version, carried.status, carried.ended) == (7, "received", False)


@pytest.mark.parametrize(
    ("kind", "data", "holds"),
    [
        (None, {}, True),
        (PaymentConfirmed, {}, True),
        (PaymentPending, {}, False),
        (OrderParked, PARKING, False),
        (OrderRejected, REFUSAL, False),
    ],
)
async def test_a_batch_holds_a_place_while_its_orders_are_on_their_way(
    pool: Pool, kind: type[Event[Any]] | None, data: dict[str, Any], *, holds: bool
) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    await dispatched(pool, order)
    if kind is PaymentConfirmed:
        data = {"order": order, "payment": paid(order)}
    elif kind is PaymentPending:
        data = {"order": order, "deadline": datetime.now(UTC)}
    if kind:
        await told(pool, kind, order, data, "payment")
    async with connected(pool) as connection:
        pending = await pending_work(connection, chains=["orders"], size=100, stuck_after=timedelta(minutes=1))
        late = await pending_work(connection, chains=["orders"], size=100, stuck_after=timedelta(0))
    assert list(pending.on_the_way) == ([f"batch-{order.order_id}"] if holds else [])
    assert list(late.on_the_way) == []


async def test_each_parking_of_an_order_is_released_by_itself_and_its_withdrawal_ends_all(pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    await dispatched(pool, order)
    cart = await told(pool, OrderParked, order, PARKING, id=f"{order.order_id}.cart.parked.1")
    again = await told(pool, OrderParked, order, PARKING, id=f"{order.order_id}.cart.parked.2")
    price = await told(pool, OrderParked, order, PARKING | {"link": "price"}, "price")
    assert await parked(pool) == [cart, again, price]
    assert await parked(pool, parking=again) == [again]
    assert await parked(pool, links=["price"], subject=order.order_id) == [price]
    assert await parked(pool, reason="other") == []

    await told(pool, OrderReleased, order, {"link": "cart", "by": "ann", "why": "mended"}, id=f"{cart}.released")
    assert await parked(pool) == [again, price]
    await told(pool, OrderWithdrawn, order, WITHDRAWAL, "withdrawal")
    assert await parked(pool) == []


async def test_money_that_came_late_is_owed_until_it_is_answered(pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    await dispatched(pool, order)
    await told(pool, PriceChanged, order, REFUSAL, "price")
    await fetch(
        pool, "INSERT INTO payments VALUES ('twin', $1, $2, 250, 'EUR', 'held')", order.payment_id, order.order_id
    )
    owed = await Operations(pool, BACK).refunds()
    assert [(each.order_id, each.amount, each.reason, each.late) for each in owed] == [
        (order.order_id, 250, "price_changed", False)
    ]
    await fetch(pool, "INSERT INTO claims (subject, link) VALUES ($1, 'refund')", order.order_id)
    assert await Operations(pool, BACK).refunds() == []

    await told(pool, OrderRejected, order, REFUSAL, "reject")
    await told(pool, PaymentArrivedLate, order, {"payment_id": order.payment_id}, "late")
    owed = await Operations(pool, BACK).refunds()
    assert [(each.reason, each.late) for each in owed] == [("price_changed", True)]
    (group,) = await Overview(pool, moves_within=timedelta(0), compensation=BACK).groups()
    assert (group.chain, group.version, group.ended, group.subjects, group.owed) == ("orders", 1, True, 1, 1)
    assert "lanka.PaymentArrivedLate" in group.types
    await fetch(pool, "INSERT INTO claims (subject, link) VALUES ($1, 'late-refund')", order.order_id)
    assert await Operations(pool, BACK).refunds() == []
    assert await Overview(pool, moves_within=timedelta(0), compensation=BACK).groups() == []
