"""The story of one order, from OrderReceived to its end, on a real Temporal server."""

import asyncio
import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from chain.event import Event, type_of
from chain.table import route
from orders.events import CartUnavailable, PaymentDeclined, PaymentPending, PriceChanged
from orders.order import Order
from orders.words import Reason
from tests.servers import HANGS_AFTER, until
from tests.shop import paid
from tests.workflows.conftest import Handle, Record, Send, ended, reroute
from tests.workflows.doubles import (
    Consumers,
    after,
    agrees,
    fails_unexpectedly,
    has_nothing_to_say,
    is_away,
    leaves_out,
    order,
    refuses,
    waits_for_payment,
)
from workflows import router
from workflows.order_confirmation import SETTLEMENT

SOON = timedelta(seconds=1)

CHECKS = {"check_cart", "check_price"}
COMPENSATIONS = {"release_stock", "refund_payment"}
FORWARD = {"payment", "settlement", "cart", "price", "finalize"}

REFUSALS: list[tuple[str, type[Event[Any]], Reason]] = [
    ("check_payment", PaymentDeclined, Reason.PAYMENT_NOT_FOUND),
    ("check_payment", PaymentDeclined, Reason.PAYMENT_DECLINED),
    ("check_payment", PaymentDeclined, Reason.PAYMENT_AMOUNT_MISMATCH),
    ("check_payment", PaymentDeclined, Reason.PAYMENT_CURRENCY_MISMATCH),
    ("check_payment", PaymentDeclined, Reason.PAYMENT_ALREADY_USED),
    ("check_payment", PaymentDeclined, Reason.PAYMENT_EXPIRED),
    ("settle_payment", PaymentDeclined, Reason.PAYMENT_TIMEOUT),
    ("check_cart", CartUnavailable, Reason.UNKNOWN_SKU),
    ("check_cart", CartUnavailable, Reason.OUT_OF_STOCK),
    ("check_price", PriceChanged, Reason.PRICE_CHANGED),
    ("finalize_order", PaymentDeclined, Reason.PAYMENT_EXPIRED),
]


async def test_an_order_is_confirmed_by_four_consumers_on_four_queues(
    send: Send, consumers: Consumers, record: Record
) -> None:
    mine = order("confirmed")

    handle = await send(mine)
    await ended(handle)

    assert steps(consumers, mine, 1, 2, 1) == [{"check_payment"}, CHECKS, {"finalize_order"}]
    assert {(asked.consumer, asked.queue) for asked in consumers.requests(mine)} == {
        ("check_payment", "payment"),
        ("check_cart", "cart"),
        ("check_price", "price"),
        ("finalize_order", "finalize"),
    }
    assert consumers.outcome[mine.order_id] == "lanka.OrderConfirmed"
    assert handle.id == "order-confirmed"
    await record("confirmed", handle)


async def test_cart_and_price_are_asked_at_once(send: Send, consumers: Consumers) -> None:
    mine, both_are_here = order("at-once"), asyncio.Barrier(2)
    for consumer in CHECKS:
        consumers.script[consumer, mine.order_id] = [after(both_are_here.wait, agrees)]

    await ended(await send(mine))

    assert steps(consumers, mine, 1, 2, 1) == [{"check_payment"}, CHECKS, {"finalize_order"}]


async def test_what_the_router_made_itself_is_handed_on_as_unrecorded_and_with_the_payment(
    send: Send, consumers: Consumers
) -> None:
    mine = order("unrecorded")

    await ended(await send(mine))

    given = consumers.given("finalize_order", mine)
    assert (given.type, given.source, given.id) == ("lanka.CartConfirmed", "/lanka/checks", "unrecorded.checks")
    assert given.data["payment"] == paid(mine).model_dump(mode="json")
    assert given.data == consumers.given("check_cart", mine).data
    told = {asked.consumer: asked.batch.unrecorded for asked in consumers.requests(mine)}
    assert told == {"check_payment": False, "check_cart": False, "check_price": False, "finalize_order": True}


@pytest.mark.parametrize(("consumer", "kind", "reason"), REFUSALS)
async def test_a_refused_order_goes_back_and_is_rejected_for_the_same_reason(
    consumer: str, kind: type[Event[Any]], reason: Reason, send: Send, consumers: Consumers, record: Record
) -> None:
    mine = order(f"{reason}-by-{consumer}")
    if consumer == "settle_payment":
        consumers.script["check_payment", mine.order_id] = [waits_for_payment(SOON)]
    consumers.script[consumer, mine.order_id] = [refuses(kind, reason)]

    handle = await send(mine)
    await ended(handle)

    *_, compensations, rejection = steps(consumers, mine, -3, 2, 1)
    assert compensations == COMPENSATIONS
    assert rejection == {"reject_order"}
    going_back = [asked for asked in consumers.requests(mine) if asked.consumer in COMPENSATIONS]
    assert all(set(asked.batch.closes) == FORWARD for asked in going_back), "late attempts of these do nothing"
    for asked in (*COMPENSATIONS, "reject_order"):
        given = consumers.given(asked, mine)
        assert (given.type, given.data["reason"]) == (type_of(kind), reason)
    assert consumers.outcome[mine.order_id] == "lanka.OrderRejected"
    await record(f"{reason}_at_the_end" if consumer == "finalize_order" else reason, handle)


def test_every_reason_of_the_chain_has_its_story() -> None:
    decided_by_people = {Reason.CANCELLED_BY_CUSTOMER, Reason.REJECTED_BY_OPERATOR}

    assert {reason for _, _, reason in REFUSALS} == set(Reason) - decided_by_people


async def test_if_both_cart_and_price_say_no_the_cart_counts(send: Send, consumers: Consumers) -> None:
    mine = order("both-say-no")

    async def the_price_has_spoken() -> None:
        await until(lambda: "check_price" in consumers.asked_about(mine), HANGS_AFTER, "the price")

    sold_out = refuses(CartUnavailable, Reason.OUT_OF_STOCK)
    consumers.script["check_cart", mine.order_id] = [after(the_price_has_spoken, sold_out)]
    consumers.script["check_price", mine.order_id] = [refuses(PriceChanged, Reason.PRICE_CHANGED)]

    await ended(await send(mine))

    assert steps(consumers, mine, 1, 2, 2, 1) == [{"check_payment"}, CHECKS, COMPENSATIONS, {"reject_order"}]
    assert consumers.given("reject_order", mine).data["reason"] == Reason.OUT_OF_STOCK


async def test_a_refused_order_waits_for_the_cart_before_its_stock_is_released(
    send: Send, consumers: Consumers
) -> None:
    mine = order("cart-is-slow")
    consumers.script["check_price", mine.order_id] = [refuses(PriceChanged, Reason.PRICE_CHANGED)]
    consumers.script["check_cart", mine.order_id] = [is_away, is_away, agrees]

    await ended(await send(mine))

    asked = consumers.asked_about(mine)
    assert asked.count("check_cart") == 3
    assert asked.index("release_stock") > max(place for place, name in enumerate(asked) if name == "check_cart")


async def test_an_order_is_closed_only_when_its_money_is_back(send: Send, consumers: Consumers) -> None:
    mine = order("refund-is-slow")
    consumers.script["check_payment", mine.order_id] = [refuses(PaymentDeclined, Reason.PAYMENT_DECLINED)]
    consumers.script["refund_payment", mine.order_id] = [is_away, is_away, agrees]

    await ended(await send(mine))

    *_, refund, last = consumers.asked_about(mine)
    assert consumers.asked_about(mine).count("refund_payment") == 3
    assert (refund, last) == ("refund_payment", "reject_order")


async def test_a_refused_order_that_holds_nothing_is_rejected_just_the_same(send: Send, consumers: Consumers) -> None:
    mine = order("holds-nothing")
    consumers.script["check_payment", mine.order_id] = [refuses(PaymentDeclined, Reason.PAYMENT_NOT_FOUND)]
    consumers.script["release_stock", mine.order_id] = [has_nothing_to_say]
    consumers.script["refund_payment", mine.order_id] = [has_nothing_to_say]

    await ended(await send(mine))

    assert consumers.outcome[mine.order_id] == "lanka.OrderRejected"


async def test_a_pending_payment_that_comes_in_by_the_deadline_confirms_the_order(
    send: Send, consumers: Consumers, record: Record
) -> None:
    mine = order("pending-confirmed")
    consumers.script["check_payment", mine.order_id] = [waits_for_payment(SOON)]

    handle = await send(mine)
    await ended(handle)

    assert steps(consumers, mine, 2, 2, 1) == [{"check_payment", "settle_payment"}, CHECKS, {"finalize_order"}]
    deadline = datetime.fromisoformat(consumers.given("settle_payment", mine).data["deadline"])
    (settled,) = [asked for asked in consumers.requests(mine) if asked.consumer == "settle_payment"]
    assert settled.time >= deadline
    assert await pauses(handle) == [SOON], "not longer than to the deadline"
    assert consumers.outcome[mine.order_id] == "lanka.OrderConfirmed"
    await record("pending_confirmed", handle)


async def test_a_pending_payment_is_asked_for_again_and_again(
    send: Send, consumers: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = dataclasses.replace(SETTLEMENT, asks_again=SOON)
    reroute(monkeypatch, PaymentPending, route(often))
    mine = order("pending-long")
    consumers.script["check_payment", mine.order_id] = [waits_for_payment(timedelta(hours=1))]
    consumers.script["settle_payment", mine.order_id] = [leaves_out, agrees]

    await ended(await send(mine))

    assert consumers.asked_about(mine).count("settle_payment") == 2
    assert consumers.outcome[mine.order_id] == "lanka.OrderConfirmed"


async def test_an_outage_is_retried_until_it_is_over(send: Send, consumers: Consumers) -> None:
    mine = order("outage")
    consumers.script["check_cart", mine.order_id] = [is_away, is_away, is_away]

    handle = await send(mine)
    await ended(handle)

    assert await pauses(handle) == [], "the router leaves it to the retry policy"
    assert consumers.asked_about(mine).count("check_cart") == 4
    assert consumers.asked_about(mine).count("check_price") == 1, "who has answered is not asked again"
    assert consumers.outcome[mine.order_id] == "lanka.OrderConfirmed"


async def test_an_unexpected_failure_is_tried_again_after_ever_longer_pauses(
    send: Send, consumers: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = timedelta(milliseconds=10), timedelta(milliseconds=20)
    monkeypatch.setattr(router, "FAULT_PAUSES", [short, long])
    mine = order("fault")
    consumers.script["check_cart", mine.order_id] = [fails_unexpectedly, fails_unexpectedly]

    handle = await send(mine)
    await ended(handle)

    assert await pauses(handle) == [short, long]
    assert consumers.asked_about(mine).count("check_cart") == 3
    assert consumers.outcome[mine.order_id] == "lanka.OrderConfirmed"


async def test_an_order_that_is_sent_twice_while_it_is_on_its_way_is_worked_on_once(
    send: Send, consumers: Consumers
) -> None:
    mine, both_were_seen = order("sent-twice"), asyncio.Event()
    consumers.script["check_payment", mine.order_id] = [after(both_were_seen.wait, agrees)]

    handle = await send(mine)
    await until(lambda: consumers.asked_about(mine), HANGS_AFTER, "the first")
    await send(mine)
    await until(lambda: has_seen_two_signals(handle), HANGS_AFTER, "the second")
    both_were_seen.set()
    await ended(handle)

    assert steps(consumers, mine, 1, 2, 1) == [{"check_payment"}, CHECKS, {"finalize_order"}]


async def test_an_order_that_is_sent_again_after_its_end_does_not_start_again(send: Send, consumers: Consumers) -> None:
    mine = order("sent-late")
    handle = await send(mine)
    await ended(handle)
    first = await handle.describe()

    again = await (await send(mine)).describe()

    assert (again.run_id, again.close_time) == (first.run_id, first.close_time)
    assert len(consumers.asked_about(mine)) == 4


async def test_an_order_is_found_by_its_id_and_its_customer_and_told_in_a_line(client: Client, send: Send) -> None:
    mine, before = order("found").model_copy(update={"customer_id": "cus_found"}), datetime.now(UTC)
    await ended(await send(mine))

    for query in ("OrderIds = 'found'", "CustomerIds = 'cus_found'"):

        async def found(query: str = query) -> list[str]:
            return [workflow.id async for workflow in client.list_workflows(query)]

        assert await until(found, HANGS_AFTER, query) == ["order-found"]

    described = await client.get_workflow_handle("order-found").describe()
    assert await described.static_summary() == "1 item · EUR 2.50 · cus_found"
    assert before <= described.start_time <= datetime.now(UTC)
    told = [
        event.user_metadata.summary.data
        for event in (await client.get_workflow_handle("order-found").fetch_history()).events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert told[0] == b'"OrderReceived of found"'
    assert len(told) == 4


def steps(consumers: Consumers, mine: Order, *sizes: int) -> list[set[str]]:
    """Who was asked about the order, step by step: so many at once; a negative size takes all but so many."""
    asked: Iterator[str] = iter(names := consumers.asked_about(mine))
    counts = [size if size > 0 else len(names) + size for size in sizes]
    return [set(islice(asked, count)) for count in counts] + ([rest] if (rest := set(asked)) else [])


async def pauses(handle: Handle) -> list[timedelta]:
    """How long the workflow slept, each time."""
    started = [event.timer_started_event_attributes async for event in handle.fetch_history_events()]
    return [timer.start_to_fire_timeout.ToTimedelta() for timer in started if timer.timer_id]


async def has_seen_two_signals(handle: Handle) -> bool:
    """Whether the workflow got two signals, and had its say after the second."""
    kinds = [event.event_type async for event in handle.fetch_history_events()]
    signalled = [n for n, kind in enumerate(kinds) if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED]
    return len(signalled) == 2 and EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED in kinds[signalled[1] :]
