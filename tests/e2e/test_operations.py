"""Faults, people and late money, from end to end: all of it on a real `lanka up`."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from standardwebhooks import Webhook
from temporalio.client import Client

from lanka.home import Connection
from lanka.temporal import BINARY
from tests.e2e.customer import ENDS, Customer, held_at_the_cart
from tests.e2e.machine import LANKA, Machine, a_machine
from tests.servers import HANGS_AFTER, process, until
from workflows.router import JOURNALLED_WITHIN

CONFIRMED = ["PaymentConfirmed", "StockReserved", "PriceConfirmed", "CartConfirmed", "OrderConfirmed"]
DEADLINE = 3600
"""Seconds that an order waits for a pending payment: no test sees them pass."""


@pytest.fixture(scope="module")
async def machine() -> AsyncIterator[Machine]:
    async with a_machine() as machine:
        yield machine


@pytest.fixture
async def connection(machine: Machine) -> Connection:
    return await machine.ready({"LANKA_PAYMENT_DEADLINE_SECONDS": str(DEADLINE)})


@pytest.fixture
async def customer(connection: Connection) -> AsyncIterator[Customer]:
    customer = Customer(connection)
    yield customer
    await customer.payments.put("/faults", json={})
    await customer.close()


@pytest.fixture
async def temporal(connection: Connection) -> Client:
    return await Client.connect(connection.temporal)


# ---- what people do and see --------------------------------------------------------------------------------------


@asynccontextmanager
async def broken(customer: Customer, **faults: Any) -> AsyncIterator[None]:
    """The provider, broken on purpose for a while."""
    await customer.payments.put("/faults", json=faults)
    yield
    await customer.payments.put("/faults", json={})


async def operations(customer: Customer, what: str) -> list[dict[str, Any]]:
    answer = await customer.api.get(f"/operations/{what}", headers=customer.operator)
    assert answer.is_success, answer.text
    listed: list[dict[str, Any]] = answer.json()
    return listed


async def parked(customer: Customer, *order_ids: str) -> list[dict[str, Any]]:
    """How the orders are listed, once all of them are."""

    async def listed() -> list[dict[str, Any]] | None:
        found = [each for each in await operations(customer, "parked") if each["order_id"] in order_ids]
        return found if len(found) == len(order_ids) else None

    return await until(listed, HANGS_AFTER, f"{len(order_ids)} parked") or []


async def has(customer: Customer, order_id: str, event: str) -> None:
    async def told() -> bool:
        return event in await customer.journal(order_id)

    await until(told, HANGS_AFTER, f"{event} of order {order_id}")


async def cancels(customer: Customer, order_id: str) -> str:
    """The verdict; asks again for as long as nobody decides, as the API says."""

    async def asked() -> str | None:
        answer = await customer.api.post(f"/orders/{order_id}/cancel", json={"reason": "changed my mind"})
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            assert answer.json()["code"] == "not_decided"
            return None
        assert answer.status_code == httpx.codes.OK, answer.text
        return str(answer.json()["verdict"])

    return await until(asked, HANGS_AFTER, f"the verdict on order {order_id}") or ""


async def run(*words: str | Path, exit_code: int = 0) -> str:
    """What a command prints."""
    async with process(*words, env={"COLUMNS": "200"}) as command:
        await until(lambda: command.exit_code is not None, HANGS_AFTER, f"the end of {words}")
        assert command.exit_code == exit_code
        return command.printed()


async def lanka_parked(machine: Machine, *words: str, exit_code: int = 0) -> str:
    return await run(LANKA, "parked", *words, "--home", machine.home.directory, exit_code=exit_code)


async def times(customer: Customer, order_id: str) -> dict[str, datetime]:
    answer = await customer.api.get(f"/orders/{order_id}/events")
    return {event["type"].removeprefix("lanka."): datetime.fromisoformat(event["time"]) for event in answer.json()}


# ---- why they wait -----------------------------------------------------------------------------------------------


async def say_why(customer: Customer, link: str, chain: str = "orders") -> dict[str, Any] | None:
    """What the live picture says of the link now."""
    async with customer.api.stream("GET", "/operations/live", headers=customer.operator) as live:
        async for line in live.aiter_lines():
            if line.startswith("data: {"):
                chains = {each["name"]: each for each in json.loads(line.removeprefix("data: "))["chains"]}
                found: dict[str, Any] | None = next(e["why"] for e in chains[chain]["links"] if e["name"] == link)
                return found
    raise AssertionError("the stream ended without a picture")


async def says_why(customer: Customer, link: str, kind: str) -> dict[str, Any]:
    async def said() -> dict[str, Any] | None:
        why = await say_why(customer, link)
        return why if why and why["kind"] == kind else None

    return await until(said, HANGS_AFTER, f"{link} to say {kind}") or {}


async def test_the_live_picture_says_why_orders_wait_and_stops_when_they_go_on(customer: Customer) -> None:
    async def no_outage() -> bool:
        why = await say_why(customer, "payment")
        return why is None or why["kind"] != "outage"

    sku = await customer.puts_on_sale(10)
    async with broken(customer, error_rate=1):
        held = await customer.orders((sku, 1, 250))
        why = await says_why(customer, "payment", "outage")
        assert re.fullmatch("sandbox answered (429|500)", why["error"])
        assert why["subjects"] == 1
    await customer.ended(held)
    await until(no_outage, HANGS_AFTER, "the end of the outage")

    transfer = await customer.orders((sku, 1, 250), outcome="pending")
    assert (await says_why(customer, "settlement", "pending"))["error"] is None
    async with broken(customer, garbage_rate=1):
        faulty = await customer.orders((sku, 1, 250))
        await parked(customer, faulty)
        assert (await says_why(customer, "payment", "fault"))["subjects"] >= 1
    for order_id in (transfer, faulty):
        await cancels(customer, order_id)
        await customer.ended(order_id)


# ---- parked ------------------------------------------------------------------------------------------------------


async def test_what_the_provider_garbles_waits_for_a_person_and_then_goes_on(
    customer: Customer, machine: Machine, temporal: Client
) -> None:
    sku = await customer.puts_on_sale(10)
    async with broken(customer, garbage_rate=1):
        order_id = await customer.orders((sku, 2, 250))
        (waiting,) = await parked(customer, order_id)
    shown = {name: waiting[name] for name in ("stage", "link", "reason", "attempts", "workflow_id")}
    assert shown == {
        "stage": "payment",
        "link": "payment",
        "reason": "unexpected_answer",
        "attempts": 3,
        "workflow_id": f"order-{order_id}",
    }
    assert (await customer.sees(order_id))["status"] == "parked"

    async def found() -> list[str]:
        return [each.id async for each in temporal.list_workflows("ParkedStages = 'payment'")]

    assert await until(found, HANGS_AFTER, "the search attribute") == [f"order-{order_id}"]
    listed = await lanka_parked(machine, "list", "--stage", "payment")
    assert listed.split("\t")[:4] == [order_id, "payment", "unexpected_answer", "3"]
    assert await lanka_parked(machine, "list", "--stage", "cart") == "nothing is parked\n"
    funnel = await run(LANKA, "funnel", "--home", machine.home.directory)
    assert re.search(r"payment\W+·\W+·\W+1\W", funnel), funnel
    assert "parked at payment: unexpected_answer" in funnel

    why = ("--why", "the provider is well again", "--by", "ann")
    assert "released" in await lanka_parked(machine, "release", order_id, *why)

    assert (await customer.ended(order_id))["status"] == "confirmed"
    assert await customer.journal(order_id) == ["OrderReceived", "OrderParked", "OrderReleased", *CONFIRMED]
    events = (await customer.api.get(f"/orders/{order_id}/events")).json()
    assert events[2]["data"]["why"] == "the provider is well again"
    assert events[2]["data"]["by"].startswith("ann (operator:")
    assert "is not parked" in await lanka_parked(machine, "release", order_id, *why, exit_code=1)


async def test_an_order_that_a_person_rejects_leaves_stock_and_money_as_they_were(
    customer: Customer, machine: Machine, connection: Connection
) -> None:
    sku = await customer.puts_on_sale(10)
    payment = await customer.pays(500)
    async with held_at_the_cart(connection, sku):
        order_id = await customer.orders((sku, 2, 250), payment_id=payment)
        await has(customer, order_id, "PaymentConfirmed")
        await customer.payments.put("/faults", json={"garbage_rate": 1})  # does the work and answers nonsense
    (waiting,) = await parked(customer, order_id)
    assert (waiting["stage"], await customer.available(sku)) == ("finalize", 8)
    await customer.payments.put("/faults", json={})
    assert (await customer.payment(payment))["captured_amount"] == 500

    assert "rejected" in await lanka_parked(machine, "reject", order_id, "--why", "nobody knows what was paid")

    order = await customer.ended(order_id)
    assert (order["status"], order["reason"]) == ("rejected", "rejected_by_operator")
    assert await customer.available(sku) == 10
    paid = await customer.payment(payment)
    assert (paid["status"], paid["refunded_amount"]) == ("refunded", 500)
    assert [operation["operation"] for operation in paid["operations"]] == ["capture", "refund"]


async def test_the_official_command_line_releases_as_well(customer: Customer, connection: Connection) -> None:
    sku = await customer.puts_on_sale(10)
    async with broken(customer, garbage_rate=1):
        order_id = await customer.orders((sku, 1, 250))
        (waiting,) = await parked(customer, order_id)

    what = ("--workflow-id", waiting["workflow_id"], "--name", "release", "--input", '{"by": "ann", "why": "mended"}')
    await run(BINARY, "workflow", "signal", "--address", connection.temporal, *what)

    assert (await customer.ended(order_id))["status"] == "confirmed"
    assert "OrderReleased" in await customer.journal(order_id)


async def test_many_are_released_at_the_rate_that_was_asked_for(
    customer: Customer, machine: Machine, temporal: Client
) -> None:
    sku = await customer.puts_on_sale(100)
    payments = [await customer.pays(250) for _ in range(20)]
    async with broken(customer, garbage_rate=1):
        posts = (customer.orders((sku, 1, 250), payment_id=payment) for payment in payments)
        order_ids = await asyncio.gather(*posts)
        await parked(customer, *order_ids)

    which = ("--stage", "payment", "--reason", "unexpected_answer", "--why", "mended")
    dry = await lanka_parked(machine, "release", *which, "--dry-run")
    assert "20 would be released" in dry
    assert set(dry.split()) >= set(order_ids)
    carriers = {each["workflow_id"] for each in await parked(customer, *order_ids)}

    began = datetime.now(UTC)
    assert "20 of 20 go on" in await lanka_parked(machine, "release", *which, "--rate", "10")
    for order_id in order_ids:
        assert (await customer.ended(order_id))["status"] == "confirmed"

    went_on = sorted([(await times(customer, order_id))["PaymentConfirmed"] for order_id in order_ids])
    assert [nth for nth, at in enumerate(went_on) if at < began + nth * timedelta(seconds=0.1)] == []
    turns = [turn for workflow_id in carriers for turn in await turns_of_a_release(temporal, workflow_id)]
    assert sorted(turns) == [pytest.approx(0.1 * nth) for nth in range(1, 20)], "the first has not to wait for its turn"


async def turns_of_a_release(temporal: Client, workflow_id: str) -> list[float]:
    """How many seconds after the release each parked order of the workflow went on, but for those that did at once."""
    turns: list[float] = []
    async for event in temporal.get_workflow_handle(workflow_id).fetch_history_events():
        if event.HasField("workflow_execution_update_accepted_event_attributes"):
            turns = []
        elif event.HasField("timer_started_event_attributes"):
            turns.append(event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta().total_seconds())
    return [turn for turn in turns if turn != JOURNALLED_WITHIN]


# ---- cancelled ---------------------------------------------------------------------------------------------------


async def test_a_cancel_is_decided_once(customer: Customer) -> None:
    sku = await customer.puts_on_sale(10)
    pending = await customer.orders((sku, 1, 250), outcome="pending")
    await has(customer, pending, "PaymentPending")
    assert await cancels(customer, pending) == "cancelled"
    assert await cancels(customer, pending) == "already_cancelled"
    order = await customer.ended(pending)
    assert (order["status"], order["reason"]) == ("cancelled", "cancelled_by_customer")
    assert await cancels(customer, pending) == "already_cancelled"

    confirmed = await customer.orders((sku, 1, 250))
    assert (await customer.ended(confirmed))["status"] == "confirmed"
    assert await cancels(customer, confirmed) == "too_late"
    assert await customer.available(sku) == 9


async def test_a_cancel_takes_back_what_was_done(customer: Customer, connection: Connection) -> None:
    sku = await customer.puts_on_sale(10)
    payment = await customer.pays(250, "captured")
    async with held_at_the_cart(connection, sku):
        order_id = await customer.orders((sku, 1, 250), payment_id=payment)
        await has(customer, order_id, "PaymentConfirmed")
        assert await cancels(customer, order_id) == "cancelled"
    assert (await customer.ended(order_id))["status"] == "cancelled"
    assert await customer.available(sku) == 10
    paid = await customer.payment(payment)
    assert (paid["status"], paid["refunded_amount"]) == ("refunded", 250)


async def test_a_cancel_that_comes_before_the_workflow_begins_is_remembered(
    customer: Customer, connection: Connection
) -> None:
    sku = await customer.puts_on_sale(10)
    payment = await customer.pays(250)
    worker, temporal = connection.pids["worker"], connection.pids["temporal"]

    async def nothing_is_decided() -> None:
        arrived, _ = await asyncio.wait([verdict], timeout=1)
        assert not arrived

    os.kill(worker, signal.SIGSTOP)
    try:
        os.kill(temporal, signal.SIGSTOP)
        try:
            order_id = await customer.orders((sku, 1, 250), payment_id=payment)
            verdict = asyncio.create_task(cancels(customer, order_id))
            await nothing_is_decided()
        finally:
            os.kill(temporal, signal.SIGCONT)
        await nothing_is_decided()  # both have reached Temporal by now, in whatever order
        assert await customer.journal(order_id) == ["OrderReceived"]
    finally:
        os.kill(worker, signal.SIGCONT)

    assert await verdict in {"cancelled", "already_cancelled"}
    assert (await customer.ended(order_id))["status"] == "cancelled"
    assert await customer.available(sku) == 10
    assert (await customer.payment(payment))["captured_amount"] == 0


# ---- webhooks and late money -------------------------------------------------------------------------------------


async def settle(customer: Customer, payment: str, outcome: str = "authorized") -> None:
    answer = await customer.payments.post(f"/payments/{payment}/settle", json={"outcome": outcome})
    assert answer.is_success, answer.text


async def test_a_payment_that_is_settled_in_time_confirms_the_order(customer: Customer) -> None:
    sku = await customer.puts_on_sale(10)
    payment = await customer.pays(250, "pending")
    order_id = await customer.orders((sku, 1, 250), payment_id=payment)
    await has(customer, order_id, "PaymentPending")
    assert (await customer.sees(order_id))["status"] == "awaiting_payment"
    await settle(customer, payment)

    assert (await customer.ended(order_id))["status"] == "confirmed"
    assert (await customer.journal(order_id))[1:3] == ["PaymentPending", "PaymentConfirmed"]


async def test_a_webhook_settles_a_pending_order_at_once(customer: Customer, temporal: Client) -> None:
    sku = await customer.puts_on_sale(10)
    payment = await customer.pays(250, "pending")
    order_id = await customer.orders((sku, 1, 250), payment_id=payment)
    await has(customer, order_id, "PaymentPending")
    await settle(customer, payment)
    assert (await customer.ended(order_id))["status"] == "confirmed"
    assert (await what_made_it_ask(temporal, order_id))[-1] == "news", "the chain would have looked by itself, later"


async def what_made_it_ask(temporal: Client, order_id: str) -> list[str]:
    """Before each look at the pending payment: the news of a signal, or a pause that was over."""
    causes, cause = [], ""
    async for event in temporal.get_workflow_handle(f"order-{order_id}").fetch_history_events():
        if event.HasField("timer_fired_event_attributes"):
            cause = "pause"
        elif event.HasField("workflow_execution_signaled_event_attributes"):
            cause = event.workflow_execution_signaled_event_attributes.signal_name
        elif event.activity_task_scheduled_event_attributes.activity_type.name == "settle_payment":
            causes.append(cause)
    return causes


async def test_a_webhook_that_comes_before_the_order_or_fifty_times_does_no_harm(
    customer: Customer, connection: Connection, machine: Machine
) -> None:
    sku = await customer.puts_on_sale(10)
    payment = await customer.pays(250, "pending")
    await settle(customer, payment)  # and the provider tells us of a payment that we have never heard of
    order_id = await customer.orders((sku, 1, 250), payment_id=payment)
    secret = json.loads((machine.home.directory / "secrets.json").read_text())["webhook_secret"]
    body, now = json.dumps({"type": "payment.authorized", "data": {"payment_id": payment}}), datetime.now(UTC)
    headers = {
        "webhook-id": "msg_fifty_times",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_fifty_times", now, body),
    }
    sent = (customer.api.post("/webhooks/sandbox", content=body, headers=headers) for _ in range(50))
    assert {answer.status_code for answer in await asyncio.gather(*sent)} == {204}

    assert (await customer.ended(order_id))["status"] == "confirmed"
    assert await customer.journal(order_id) == ["OrderReceived", *CONFIRMED]
    assert [operation["operation"] for operation in (await customer.payment(payment))["operations"]] == [
        "settle",
        "capture",
    ]
    database = await asyncpg.connect(connection.database_url)
    kept = await database.fetchval("SELECT count(*) FROM webhooks WHERE webhook_id = 'msg_fifty_times'")
    await database.close()
    assert kept == 1


async def test_a_refund_is_shown_as_owed_until_the_provider_has_made_it(
    customer: Customer, connection: Connection
) -> None:
    sku = await customer.puts_on_sale(1)
    payment = await customer.pays(500, "captured")
    async with held_at_the_cart(connection, sku):
        order_id = await customer.orders((sku, 2, 250), payment_id=payment)
        await has(customer, order_id, "PaymentConfirmed")
        await customer.payments.put("/faults", json={"down": True})
    (owed,) = await until(lambda: operations(customer, "refunds"), HANGS_AFTER, "the refund to be owed")
    assert owed.pop("since")
    assert owed == {
        "order_id": order_id,
        "payment_id": payment,
        "amount": 500,
        "currency": "EUR",
        "reason": "out_of_stock",
        "late": False,
    }
    assert (await customer.sees(order_id))["status"] not in ENDS

    await customer.payments.put("/faults", json={})

    assert (await customer.ended(order_id))["status"] == "rejected"
    assert await operations(customer, "refunds") == []
    assert (await customer.payment(payment))["refunded_amount"] == 500
