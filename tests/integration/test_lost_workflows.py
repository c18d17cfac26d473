"""Workflows that Temporal has lost, between a real PostgreSQL and a real Temporal server, without a worker."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from chain.event import AnyEvent
from dispatch.dispatcher import Wakeup
from orders.events import OrderParked, OrderRejected, OrderReleased, OrderWithdrawn, PaymentDeclined
from orders.order import Order
from orders.ports import PaymentNews
from store.database import Pool, transaction
from store.intake import Intake, register
from store.journal import record
from store.lost_workflows import come_to_rest
from store.operations import Compensation, Operations, WantedParkings
from store.payments import Payments
from store.webhooks import Webhooks
from tests.integration.conftest import dispatched, signalled
from tests.servers import HANGS_AFTER, temporal_server, until
from tests.shop import accept, an_order, fetch, journal_of, paid, running_dispatcher, the_journal, untyped
from workflows.chains import TYPES, accepted

WHY = {"reason": "zero_division_error", "attempts": 3, "last_error": "ZeroDivisionError"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANKA_LOST_AFTER_SECONDS", "0.2")


async def first_run(pool: Pool, client: Client, *orders: Order) -> str:
    """Has them dispatched, together; returns the run's id."""
    await accept(pool, *orders)
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: dispatched(pool, *orders), HANGS_AFTER, "the dispatch")
    return (await client.get_workflow_handle(carrier(*orders)).describe()).run_id


def carrier(*orders: Order) -> str:
    return f"{'order' if len(orders) == 1 else 'batch'}-{orders[0].order_id}"


async def another_run(client: Client, workflow_id: str, run_id: str) -> list[Any]:
    """What the run that took this one's place was signalled with."""

    async def found() -> bool:
        return (await client.get_workflow_handle(workflow_id).describe()).run_id != run_id

    await until(found, HANGS_AFTER, "another run")
    (events,) = await signalled(client, workflow_id)
    return events


async def test_the_open_orders_of_a_terminated_workflow_are_brought_again(pool: Pool, client: Client) -> None:
    orders = [an_order(cup=1) for _ in range(3)]
    run_id = await first_run(pool, client, *orders)
    await fetch(pool, "UPDATE subjects SET ended_at = now() WHERE subject = $1", orders[1].order_id)
    await client.get_workflow_handle(carrier(*orders)).terminate("by mistake")

    with capture_logs() as logs:
        async with running_dispatcher(pool, Wakeup(pool)):
            events = await another_run(client, carrier(*orders), run_id)
            await until(lambda: dispatched(pool, *orders), HANGS_AFTER, "the mark")

    assert [(event["subject"], event["type"]) for event in events] == [
        (orders[0].order_id, "lanka.OrderReceived"),
        (orders[2].order_id, "lanka.OrderReceived"),
    ]
    (told,) = [entry for entry in logs if entry["event"] == "a workflow is lost, it is started again"]
    assert (told["workflow_id"], told["why"]) == (carrier(*orders), "terminated")
    assert set(told["subjects"]) == {orders[0].order_id, orders[2].order_id}


async def test_a_temporal_that_has_lost_everything_is_told_again(
    pool: Pool, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.lost_workflows.LOOKED_AT", 2)  # so that it takes several looks
    monkeypatch.setenv("LANKA_BATCH_SIZE", "1")
    orders = [an_order(cup=1) for _ in range(5)]
    await first_run(pool, client, orders[0])
    await accept(pool, *orders[1:])
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: dispatched(pool, *orders), HANGS_AFTER, "the dispatch")

    async with temporal_server(tmp_path) as new:
        monkeypatch.setenv("TEMPORAL_ADDRESS", new)
        there = await Client.connect(new, data_converter=pydantic_data_converter)

        async def all_run() -> bool:
            return all([await is_running(there, carrier(order)) for order in orders])

        async with running_dispatcher(pool, Wakeup(pool)):
            await until(all_run, HANGS_AFTER, "all orders in the new one")


async def is_running(client: Client, workflow_id: str) -> bool:
    described = await client.get_workflow_handle(workflow_id).describe()
    return described.status is WorkflowExecutionStatus.RUNNING


async def test_what_was_parked_is_released_and_what_was_taken_back_begins_with_that(pool: Pool, client: Client) -> None:
    parked, withdrawn = orders = [an_order(cup=1) for _ in range(2)]
    run_id = await first_run(pool, client, *orders)
    now = datetime.now(UTC)
    here = {"link": "cart"}
    refusal = {"reason": "cancelled_by_customer", "detail": "", "by": "shop"}
    back = untyped(OrderWithdrawn.made_by("withdrawal", withdrawn.order_id, now, refusal))
    first, second = (
        untyped(OrderParked.made_by("cart", parked.order_id, now, here | WHY)).model_copy(
            update={"id": f"{parked.order_id}.cart.parked.{nth}"}
        )
        for nth in (1, 2)
    )
    released = untyped(OrderReleased.made_by("cart", parked.order_id, now, here | {"by": "a", "why": "b"}))
    released = released.model_copy(update={"id": f"{first.id}.released"})
    await the_journal(pool).append([first, released, second, back])
    await client.get_workflow_handle(carrier(*orders)).terminate("by mistake")
    async with running_dispatcher(pool, Wakeup(pool)):
        events = await another_run(client, carrier(*orders), run_id)

    assert [event["id"] for event in events] == [f"{parked.order_id}.intake", back.id]
    assert await journal_of(pool, parked) == ["OrderReceived", *("OrderParked", "OrderReleased") * 2]
    (last,) = await fetch(pool, "SELECT id, data FROM journal ORDER BY position DESC LIMIT 1")
    assert last == {
        "id": f"{parked.order_id}.cart.parked.2.released",
        "data": here | {"by": "Lanka", "why": "its workflow was lost, another one takes its place"},
    }
    operations = Operations(pool, Compensation("orders", ["refund"], ["late-refund"]))
    assert (await operations.parked(WantedParkings(), limit=9)).parked == []


async def test_the_workflow_that_gives_late_money_back_is_brought_again(pool: Pool, client: Client) -> None:
    order = an_order(cup=1)
    await first_run(pool, client, order)
    why = {"reason": "payment_timeout", "detail": ""}
    await the_journal(pool).append(
        [
            untyped(kind.made_by(link, order.order_id, datetime.now(UTC), why))
            for link, kind in (("settlement", PaymentDeclined), ("reject", OrderRejected))
        ]
    )
    async with transaction(pool) as tx:
        await Payments(pool).claim(tx, {order.order_id: paid(order)})
    await Webhooks(pool).keep("twin", PaymentNews("msg_1", order.payment_id, None), b"{}")
    late = client.get_workflow_handle(f"late-{order.order_id}.late")
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(late.describe, HANGS_AFTER, "the workflow that gives it back")
        run_id = (await late.describe()).run_id
        await late.terminate("by mistake")

        (event,) = await another_run(client, late.id, run_id)
    assert event["type"] == "lanka.PaymentArrivedLate"


async def test_a_workflow_that_runs_is_left_alone(pool: Pool, client: Client) -> None:
    order, lost = an_order(cup=1), an_order(cup=1)
    await first_run(pool, client, order)
    lost_run = await first_run(pool, client, lost)
    await client.get_workflow_handle(carrier(lost)).terminate("by mistake")
    with capture_logs() as logs:
        async with running_dispatcher(pool, Wakeup(pool)):
            await another_run(client, carrier(lost), lost_run)  # so a look has been
            await until(lambda: dispatched(pool, lost), HANGS_AFTER, "the mark")

    assert lost_ones(logs) == [carrier(lost)]


def lost_ones(logs: Iterable[Any]) -> list[str]:
    return [entry["workflow_id"] for entry in logs if entry["event"] == "a workflow is lost, it is started again"]


@workflow.defn(name="OrderConfirmation")
class EndsTooSoon:
    @workflow.run
    async def run(self) -> None:
        pass

    @workflow.signal
    async def received(self, events: list[Any]) -> None:
        pass


async def test_an_open_order_whose_workflow_has_completed_is_brought_again(pool: Pool, client: Client) -> None:
    order = an_order(cup=1)
    run_id = await first_run(pool, client, order)
    async with Worker(
        client, task_queue="order-confirmation", workflows=[EndsTooSoon], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        await client.get_workflow_handle(carrier(order)).result()
    with capture_logs() as logs:
        async with running_dispatcher(pool, Wakeup(pool)):
            events = await another_run(client, carrier(order), run_id)
    assert [event["id"] for event in events] == [f"{order.order_id}.intake"]
    assert [entry["why"] for entry in logs if "why" in entry] == ["completed"]


@workflow.defn(name="SupportCall")
class ComesToRest(EndsTooSoon):
    @workflow.run
    async def run(self) -> None:
        pass


async def calls_of(pool: Pool, client: Client, *calls: str) -> str:
    """The calls begin, together; returns the workflow's id."""
    async with transaction(pool) as tx:
        await register(tx, accepted())
    await Intake(pool).publish([call_event("SupportCallStarted", call) for call in calls])
    async with running_dispatcher(pool, Wakeup(pool)):

        async def are_dispatched() -> bool:
            return not await fetch(pool, "SELECT FROM subjects WHERE dispatched_at IS NULL")

        await until(are_dispatched, HANGS_AFTER, "the dispatch")
    return f"{'call' if len(calls) == 1 else 'batch'}-{calls[0]}"


def call_event(kind: str, call: str) -> AnyEvent:
    data = {"customer_id": "cus_1", "language": "uk", "skill": "orders"} if kind == "SupportCallStarted" else {}
    now = datetime.now(UTC)
    return AnyEvent(source="/pbx", id=f"{call}.{kind}", type=f"lanka.{kind}", subject=call, time=now, data=data)


async def test_a_subject_that_comes_to_no_end_is_at_rest_until_there_is_more_of_it(pool: Pool, client: Client) -> None:
    workflow_id = await calls_of(pool, client, "call-at-rest")
    async with Worker(
        client, task_queue="order-confirmation", workflows=[ComesToRest], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        await client.get_workflow_handle(workflow_id).result()

    async def is_at_rest() -> bool:
        (row,) = await fetch(pool, "SELECT at_rest FROM subjects")
        return bool(row["at_rest"])

    with capture_logs() as logs:
        async with running_dispatcher(pool, Wakeup(pool)):
            await until(is_at_rest, HANGS_AFTER, "the look")
            await Intake(pool).publish([call_event("SupportCallEnded", "call-at-rest")])
            await until(lambda: _delivered(pool), HANGS_AFTER, "the message")
    assert not await is_at_rest()
    assert lost_ones(logs) == []


async def test_what_began_another_run_meanwhile_is_not_at_rest(pool: Pool, client: Client) -> None:
    workflow_id = await calls_of(pool, client, "call-goes-on")
    (before,) = await fetch(pool, "SELECT now() AS time")
    await fetch(
        pool, "INSERT INTO messages (subject, source, id, delivered_at) VALUES ('call-goes-on', '/pbx', 'more', now())"
    )
    (after,) = await fetch(pool, "SELECT now() AS time")
    for seen, rests in ((before, False), (after, True)):
        async with transaction(pool) as tx:
            await come_to_rest(tx, workflow_id, seen["time"])
        assert await fetch(pool, "SELECT at_rest FROM subjects") == [{"at_rest": rests}]


async def _delivered(pool: Pool) -> bool:
    return not await fetch(pool, "SELECT FROM messages WHERE delivered_at IS NULL")


async def test_what_follows_in_a_lost_workflow_brings_back_what_that_carried(
    pool: Pool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANKA_LOST_AFTER_SECONDS", "3600")
    calls = ["call-stays-1", "call-hangs-up", "call-stays-2"]
    workflow_id = await calls_of(pool, client, *calls)
    await client.get_workflow_handle(workflow_id).terminate("by mistake")
    await Intake(pool).publish([call_event("SupportCallEnded", "call-hangs-up")])
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: _delivered(pool), HANGS_AFTER, "the message")

    assert [[event["id"] for event in events] for events in await signalled(client, workflow_id)] == [
        ["call-stays-1.SupportCallStarted", "call-stays-2.SupportCallStarted"],
        ["call-hangs-up.SupportCallEnded"],
    ]


async def test_what_followed_the_first_event_is_delivered_again(pool: Pool, client: Client) -> None:
    order = an_order(cup=1)
    run_id = await first_run(pool, client, order)
    event = untyped(OrderWithdrawn.made_by("elsewhere", order.order_id, datetime.now(UTC), {
        "reason": "cancelled_by_customer", "detail": "", "by": "shop",
    }))  # fmt: skip
    async with transaction(pool) as tx:
        await record(tx, [event], TYPES)
        await tx.execute(
            "INSERT INTO messages (subject, source, id, delivered_at) VALUES ($1, $2, $3, now())",
            event.subject, event.source, event.id,
        )  # fmt: skip
    await client.get_workflow_handle(carrier(order)).terminate("by mistake")

    async def delivered_again() -> bool:
        (row,) = await fetch(pool, "SELECT delivered_at > $1 AS again FROM messages", before)
        return bool(row["again"])

    before = datetime.now(UTC)
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(delivered_again, HANGS_AFTER, "the message")
    assert (await client.get_workflow_handle(carrier(order)).describe()).run_id != run_id


async def test_where_the_namespace_is_not_found_nothing_is_lost(
    pool: Pool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = an_order(cup=1)
    await first_run(pool, client, order)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "nobodys")

    def told() -> bool:
        return "nobody could look for lost workflows" in {entry["event"] for entry in logs}

    with capture_logs() as logs:
        async with running_dispatcher(pool, Wakeup(pool)):
            await until(told, HANGS_AFTER, "the look")
    assert await dispatched(pool, order)
