"""What people decide: parked orders are released or rejected, orders are cancelled, payments come late."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client

from chain.commands import BulkCommand, Command, Verdict
from chain.event import AnyEvent
from dispatch import dispatcher
from orders.events import CartUnavailable, OrderReceived, OrderWithdrawn, PaymentArrivedLate
from orders.order import Order
from orders.words import Reason
from store.dispatch import DispatchBatch
from tests.servers import HANGS_AFTER, until
from tests.shop import untyped
from tests.workflows.conftest import Handle, Record, Send, ended
from tests.workflows.doubles import (
    Answer,
    Consumers,
    after,
    agrees,
    fails_unexpectedly,
    is_away,
    order,
    orders,
    refuses,
    waits_for_payment,
)
from workflows import router

BROKEN: list[Answer] = [fails_unexpectedly] * 3
"""As often as an event is tried, alone, before it is parked."""


pytestmark = pytest.mark.usefixtures("short_pauses")


def ann_wants(mine: Order, why: str = "mended") -> Command:
    return Command(subject=mine.order_id, by="ann", why=why)


def told(consumers: Consumers, mine: Order) -> list[AnyEvent]:
    """What the router has had journalled about the order."""
    notes = [asked.batch.events[0] for asked in consumers.requests(mine) if asked.consumer == "note_events"]
    return [event for event in notes if event.subject == mine.order_id]


def told_types(consumers: Consumers, mine: Order) -> list[str]:
    return [event.type.removeprefix("lanka.") for event in told(consumers, mine)]


async def parked(consumers: Consumers, *mine: Order) -> None:
    def are_parked() -> bool:
        return all("OrderParked" in told_types(consumers, each) for each in mine)

    await until(are_parked, HANGS_AFTER, "the orders to be parked")


async def found(client: Client, query: str) -> set[str]:
    return {workflow.id async for workflow in client.list_workflows(query)}


async def test_what_fails_again_and_again_is_parked_and_goes_on_where_it_was(
    client: Client, send: Send, consumers: Consumers, record: Record
) -> None:
    mine = order("parked-released")
    consumers.script["check_payment", mine.order_id] = [*BROKEN]
    handle = await send(mine)
    await parked(consumers, mine)

    (parking,) = told(consumers, mine)
    assert parking.data == {
        "link": "payment",
        "reason": "zero_division_error",
        "attempts": 3,
        "last_error": "ZeroDivisionError: a bug, says the script",
    }
    await until(
        lambda: _is_found(client, handle, "ParkedStages = 'payment'"), HANGS_AFTER, "the order among the parked ones"
    )
    shown = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert "- 1 at `payment`" in shown.current_details
    assert f"`{mine.order_id}` is parked at `payment`: zero_division_error" in shown.current_details

    assert await handle.execute_update("release", ann_wants(mine)) == Verdict.RELEASED
    await ended(handle)

    assert consumers.outcome[mine.order_id] == "lanka.OrderConfirmed"
    assert told_types(consumers, mine) == ["OrderParked", "OrderReleased"]
    assert told(consumers, mine)[1].data == {"link": "payment", "by": "ann", "why": "mended"}
    assert told(consumers, mine)[1].id == f"{parking.id}.released"
    await until(lambda: _is_not_found(client, handle, "ParkedStages = 'payment'"), HANGS_AFTER, "nothing to be parked")
    await record("parked_released", handle)


async def _is_found(client: Client, handle: Handle, query: str) -> bool:
    return handle.id in await found(client, query)


async def _is_not_found(client: Client, handle: Handle, query: str) -> bool:
    return handle.id not in await found(client, query)


async def test_a_parked_order_that_is_rejected_goes_back(send: Send, consumers: Consumers, record: Record) -> None:
    mine = order("parked-rejected")
    consumers.script["check_cart", mine.order_id] = [*BROKEN]
    handle = await send(mine)
    await parked(consumers, mine)

    assert await handle.execute_update("reject", ann_wants(mine, "not worth it")) == Verdict.REJECTED
    assert await handle.execute_update("reject", ann_wants(mine)) == Verdict.NOT_PARKED
    await ended(handle)

    assert consumers.outcome[mine.order_id] == "lanka.OrderRejected"
    refusal = consumers.given("reject_order", mine).data
    assert refusal == {"reason": "rejected_by_operator", "detail": "not worth it", "by": "ann"}
    assert {"release_stock", "refund_payment"} <= set(consumers.asked_about(mine))
    await record("parked_rejected", handle)


async def test_what_is_parked_beside_a_running_link_waits_for_it_before_it_goes_back(
    send: Send, consumers: Consumers
) -> None:
    mine, cart_may_answer = order("rejected-beside"), asyncio.Event()
    consumers.script["check_price", mine.order_id] = [*BROKEN]
    consumers.script["check_cart", mine.order_id] = [after(cart_may_answer.wait, agrees)]
    handle = await send(mine)
    await parked(consumers, mine)
    await handle.execute_update("reject", ann_wants(mine))
    await until(lambda: "OrderWithdrawn" in told_types(consumers, mine), HANGS_AFTER, "the withdrawal to be told")
    assert "release_stock" not in consumers.asked_about(mine), "the cart may still reserve"

    cart_may_answer.set()
    await ended(handle)

    assert consumers.outcome[mine.order_id] == "lanka.OrderRejected"


async def test_an_order_that_is_not_parked_is_neither_released_nor_rejected(send: Send, consumers: Consumers) -> None:
    mine = order("not-parked")
    consumers.script["check_payment", mine.order_id] = [waits_for_payment(timedelta(hours=1))]
    handle = await send(mine)

    assert await handle.execute_update("release", ann_wants(mine)) == Verdict.NOT_PARKED
    assert await handle.execute_update("reject", ann_wants(mine)) == Verdict.NOT_PARKED
    await until(lambda: consumers.asked_about(mine), HANGS_AFTER, "the payment to be asked for")
    await handle.signal("news", [mine.order_id])
    await ended(handle)
    assert consumers.outcome[mine.order_id] == "lanka.OrderConfirmed"


async def test_a_compensation_that_is_parked_can_be_released_but_not_rejected(send: Send, consumers: Consumers) -> None:
    mine = order("refund-parked")
    consumers.script["check_cart", mine.order_id] = [refuses(CartUnavailable, Reason.OUT_OF_STOCK)]
    consumers.script["refund_payment", mine.order_id] = [*BROKEN]
    handle = await send(mine)
    await parked(consumers, mine)

    assert await handle.execute_update("reject", ann_wants(mine)) == Verdict.NOT_PARKED
    assert await handle.execute_update("cancel", ann_wants(mine)) == Verdict.TOO_LATE
    assert await handle.execute_update("release", ann_wants(mine)) == Verdict.RELEASED
    await ended(handle)
    assert consumers.given("reject_order", mine).data["reason"] == "out_of_stock"


async def test_an_order_that_parks_harms_no_other_of_its_batch(send: Send, consumers: Consumers) -> None:
    bad, *good = orders("one-parks", 5)
    consumers.script["check_cart", bad.order_id] = [fails_unexpectedly, *BROKEN]
    handle = await send(bad, *good)
    await parked(consumers, bad)
    await until(
        lambda: all(each.order_id in consumers.outcome for each in good), HANGS_AFTER, "the others to be confirmed"
    )

    assert bad.order_id not in consumers.outcome
    await handle.execute_update("release", ann_wants(bad))
    await ended(handle)
    assert consumers.outcome[bad.order_id] == "lanka.OrderConfirmed"


async def test_a_bulk_release_takes_what_matches_and_keeps_its_rate(
    send: Send, consumers: Consumers, record: Record
) -> None:
    mine = orders("bulk", 4)
    for each in mine[:3]:
        consumers.script["check_payment", each.order_id] = [*BROKEN]
    consumers.script["check_payment", mine[0].order_id].append(fails_unexpectedly)  # the first fails for the batch too
    consumers.script["check_cart", mine[3].order_id] = [*BROKEN]
    handle = await send(*mine)
    await parked(consumers, *mine)

    bulk = BulkCommand(by="ann", why="mended", stage="payment", reason="zero_division_error", after=0.5, apart=0.5)
    began = datetime.now(UTC)
    await handle.signal("release", bulk)
    await until(
        lambda: all(each.order_id in consumers.outcome for each in mine[:3]), HANGS_AFTER, "the three to be confirmed"
    )

    went_on = [[a.time for a in consumers.requests(each) if a.consumer == "check_payment"][-1] for each in mine[:3]]
    waited = [(time - began).total_seconds() for time in went_on]
    assert [round(seconds * 2) / 2 >= 0.5 * nth for nth, seconds in enumerate(waited, start=1)] == [True] * 3, waited
    assert mine[3].order_id not in consumers.outcome
    await handle.signal("release", {"by": "ann", "why": "that one too"})  # as the command line client sends it
    await ended(handle)
    await record("parked_in_bulk", handle)


async def test_an_order_is_cancelled_while_it_waits_for_its_payment(
    send: Send, consumers: Consumers, record: Record
) -> None:
    mine = order("cancelled")
    consumers.script["check_payment", mine.order_id] = [waits_for_payment(timedelta(minutes=10))]
    handle = await send(mine)
    await until(lambda: consumers.asked_about(mine) == ["check_payment"], HANGS_AFTER, "the payment to be asked for")

    assert await handle.execute_update("cancel", ann_wants(mine, "changed my mind")) == Verdict.CANCELLED
    await ended(handle)

    assert consumers.outcome[mine.order_id] == "lanka.OrderCancelled"
    assert "settle_payment" not in consumers.asked_about(mine)
    assert told_types(consumers, mine) == ["OrderWithdrawn"]
    await record("cancelled", handle)


async def test_a_cancel_is_decided_at_once_and_told_even_while_a_consumer_is_away(
    send: Send, consumers: Consumers
) -> None:
    mine, back_again = order("cancelled-away"), asyncio.Event()

    async def away_until_told(link: str, event: AnyEvent) -> Any:
        return await (agrees if back_again.is_set() else is_away)(link, event)

    consumers.script["check_cart", mine.order_id] = [away_until_told] * 1000
    handle = await send(mine)
    await until(lambda: "check_cart" in consumers.asked_about(mine), HANGS_AFTER, "the cart to be asked")

    assert await handle.execute_update("cancel", ann_wants(mine)) == Verdict.CANCELLED
    assert await handle.execute_update("cancel", ann_wants(mine)) == Verdict.ALREADY_CANCELLED
    await until(lambda: told_types(consumers, mine) == ["OrderWithdrawn"], HANGS_AFTER, "the withdrawal to be told")
    assert "release_stock" not in consumers.asked_about(mine)

    back_again.set()
    await ended(handle)
    assert consumers.outcome[mine.order_id] == "lanka.OrderCancelled"
    assert "finalize_order" not in consumers.asked_about(mine)


async def test_a_cancel_is_too_late_once_finalisation_has_begun(send: Send, consumers: Consumers) -> None:
    mine, may_finalise = order("too-late"), asyncio.Event()
    consumers.script["finalize_order", mine.order_id] = [after(may_finalise.wait, agrees)]
    handle = await send(mine)
    await until(lambda: "finalize_order" in consumers.asked_about(mine), HANGS_AFTER, "the finalisation")

    assert await handle.execute_update("cancel", ann_wants(mine)) == Verdict.TOO_LATE
    may_finalise.set()
    await ended(handle)
    assert consumers.outcome[mine.order_id] == "lanka.OrderConfirmed"


@pytest.mark.parametrize("follows", ["OrderReceived", "OrderWithdrawn"])
async def test_a_cancel_that_arrives_before_the_order_is_remembered(
    client: Client, consumers: Consumers, follows: str
) -> None:
    mine = order(f"cancelled-before-{follows}")
    handle: Handle = await client.start_workflow(
        "OrderConfirmation", id=f"order-{mine.order_id}", task_queue="order-confirmation"
    )
    assert await handle.execute_update("cancel", ann_wants(mine)) == Verdict.CANCELLED

    await until(lambda: told(consumers, mine), HANGS_AFTER, "the withdrawal to be told")
    received = untyped(OrderReceived.made_by("intake", mine.order_id, mine.received_at, {"order": mine}))
    await handle.signal("received", [received if follows == "OrderReceived" else told(consumers, mine)[0]])
    await ended(handle)

    assert consumers.outcome[mine.order_id] == "lanka.OrderCancelled"
    assert "check_payment" not in consumers.asked_about(mine)


async def test_cancelling_the_workflow_cancels_its_orders_and_loses_none(send: Send, consumers: Consumers) -> None:
    waiting, finalising = orders("workflow-cancelled", 2)
    may_finalise = asyncio.Event()
    consumers.script["check_payment", waiting.order_id] = [waits_for_payment(timedelta(minutes=10))]
    consumers.script["finalize_order", finalising.order_id] = [after(may_finalise.wait, agrees)]
    handle = await send(waiting, finalising)
    await until(lambda: "finalize_order" in consumers.asked_about(finalising), HANGS_AFTER, "the finalisation")

    await handle.cancel()
    await until(lambda: waiting.order_id in consumers.outcome, HANGS_AFTER, "the end of the one that waits")
    may_finalise.set()
    await ended(handle)

    assert consumers.outcome[waiting.order_id] == "lanka.OrderCancelled"
    assert consumers.outcome[finalising.order_id] == "lanka.OrderConfirmed"


async def test_one_of_a_batch_is_cancelled_and_the_others_are_confirmed(send: Send, consumers: Consumers) -> None:
    mine = orders("one-cancels", 4)
    all_asked = asyncio.Event()
    for each in mine:
        consumers.script["check_payment", each.order_id] = [after(all_asked.wait, agrees)]
    handle = await send(*mine)
    assert await handle.execute_update("cancel", ann_wants(mine[1])) == Verdict.CANCELLED
    all_asked.set()
    await ended(handle)

    outcomes = [consumers.outcome[each.order_id].removeprefix("lanka.") for each in mine]
    assert outcomes == ["OrderConfirmed", "OrderCancelled", "OrderConfirmed", "OrderConfirmed"]


async def test_news_of_a_payment_cut_the_waiting_short(send: Send, consumers: Consumers, record: Record) -> None:
    mine = order("news")
    consumers.script["check_payment", mine.order_id] = [waits_for_payment(timedelta(minutes=10))]
    handle = await send(mine)
    await until(lambda: consumers.asked_about(mine) == ["check_payment"], HANGS_AFTER, "the payment to be asked for")

    await handle.signal("news", [mine.order_id])
    await ended(handle)

    assert consumers.asked_about(mine)[1] == "settle_payment"
    assert consumers.outcome[mine.order_id] == "lanka.OrderConfirmed"
    await record("news_of_a_payment", handle)


async def test_an_order_that_was_taken_back_goes_back_in_the_workflow_that_takes_the_place_of_a_lost_one(
    client: Client, consumers: Consumers
) -> None:
    mine = order("withdrawn-lost")
    refusal = {"reason": Reason.CANCELLED_BY_CUSTOMER, "detail": "changed my mind", "by": "ann"}
    event = untyped(OrderWithdrawn.made_by("withdrawal", mine.order_id, mine.received_at, refusal))
    may_go_back = asyncio.Event()
    consumers.script["release_stock", mine.order_id] = [after(may_go_back.wait, agrees)]
    await dispatcher.start_workflow(client, DispatchBatch("orders", f"order-{mine.order_id}", 1, [event]))
    handle = client.get_workflow_handle(f"order-{mine.order_id}")

    assert await handle.execute_update("cancel", ann_wants(mine)) == Verdict.ALREADY_CANCELLED
    may_go_back.set()
    await ended(handle)
    assert consumers.outcome[mine.order_id] == "lanka.OrderCancelled"
    assert sorted(consumers.asked_about(mine)) == ["refund_payment", "reject_order", "release_stock"]


async def test_the_workflow_that_takes_the_place_of_a_lost_one_does_not_wait_as_long_again(
    send: Send, consumers: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, an_hour_ago = order("pending-lost"), datetime.now(UTC) - timedelta(hours=1)

    async def waited_for_an_hour(link: str, event: AnyEvent) -> Any:
        pending = await waits_for_payment(timedelta(hours=2))(link, event)
        assert pending
        return pending.model_copy(update={"time": an_hour_ago})

    consumers.script["check_payment", mine.order_id] = [waited_for_an_hour]
    handle = await send(mine)
    await until(lambda: _timers(handle), HANGS_AFTER, "the wait")
    assert await _timers(handle) == [15]
    await handle.signal("news", [mine.order_id])
    await ended(handle)


async def _timers(handle: Handle) -> list[int]:
    """How many seconds each is set to."""
    history = await handle.fetch_history()
    return [
        round(event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta().total_seconds())
        for event in history.events
        if event.HasField("timer_started_event_attributes")
    ]


async def test_in_the_workflow_that_takes_the_place_of_a_lost_one_a_parking_is_another(
    send: Send, consumers: Consumers
) -> None:
    mine = order("parked-lost")
    consumers.script["check_cart", mine.order_id] = [*BROKEN, *BROKEN]
    lost = await send(mine)
    await parked(consumers, mine)
    await lost.terminate("by mistake")
    handle = await send(mine)
    await until(lambda: told_types(consumers, mine) == ["OrderParked", "OrderParked"], HANGS_AFTER, "another parking")
    assert len({event.id for event in told(consumers, mine)}) == 2

    await handle.execute_update("release", ann_wants(mine))
    await ended(handle)


async def test_a_withdrawal_that_is_delivered_to_the_workflow_that_made_it_is_dropped(
    send: Send, consumers: Consumers
) -> None:
    mine, may_answer = order("withdrawn-twice"), asyncio.Event()
    consumers.script["check_cart", mine.order_id] = [after(may_answer.wait, agrees)]
    handle = await send(mine)
    await until(lambda: "check_cart" in consumers.asked_about(mine), HANGS_AFTER, "the cart to be asked")
    await handle.execute_update("cancel", ann_wants(mine))
    await until(lambda: told(consumers, mine), HANGS_AFTER, "the withdrawal to be told")
    await handle.signal("received", [told(consumers, mine)[0]])
    await handle.execute_update("cancel", ann_wants(mine))  # so the signal has been read
    assert "release_stock" not in consumers.asked_about(mine), "the cart may still reserve"

    may_answer.set()
    await ended(handle)
    assert consumers.asked_about(mine).count("reject_order") == 1


async def test_money_that_comes_after_the_end_is_given_back(
    client: Client, consumers: Consumers, record: Record
) -> None:
    mine = order("late-money")
    event = PaymentArrivedLate(
        id="late-money.late.1",
        source="/lanka/webhooks",
        subject=mine.order_id,
        time=datetime.now(UTC),
        data={"payment_id": "pay-late"},
    )
    handle: Handle = await client.start_workflow(
        "OrderConfirmation",
        id="late-late-money-1",
        task_queue="order-confirmation",
        start_signal="received",
        start_signal_args=[[event]],
    )
    await ended(handle)

    assert consumers.asked_about(mine) == ["refund_late_payment"]
    await record("late_payment", handle)


async def test_a_journal_that_cannot_be_written_costs_nobody_the_order(
    send: Send, consumers: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "NOTE_PAUSE", timedelta(milliseconds=1))
    mine = order("journal-away")
    consumers.script["check_cart", mine.order_id] = [*BROKEN]
    consumers.script["note_events", mine.order_id] = [fails_unexpectedly] * 4
    handle = await send(mine)
    await until(lambda: len(told(consumers, mine)) == 5, HANGS_AFTER, "the parking to be told at last")
    await decided(lambda: handle.execute_update("release", ann_wants(mine)))
    await ended(handle)

    assert told_types(consumers, mine) == ["OrderParked"] * 5 + ["OrderReleased"]
    assert consumers.outcome[mine.order_id] == "lanka.OrderConfirmed"


async def decided(ask: Callable[[], Awaitable[Verdict]]) -> None:
    async def is_released() -> bool:
        return await ask() == Verdict.RELEASED

    await until(is_released, HANGS_AFTER, "the release")


async def test_an_order_that_is_cancelled_while_it_fails_does_not_park(
    send: Send, consumers: Consumers, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, may_fail = order("cancelled-failing"), asyncio.Event()
    consumers.script["check_cart", mine.order_id] = [BROKEN[0], after(may_fail.wait, fails_unexpectedly), *BROKEN]
    handle = await send(mine)
    await until(lambda: consumers.asked_about(mine).count("check_cart") == 2, HANGS_AFTER, "the second attempt")

    assert await handle.execute_update("cancel", ann_wants(mine)) == Verdict.CANCELLED
    may_fail.set()
    await ended(handle)
    assert consumers.asked_about(mine).count("check_cart") == 2
    assert told_types(consumers, mine) == ["OrderWithdrawn"]
    assert consumers.outcome[mine.order_id] == "lanka.OrderCancelled"


async def test_many_are_rejected_at_once(send: Send, consumers: Consumers) -> None:
    first, second, at_the_price = mine = orders("reject-all", 3)
    # Once more than alone for those at which the batch fails.
    consumers.script["check_cart", first.order_id] = [*BROKEN, fails_unexpectedly]
    consumers.script["check_cart", second.order_id] = [*BROKEN]
    consumers.script["check_price", at_the_price.order_id] = [*BROKEN, fails_unexpectedly]
    handle = await send(*mine)
    await parked(consumers, *mine)

    await handle.signal("release", BulkCommand(by="ann", why="recalled", stage="cart", apart=0.01, reject=True))
    await until(
        lambda: {first.order_id, second.order_id} <= consumers.outcome.keys(), HANGS_AFTER, "the two to be rejected"
    )
    assert told_types(consumers, at_the_price) == ["OrderParked"]
    await handle.signal("release", BulkCommand(by="ann", why="mended"))
    await ended(handle)

    outcomes = [consumers.outcome[each.order_id].removeprefix("lanka.") for each in mine]
    assert outcomes == ["OrderRejected", "OrderRejected", "OrderConfirmed"]


@pytest.mark.parametrize("reject", [False, True])
async def test_what_waits_for_its_turn_is_not_decided_a_second_time(
    send: Send, consumers: Consumers, *, reject: bool
) -> None:
    mine = orders(f"turns-{reject}", 3)
    for each in mine:  # once more for the first, at which the batch fails
        consumers.script["check_cart", each.order_id] = [*BROKEN, *([fails_unexpectedly] if each is mine[0] else [])]
    handle = await send(*mine)
    await parked(consumers, *mine)

    bulk = BulkCommand(by="ann", why="decided", after=3600, apart=1, reject=reject)
    some = bulk.model_copy(update={"subjects": [mine[0].order_id]})
    assert [await handle.execute_update("decide_all", each) for each in (some, bulk, bulk)] == [1, 2, 0]
    events = [event for each in mine for event in told(consumers, each) if event.type == "lanka.OrderReleased"]
    assert [datetime.fromisoformat(event.data["goes_on_at"]) > event.time for event in events] == [True] * 3 * (
        not reject
    )
    for each in mine:
        await handle.execute_update("cancel", ann_wants(each))
    await handle.terminate() if reject else await ended(handle)


async def test_a_cancel_does_not_wait_for_the_turn_of_a_bulk_release(send: Send, consumers: Consumers) -> None:
    mine = order("cancelled-in-its-turn")
    consumers.script["check_cart", mine.order_id] = [*BROKEN]
    handle = await send(mine)
    await parked(consumers, mine)
    await handle.signal("release", BulkCommand(by="ann", why="mended", after=3600))
    await until(lambda: "OrderReleased" in told_types(consumers, mine), HANGS_AFTER, "the release")

    assert await handle.execute_update("cancel", ann_wants(mine)) == Verdict.CANCELLED
    await ended(handle)
    assert consumers.outcome[mine.order_id] == "lanka.OrderCancelled"


def test_what_people_say_can_be_written_down() -> None:
    assert Command(subject="a", by="an\x00n", why="tab\there").model_dump() == {
        "subject": "a",
        "by": "ann",
        "why": "tabhere",
        "parking": None,
    }
