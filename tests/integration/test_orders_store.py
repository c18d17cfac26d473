import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from chain.event import Event
from orders.events import CartUnavailable, OrderConfirmed, PaymentConfirmed, PriceConfirmed
from orders.order import Line, Order, new_order_id
from orders.words import Reason, Status
from store.database import Pool, transaction
from store.journal import record
from store.orders import Accepted, KeyReused, Orders
from tests.shop import the_journal
from workflows.chains import TYPES
from workflows.order_confirmation import TABLE

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def order(order_id: str | None = None, *, customer_id: str = "cus_1") -> Order:
    return Order(
        order_id=order_id or new_order_id(),
        customer_id=customer_id,
        payment_id="pay_1",
        currency="EUR",
        lines=(Line(sku="MUG", quantity=2, unit_price=1350), Line(sku="TEA", quantity=1, unit_price=690)),
        total=3390,
        received_at=NOON,
    )


async def accept(pool: Pool, wanted: Order, *, key: str | None = None, fingerprint: bytes = b"same") -> Accepted:
    return await Orders(pool, TABLE).accept(wanted, owner="shop:1", key=key or wanted.order_id, fingerprint=fingerprint)


async def counts(pool: Pool) -> dict[str, int]:
    tables = ("orders", "subjects", "journal", "idempotency_keys")
    return {table: await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


async def told(pool: Pool, *events: Event[Any]) -> None:
    async with transaction(pool) as tx:
        await record(tx, events, TYPES)


def refused(order_id: str, at: datetime) -> CartUnavailable:
    return CartUnavailable.made_by("cart", order_id, at, {"reason": Reason.OUT_OF_STOCK, "detail": "no mugs left"})


def paid(wanted: Order, at: datetime) -> PaymentConfirmed:
    payment = {
        "provider": "sandbox", "payment_id": "pay_1", "status": "captured", "amount": wanted.total, "currency": "EUR"
    }  # fmt: skip
    return PaymentConfirmed.made_by("payment", wanted.order_id, at, {"order": wanted, "payment": payment})


async def test_an_accepted_order_is_stored_with_its_first_event(pool: Pool) -> None:
    wanted = order()
    before = await pool.fetchval("SELECT now()")
    assert await accept(pool, wanted) == Accepted(wanted.order_id, replayed=False)
    (event,) = await the_journal(pool).of(wanted.order_id)
    at = event.time
    assert (event.type, event.source) == ("lanka.OrderReceived", "/lanka/intake")
    assert before < at < await pool.fetchval("SELECT now()"), "whatever this host's clock says"
    assert await pool.fetchval("SELECT received_at FROM subjects JOIN orders USING (received_at)") == at
    assert Order.model_validate(event.data["order"]) == wanted.model_copy(update={"received_at": at})
    known = await Orders(pool, TABLE).find(wanted.order_id)
    assert known
    assert (known.status, known.links_at, known.stage, known.reason) == (
        Status.RECEIVED,
        ("received",),
        "dispatch",
        None,
    )
    assert (known.lines, known.total, known.updated_at) == (wanted.lines, 3390, at)


async def test_the_same_request_a_hundred_times_at_once_makes_one_order(pool: Pool) -> None:
    answers = await asyncio.gather(*(accept(pool, order(), key="one") for _ in range(100)))
    assert len({answer.order_id for answer in answers}) == 1
    assert [answer.replayed for answer in answers].count(False) == 1
    assert set((await counts(pool)).values()) == {1}


async def test_a_key_serves_one_request(pool: Pool) -> None:
    await accept(pool, order(), key="one", fingerprint=b"first")
    with pytest.raises(KeyReused):
        await accept(pool, order(), key="one", fingerprint=b"second")
    assert set((await counts(pool)).values()) == {1}


async def test_two_shops_may_use_the_same_key(pool: Pool) -> None:
    first, second = order("order1"), order("order2")
    await Orders(pool, TABLE).accept(first, owner="shop:1", key="one", fingerprint=b"1")
    await Orders(pool, TABLE).accept(second, owner="shop:2", key="one", fingerprint=b"2")
    assert (await counts(pool))["orders"] == 2


async def test_nothing_is_kept_of_an_order_that_could_not_be_stored(pool: Pool) -> None:
    broken = order().model_copy(update={"total": 0})
    with pytest.raises(asyncpg.CheckViolationError):
        await accept(pool, broken)
    assert set((await counts(pool)).values()) == {0}


async def test_an_order_shows_where_it_stands_and_since_when(pool: Pool) -> None:
    wanted = order()
    await accept(pool, wanted)
    await pool.execute("UPDATE subjects SET workflow_id = 'w', taken_at = now(), dispatched_at = now()")
    later = datetime.now(UTC) + timedelta(days=1)
    await told(pool, paid(wanted, NOON), refused(wanted.order_id, later))
    known = await Orders(pool, TABLE).find(wanted.order_id)
    assert known
    assert (known.status, known.stage, known.reason) == (Status.PROCESSING, "cart", Reason.OUT_OF_STOCK)
    assert known.updated_at == later


async def test_a_confirmed_order_has_its_number(pool: Pool) -> None:
    wanted = order()
    await accept(pool, wanted)
    async with transaction(pool) as tx:
        number = (await Orders(pool, TABLE).number(tx, [wanted.order_id]))[wanted.order_id]
        end = {
            "order_number": number, "customer_id": "cus_1", "payment_id": "pay_1", "total": 3390, "currency": "EUR"
        }  # fmt: skip
        price = PriceConfirmed.made_by("price", wanted.order_id, NOON, {"total": 3390, "currency": "EUR"})
        await record(tx, [price, OrderConfirmed.made_by("finalize", wanted.order_id, NOON, end)], TYPES)
    known = await Orders(pool, TABLE).find(wanted.order_id)
    assert known
    assert (known.status, known.order_number) == (Status.CONFIRMED, number)


async def test_orders_are_listed_newest_first_page_by_page(pool: Pool) -> None:
    for nth in range(5):
        await accept(pool, order(f"order{nth}"))
    orders = Orders(pool, TABLE)
    first = await orders.newest(limit=3)
    assert [known.order_id for known in first] == ["order4", "order3", "order2"]
    assert [known.order_id for known in await orders.newest(before="order2", limit=3)] == ["order1", "order0"]


async def test_orders_are_listed_by_status_and_customer(pool: Pool) -> None:
    for nth, customer in enumerate(["cus_1", "cus_2", "cus_1"]):
        await accept(pool, order(f"order{nth}", customer_id=customer))
    await told(pool, paid(order("order2"), NOON))
    orders = Orders(pool, TABLE)
    assert [known.order_id for known in await orders.newest(customer_id="cus_1", limit=9)] == ["order2", "order0"]
    assert [known.order_id for known in await orders.newest(status=Status.RECEIVED, limit=9)] == ["order1", "order0"]
    both = await orders.newest(status=Status.RECEIVED, customer_id="cus_1", before="order2", limit=9)
    assert [known.order_id for known in both] == ["order0"]


async def test_nobody_knows_an_order_that_was_never_sent(pool: Pool) -> None:
    assert await Orders(pool, TABLE).find("nosuchorder") is None
