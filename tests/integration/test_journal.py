"""The one mechanism for idempotent consumers, on real PostgreSQL."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from chain.batch import Work
from chain.event import AnyEvent, Event
from chain.failures import Outage
from orders.events import CartConfirmed, OrderCancelled, OrderParked, OrderRejected, OrderReleased, StockReserved
from store.database import Pool, connected, open_pool
from store.journal import CHANNEL
from tests.servers import HANGS_AFTER, free_port, until
from tests.shop import (
    accept,
    an_order,
    at,
    fetch,
    journal_of,
    paid,
    payment_confirmed,
    stock_up,
    the_journal,
    untyped,
)

NOTHING: dict[str, Any] = {"reservations": ()}


async def reserve(work: Work, events: Sequence[Event[Any]]) -> list[Event[Any]]:
    return [work.made(StockReserved, event, NOTHING) for event in events]


async def test_a_link_works_on_an_order_once(pool: Pool) -> None:
    events = await accept(pool, an_order(cup=1), an_order(cup=2))
    worked: list[str] = []

    async def decide(work: Work, given: Sequence[AnyEvent]) -> list[Event[Any]]:
        worked.extend(event.subject for event in given)
        return await reserve(work, given)

    first = await the_journal(pool).process_once(at("cart"), events, decide)
    again = await the_journal(pool).process_once(at("cart"), events, decide)

    assert worked == [event.subject for event in events]
    assert again == first
    assert await the_journal(pool).done(at("cart"), events) == {f"{e.subject}.cart" for e in events}


async def test_the_attempt_that_succeeded_is_kept_where_it_was_not_the_first(pool: Pool) -> None:
    late, soon = await accept(pool, an_order(cup=1), an_order(cup=2))
    await the_journal(pool).process_once(at("cart", closes=["price"]), [late], reserve, attempt=7)
    await the_journal(pool).process_once(at("cart"), [late, soon], reserve, attempt=1)

    kept = await fetch(pool, "SELECT subject, link, attempts FROM claims WHERE attempts IS NOT NULL")
    assert kept == [{"subject": late.subject, "link": "cart", "attempts": 7}]


async def test_a_link_may_work_on_each_event_of_an_order_by_itself(pool: Pool) -> None:
    (first,) = await accept(pool, an_order(cup=1))
    second, third = (first.model_copy(update={"id": name}) for name in ("second", "third"))
    worked: list[str] = []

    async def decide(work: Work, given: Sequence[AnyEvent]) -> list[Event[Any]]:
        worked.extend(event.id for event in given)
        return await reserve(work, given)

    journal = the_journal(pool)
    await journal.process_once(at("cart", each=True), [first], decide)
    made = await journal.process_once(at("cart", each=True), [first, second, second], decide)
    assert worked == [first.id, "second"]
    assert [event.id for event in made] == [f"{first.subject}.cart.{name}" for name in (first.id, "second", "second")]
    assert await journal.done(at("cart", each=True), [first, second, third]) == {event.id for event in made}
    assert await journal.done(at("cart"), [third]) == set()

    await journal.process_once(at("reject", closes=["cart"]), [first], reserve)
    assert await journal.process_once(at("cart", each=True), [third], decide) == []
    assert worked == [first.id, "second"]


async def test_two_events_of_one_order_are_worked_on_once_where_the_link_takes_the_order_once(pool: Pool) -> None:
    (first,) = await accept(pool, an_order(cup=1))
    worked: list[str] = []

    async def decide(work: Work, given: Sequence[AnyEvent]) -> list[Event[Any]]:
        worked.extend(event.id for event in given)
        return await reserve(work, given)

    made = await the_journal(pool).process_once(at("cart"), [first, first.model_copy(update={"id": "second"})], decide)
    assert worked == [first.id]
    assert [event.id for event in made] == [f"{first.subject}.cart"] * 2


async def test_a_second_attempt_waits_for_the_first_and_finds_its_event(pool: Pool) -> None:
    events = await accept(pool, *(an_order(cup=1) for _ in range(10)))
    worked: list[str] = []

    async def decide(work: Work, given: Sequence[AnyEvent]) -> list[Event[Any]]:
        worked.extend(event.subject for event in given)
        return await reserve(work, given)

    # Overlapping deliveries, in opposite orders: nobody deadlocks, nobody works twice.
    attempts = await asyncio.gather(
        *(the_journal(pool).process_once(at("cart"), events if n % 2 else events[::-1], decide) for n in range(8))
    )

    assert sorted(worked) == sorted(event.subject for event in events)
    assert all({e.id for e in made} == {f"{e.subject}.cart" for e in events} for made in attempts)


async def test_what_comes_back_is_in_the_order_of_the_batch(pool: Pool) -> None:
    events = await accept(pool, *(an_order(cup=1) for _ in range(5)))
    await the_journal(pool).process_once(at("cart"), events[1:3], reserve)

    made = await the_journal(pool).process_once(at("cart"), events, reserve)

    assert [event.subject for event in made] == [event.subject for event in events]


async def test_an_attempt_that_fails_leaves_nothing_behind(pool: Pool) -> None:
    order = an_order(cup=1)
    events = await accept(pool, order)

    async def fail(work: Work, given: Sequence[AnyEvent]) -> list[Event[Any]]:
        await work.transaction.execute("INSERT INTO catalogue VALUES ('half', 'stored')")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await the_journal(pool).process_once(at("cart"), events, fail)

    assert await fetch(pool, "SELECT * FROM catalogue") == []
    assert await journal_of(pool, order) == ["OrderReceived"]
    assert len(await the_journal(pool).process_once(at("cart"), events, reserve)) == 1


async def test_a_link_with_nothing_to_say_is_done_all_the_same(pool: Pool) -> None:
    events = await accept(pool, an_order(cup=1))
    worked = 0

    async def say_nothing(work: Work, given: Sequence[AnyEvent]) -> list[Event[Any]]:
        nonlocal worked
        worked += 1
        return []

    assert await the_journal(pool).process_once(at("refund"), events, say_nothing) == []
    assert await the_journal(pool).process_once(at("refund"), events, say_nothing) == []
    assert worked == 1


async def test_the_routers_own_event_is_journalled_with_the_one_that_follows_it(pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    joined = CartConfirmed.made_by(
        "checks", order.order_id, order.received_at, {"order": order, "payment": paid(order)}
    )

    for _ in range(2):
        await the_journal(pool).process_once(at("cart", unrecorded=True), [untyped(joined)], reserve)

    assert await journal_of(pool, order) == ["OrderReceived", "CartConfirmed", "StockReserved"]


async def test_an_event_that_comes_again_does_not_move_the_order_again(pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    why = {"link": "cart", "reason": "a_bug", "attempts": 3, "last_error": "oh"}
    parked = untyped(OrderParked.made_by("cart.parked.1", order.order_id, order.received_at, why))
    mended = {"link": "cart", "by": "ann", "why": "mended"}
    released = untyped(OrderReleased.made_by("cart.parked.1.released", order.order_id, order.received_at, mended))

    for event in (parked, released, parked):
        await the_journal(pool).append([event])

    assert await fetch(pool, "SELECT status FROM subjects") == [{"status": "processing"}]
    assert await journal_of(pool, order) == ["OrderReceived", "OrderParked", "OrderReleased"]


async def test_an_event_that_says_what_is_shown_already_writes_no_order(pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    await fetch(pool, "UPDATE subjects SET workflow_id = 'batch', taken_at = now(), dispatched_at = now()")
    written = "SELECT xmin::text AS by FROM subjects"
    before = await fetch(pool, written)

    await the_journal(pool).append([payment_confirmed(order)])

    assert await journal_of(pool, order) == ["OrderReceived", "PaymentConfirmed"]
    assert await fetch(pool, written) == before


async def test_an_end_event_ends_the_order_and_tells_whoever_listens(pool: Pool) -> None:
    order = an_order(cup=1)
    events = await accept(pool, order)
    heard: list[str] = []

    async def reject(work: Work, given: Sequence[AnyEvent]) -> list[Event[Any]]:
        return [work.made(OrderRejected, e, {"reason": "out_of_stock", "detail": ""}) for e in given]

    async with connected(pool) as connection:

        def hear(*notification: Any) -> None:
            heard.append(notification[2])

        await connection.add_listener(CHANNEL, hear)
        await the_journal(pool).process_once(at("reject"), events, reject)
        await until(lambda: heard == [CHANNEL], HANGS_AFTER, "the notification")
        await connection.remove_listener(CHANNEL, hear)

    (row,) = await fetch(pool, "SELECT status, ended_at IS NOT NULL AS ended FROM subjects")
    assert row == {"status": "rejected", "ended": True}


async def test_the_first_end_counts_whatever_comes_with_it_or_after_it(pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    why = {"link": "cart", "reason": "a_bug", "attempts": 3, "last_error": "oh"}
    no = {"reason": "out_of_stock", "detail": ""}

    def told(kind: type[Event[Any]], link: str, data: Any) -> AnyEvent:
        return untyped(kind.made_by(link, order.order_id, order.received_at, data))

    events = [told(OrderParked, "a", why), told(OrderRejected, "b", no), told(OrderParked, "c", why)]
    await the_journal(pool).append(events)
    await the_journal(pool).append([told(OrderParked, "d", why), told(OrderCancelled, "e", no)])

    (row,) = await fetch(pool, "SELECT status, ended_at IS NOT NULL AS ended FROM subjects")
    assert row == {"status": "rejected", "ended": True}


async def test_the_journal_can_only_grow(pool: Pool) -> None:
    await accept(pool, an_order(cup=1))
    for statement in ("UPDATE journal SET type = 'x'", "DELETE FROM journal"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await fetch(pool, statement)


async def test_the_schema_itself_refuses_more_reserved_than_there_is(pool: Pool) -> None:
    await stock_up(pool, cup=1)
    with pytest.raises(asyncpg.CheckViolationError, match="never_more_than_there_is"):
        await fetch(pool, "UPDATE stock SET reserved = 2")


async def test_the_schema_itself_refuses_one_payment_for_two_orders(pool: Pool) -> None:
    orders = [an_order(cup=1), an_order(cup=1)]
    await accept(pool, *orders)
    claim = "INSERT INTO payments VALUES ('twin', 'pay_1', $1, 100, 'EUR', 'held')"
    await fetch(pool, claim, orders[0].order_id)
    with pytest.raises(asyncpg.UniqueViolationError, match="one_payment_serves_one_order"):
        await fetch(pool, claim, orders[1].order_id)


async def test_a_database_that_is_away_is_an_outage() -> None:
    async with open_pool(f"postgresql://nobody@127.0.0.1:{free_port()}/none") as pool:
        with pytest.raises(Outage, match="PostgreSQL"):
            await the_journal(pool).of("some-order")


async def test_what_no_workflow_could_take_is_not_journalled(pool: Pool) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await fetch(pool, "INSERT INTO journal VALUES (DEFAULT, '/a', '1', 'lanka.A', 'fact', 'a', now(), '[1]')")
