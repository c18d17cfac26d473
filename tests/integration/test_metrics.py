"""`GET /metrics`: where everything stands, from PostgreSQL, and what a worker has counted."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from chain.batch import Work
from chain.event import AnyEvent, Event
from chain.subject import Parked
from orders.events import (
    OrderConfirmed,
    OrderParked,
    OrderReceived,
    OrderRejected,
    PaymentConfirmed,
    PaymentDeclined,
    PaymentPending,
    PriceConfirmed,
    StockReserved,
)
from orders.order import Order
from store.database import Pool, connected, open_pool
from store.dispatch import lead
from store.payments import Payments
from support.events import SupportCallStarted
from telemetry import exposition
from telemetry.exposition import Exposition
from telemetry.metrics import CountedJournal
from tests.servers import free_port
from tests.shop import accept, an_order, at, fetch, paid, payment_confirmed, the_journal, untyped
from workflows.chains import TYPES

Samples = dict[tuple[str, ...], float]
"""By name and the values of the labels, in the order of the labels' names."""


async def told(pool: Pool) -> Samples:
    """What a process that has just started says."""
    return read((await Exposition(pool).text()).decode())


def read(text: str) -> Samples:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def goes_on(pool: Pool, link: str, order: Order, kind: type[Event[Any]], data: Any) -> None:
    """The link makes an event of the order."""

    async def decide(work: Work, events: Sequence[Any]) -> list[Event[Any]]:
        return [work.made(kind, event, data) for event in events]

    given = untyped(OrderReceived.made_by("intake", order.order_id, order.received_at, {"order": order}))
    await the_journal(pool).process_once(at(link), [given], decide)


async def dispatched(pool: Pool, *orders: Order) -> None:
    await accept(pool, *orders)
    for order in orders:
        await fetch(
            pool,
            """
            UPDATE subjects SET workflow_id = $1, taken_at = now(), dispatched_at = now(), version = 1
            WHERE subject = $2
            """,
            f"order-{order.order_id}",
            order.order_id,
        )


async def test_an_order_waits_at_each_stage_in_turn(pool: Pool) -> None:
    order = an_order(cup=1)

    async def stage() -> tuple[str, ...]:
        ((_, chain, *labels),) = [each for each in await told(pool) if each[0] == "lanka_waiting"]
        assert chain == "orders"
        return tuple(labels)

    await accept(pool, order)
    assert await stage() == ("dispatch", "received")
    await fetch(pool, "UPDATE subjects SET workflow_id = 'w', taken_at = now(), dispatched_at = now(), version = 1")
    assert await stage() == ("payment", "processing")
    await goes_on(pool, "payment", order, PaymentPending, {"order": order, "deadline": datetime.now(UTC)})
    assert await stage() == ("payment", "awaiting_payment")
    await goes_on(pool, "settlement", order, PaymentConfirmed, {"order": order, "payment": paid(order)})
    await goes_on(pool, "cart", order, StockReserved, {"reservations": ()})
    assert await stage() == ("price", "processing")
    await goes_on(pool, "price", order, PriceConfirmed, {"total": 250, "currency": "EUR"})
    assert await stage() == ("finalize", "processing"), "the router has joined the two and journals it later"
    ended = {"order_number": "L1", "customer_id": "c", "payment_id": "p", "total": 250, "currency": "EUR"}
    await goes_on(pool, "finalize", order, OrderConfirmed, ended)
    assert [each for each in await told(pool) if each[0] == "lanka_waiting"] == []


async def test_on_the_way_back_both_links_wait_and_then_the_last(pool: Pool) -> None:
    order = an_order(cup=1)
    await dispatched(pool, order)
    await goes_on(pool, "payment", order, PaymentDeclined, {"reason": "payment_declined", "detail": "no"})

    async def waiting() -> set[tuple[str, ...]]:
        return {each[1:] for each in await told(pool) if each[0] == "lanka_waiting"}

    assert await waiting() == {("orders", "cart", "processing"), ("orders", "payment", "processing")}
    await fetch(pool, "INSERT INTO claims VALUES ($1, 'release'), ($1, 'refund')", order.order_id)
    assert await waiting() == {("orders", "finalize", "processing")}


async def test_the_oldest_is_as_old_as_its_last_step(pool: Pool) -> None:
    now = datetime.now(UTC)
    old, older = (an_order(cup=1).model_copy(update={"received_at": now - timedelta(hours=h)}) for h in (1, 3))
    await accept(pool, old)
    await dispatched(pool, older)
    paid_now = an_order(cup=1).model_copy(update={"received_at": now - timedelta(hours=5)})
    await dispatched(pool, paid_now)
    await goes_on(pool, "payment", paid_now, PaymentConfirmed, {"order": paid_now, "payment": paid(paid_now)})

    samples = await told(pool)

    hours = {labels: round(value / 3600) for labels, value in samples.items() if labels[0] == "lanka_oldest_seconds"}
    assert hours == {
        ("lanka_oldest_seconds", "orders", "dispatch", "received"): 1,
        ("lanka_oldest_seconds", "orders", "payment", "processing"): 3,
        ("lanka_oldest_seconds", "orders", "cart", "processing"): 0,
        ("lanka_oldest_seconds", "orders", "price", "processing"): 0,
    }
    assert round(samples["lanka_dispatch_lag_seconds",] / 3600) == 1


async def test_parked_orders_are_counted_by_stage_and_reason(pool: Pool) -> None:
    orders = [an_order(cup=1) for _ in range(3)]
    await dispatched(pool, *orders)
    for order, reason in zip(orders, ("a_bug", "a_bug", "unexpected_answer"), strict=True):
        why = {"link": "payment", "reason": reason, "attempts": 3, "last_error": "oh"}
        await the_journal(pool).append(
            [untyped(OrderParked.made_by("payment.parked.1", order.order_id, order.received_at, why))]
        )

    samples = await told(pool)

    assert samples["lanka_parked", "orders", "a_bug", "payment"] == 2
    assert samples["lanka_parked", "orders", "unexpected_answer", "payment"] == 1
    assert samples["lanka_waiting", "orders", "payment", "parked"] == 3


async def test_what_is_parked_counts_under_its_own_chain_and_nowhere_else(pool: Pool) -> None:
    order, now = an_order(cup=1), datetime.now(UTC)
    await dispatched(pool, order)
    call = SupportCallStarted.made_by("pbx", "call_1", now, {"customer_id": "c", "language": "et", "skill": "orders"})
    await fetch(
        pool,
        """
        INSERT INTO subjects (subject, chain, status, version, received_at, workflow_id, taken_at, dispatched_at)
        VALUES ('call_1', 'support', 'received', 1, now(), 'call-1', now(), now())
        """,
    )
    why = {"reason": "a_bug", "attempts": 3, "last_error": "oh"}
    await the_journal(pool).append(
        [
            untyped(call),
            untyped(Parked.made_by("assign.parked.1", "call_1", now, why | {"link": "assign"})),
            untyped(Parked.made_by("assign.parked.2", "call_1", now, why | {"link": "assign"})),
            untyped(OrderParked.made_by("refund.parked.1", order.order_id, now, why | {"link": "refund"})),
        ]
    )

    parked = {labels[1:]: number for labels, number in (await told(pool)).items() if labels[0] == "lanka_parked"}

    assert parked == {("orders", "a_bug", "payment"): 1, ("support", "a_bug", "support"): 2}


async def test_refunds_owed_are_counted_with_their_money(pool: Pool) -> None:
    order = an_order(cup=2)
    await dispatched(pool, order)
    async with connected(pool) as connection:
        await Payments(pool).claim(connection, {order.order_id: paid(order)})
    assert ("lanka_refunds_owed", "EUR") not in await told(pool)

    began = datetime.now(UTC)
    await goes_on(pool, "payment", order, PaymentDeclined, {"reason": "payment_amount_mismatch", "detail": "no"})

    samples = await told(pool)
    assert samples["lanka_refunds_owed", "EUR"] == 1
    assert samples["lanka_refunds_owed_minor_units", "EUR"] == 500
    assert 0 <= samples["lanka_refund_owed_oldest_seconds",] <= (datetime.now(UTC) - began).total_seconds()


async def test_it_says_whether_somebody_dispatches(pool: Pool) -> None:
    assert (await told(pool))["lanka_dispatcher_leads",] == 0
    async with connected(pool) as connection:
        assert await lead(connection)
        assert (await told(pool))["lanka_dispatcher_leads",] == 1


async def test_the_last_reconciliation_is_told_once_there_was_one(pool: Pool) -> None:
    assert ("lanka_reconciliation_discrepancies",) not in await told(pool)
    began = datetime.now(UTC).timestamp()
    for total in (7, 2):
        await fetch(pool, "INSERT INTO reconciliations VALUES (DEFAULT, now(), now(), '{}', $1, '[]')", total)

    samples = await told(pool)

    assert samples["lanka_reconciliation_discrepancies",] == 2
    assert began <= samples["lanka_reconciliation_timestamp_seconds",] <= datetime.now(UTC).timestamp()


async def test_a_hundred_scrapes_read_the_database_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "FRESH", 3600)
    one = Exposition(pool)
    before = await one.text()
    await accept(pool, an_order(cup=1))

    after = await asyncio.gather(*(one.text() for _ in range(100)))

    assert "lanka_waiting{" not in before.decode()
    assert not [text for text in after if b"lanka_waiting{" in text]
    assert ("lanka_waiting", "orders", "dispatch", "received") in await told(pool)


async def test_with_the_database_away_it_says_so_and_nothing_else_of_it() -> None:
    async with open_pool(f"postgresql://nobody@127.0.0.1:{free_port()}/none") as pool:
        samples = await told(pool)

    assert samples["lanka_postgresql_up",] == 0
    assert ("lanka_dispatcher_leads",) not in samples


# ---- what a worker has counted -----------------------------------------------------------------------------------


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


async def reject(work: Work, events: Sequence[AnyEvent]) -> list[Event[Any]]:
    return [work.made(OrderRejected, event, {"reason": "out_of_stock", "detail": ""}) for event in events]


async def test_an_end_is_counted_once_however_often_the_consumer_is_called(pool: Pool) -> None:
    why = {"status": "rejected", "reason": "out_of_stock"}
    took = {"link": "reject", "made": "OrderRejected"}
    ends, links = counted("lanka_orders_ended_total", **why), counted("lanka_link_seconds_count", **took)
    events = await accept(pool, an_order(cup=1), an_order(cup=1), an_order(cup=1))

    for some in (events[:1], events, events):
        assert len(await CountedJournal(pool, TYPES).process_once(at("reject"), some, reject)) == len(some)

    assert counted("lanka_orders_ended_total", **why) - ends == 3
    assert counted("lanka_link_seconds_count", **took) - links == 3


async def test_a_link_that_works_on_each_event_is_counted_for_each(pool: Pool) -> None:
    (first,) = await accept(pool, an_order(cup=1))
    second = first.model_copy(update={"id": "another"})
    before = counted("lanka_link_seconds_count", link="cart", made="StockReserved")

    async def reserve(work: Work, events: Sequence[AnyEvent]) -> list[Event[Any]]:
        return [work.made(StockReserved, event, {"reservations": ()}) for event in events]

    made = await CountedJournal(pool, TYPES).process_once(at("cart", each=True), [first, second], reserve)

    assert len({event.id for event in made}) == 2
    assert counted("lanka_link_seconds_count", link="cart", made="StockReserved") - before == 2


async def test_what_is_not_committed_is_not_counted(pool: Pool) -> None:
    why = {"status": "rejected", "reason": "out_of_stock"}
    before = counted("lanka_orders_ended_total", **why)
    events = await accept(pool, an_order(cup=1))

    async def break_the_commit(work: Work, given: Sequence[AnyEvent]) -> list[Event[Any]]:
        await work.transaction.execute("CREATE TEMPORARY TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        await work.transaction.execute("INSERT INTO t VALUES (1), (1)")
        return await reject(work, given)

    with pytest.raises(asyncpg.UniqueViolationError):
        await CountedJournal(pool, TYPES).process_once(at("reject"), events, break_the_commit)

    assert counted("lanka_orders_ended_total", **why) == before


async def test_a_link_takes_from_the_event_it_was_given_to_the_one_it_made(pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    given_at = datetime.now(UTC) - timedelta(seconds=100)
    waited = payment_confirmed(order).model_copy(update={"time": given_at})
    before = counted("lanka_link_seconds_sum", link="cart", made="StockReserved")

    async def reserve(work: Work, events: Sequence[AnyEvent]) -> list[Event[Any]]:
        return [work.made(StockReserved, event, {"reservations": ()}) for event in events]

    await CountedJournal(pool, TYPES).process_once(at("cart"), [waited], reserve)

    seconds = counted("lanka_link_seconds_sum", link="cart", made="StockReserved") - before
    assert 100 <= seconds <= (datetime.now(UTC) - given_at).total_seconds()


async def test_requests_are_told_by_the_pattern_of_their_path(api: httpx.AsyncClient) -> None:
    def requests(route: str, status: int) -> float:
        return counted("lanka_http_request_seconds_count", method="GET", route=route, status=str(status))

    orders, nowhere = requests("/orders/{order_id}", 404), requests("none", 404)
    for nth in range(3):
        await api.get(f"/orders/01aaaaaaaaaaaaa{nth}")
        await api.get(f"/no/such/page/{nth}")

    assert requests("/orders/{order_id}", 404) - orders == 3
    assert requests("none", 404) - nowhere == 3
    answer = await api.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert ("lanka_postgresql_up",) in read(answer.text)
