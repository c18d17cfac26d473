"""Orders from a click to their end: real servers, real HTTP, real worker processes, all started by `lanka up`."""

import asyncio
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from statistics import median

import httpx
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from benchmarks.measure import billed
from lanka.home import Connection
from tests.e2e.bare import Bare, bare_worker
from tests.e2e.customer import Customer, held_at_the_cart, order_of
from tests.e2e.machine import Machine, a_machine
from tests.servers import HANGS_AFTER, until

CHAIN = ["OrderReceived", "PaymentConfirmed", "StockReserved", "PriceConfirmed", "CartConfirmed", "OrderConfirmed"]


@pytest.fixture(scope="module")
async def machine() -> AsyncIterator[Machine]:
    async with a_machine() as machine:
        yield machine


@pytest.fixture
async def connection(machine: Machine) -> Connection:
    return await machine.ready({"LANKA_PAYMENT_DEADLINE_SECONDS": "2"})


@pytest.fixture
async def customer(connection: Connection) -> AsyncIterator[Customer]:
    customer = Customer(connection)
    yield customer
    await customer.close()


@pytest.fixture
async def temporal(connection: Connection) -> Client:
    return await Client.connect(connection.temporal, data_converter=pydantic_data_converter)


async def test_an_order_of_three_lines_is_confirmed(
    customer: Customer, temporal: Client, connection: Connection
) -> None:
    cup, pot, tea = [await customer.puts_on_sale(10) for _ in range(3)]
    payment = await customer.pays(1500)

    order_id = await customer.orders((cup, 3, 250), (pot, 2, 250), (tea, 1, 250), payment_id=payment)
    order = await customer.ended(order_id)

    assert (order["status"], order["stage"], order["reason"], order["total"]) == ("confirmed", "finalize", None, 1500)
    assert order["order_number"]
    assert await customer.journal(order_id) == CHAIN
    assert [await customer.available(sku) for sku in (cup, pot, tea)] == [7, 8, 9]
    paid = await customer.payment(payment)
    assert (paid["status"], paid["captured_amount"]) == ("captured", 1500)
    assert [operation["operation"] for operation in paid["operations"]] == ["capture"]

    history = await temporal.get_workflow_handle(f"order-{order_id}").fetch_history()
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    assert {(each.activity_type.name, each.task_queue.name) for each in scheduled} == {
        ("check_payment", "payment"),
        ("check_cart", "cart"),
        ("check_price", "price"),
        ("finalize_order", "finalize"),
    }
    described = await temporal.get_workflow_handle(f"order-{order_id}").describe()
    assert await described.static_summary() == "6 items · EUR 15.00 · cus_42"
    async with httpx.AsyncClient() as browser:
        shown = await browser.get(f"{connection.temporal_ui}/api/v1/namespaces/default/workflows/order-{order_id}")
        assert shown.json()["workflowExecutionInfo"]["type"]["name"] == "OrderConfirmation"


NO_MONEY = ["payment_not_found", "payment_declined", "payment_expired", "payment_timeout"]
MONEY = ["payment_amount_mismatch", "payment_currency_mismatch", "unknown_sku", "out_of_stock", "price_changed"]
REFUSALS = [
    *((reason, "") for reason in NO_MONEY),
    *((reason, taken) for reason in MONEY for taken in ("authorized", "captured")),
]


@pytest.mark.parametrize(("reason", "taken"), REFUSALS)
async def test_every_refusal_leaves_stock_and_money_as_they_were(customer: Customer, reason: str, taken: str) -> None:
    sku = await customer.puts_on_sale(10)
    lines: dict[str, Sequence[tuple[str, int, int]]] = {
        "out_of_stock": [(sku, 11, 250)],
        "price_changed": [(sku, 1, 249)],
        "unknown_sku": [(sku, 1, 250), ("nobody-sells-this", 1, 250)],
    }
    wanted = lines.get(reason, [(sku, 1, 250)])
    total = sum(quantity * price for _, quantity, price in wanted)
    match reason:
        case "payment_not_found":
            payment = "pay_nobody_knows"
        case "payment_declined" | "payment_expired":
            payment = await customer.pays(total, reason.removeprefix("payment_"))
        case "payment_timeout":
            payment = await customer.pays(total, "pending")
        case "payment_amount_mismatch":
            payment = await customer.pays(total - 1, taken)
        case "payment_currency_mismatch":
            payment = await customer.pays(total, taken, currency="USD")
        case _:
            payment = await customer.pays(total, taken)

    order_id = await customer.orders(*wanted, payment_id=payment)
    order = await customer.ended(order_id)

    assert (order["status"], order["reason"]) == ("rejected", reason)
    assert order["order_number"] is None
    assert (await customer.journal(order_id))[-1] == "OrderRejected"
    assert await customer.available(sku) == 10
    if payment != "pay_nobody_knows":
        paid = await customer.payment(payment)
        assert paid["captured_amount"] == paid["refunded_amount"]
        assert paid["status"] in {"refunded", "declined", "expired", "pending"}


async def test_a_payment_pays_for_one_order_only(customer: Customer) -> None:
    sku = await customer.puts_on_sale(10)
    payment = await customer.pays(250)
    first = await customer.ended(await customer.orders((sku, 1, 250), payment_id=payment))
    second = await customer.ended(await customer.orders((sku, 1, 250), payment_id=payment))

    assert first["status"] == "confirmed"
    assert (second["status"], second["reason"]) == ("rejected", "payment_already_used")
    assert (await customer.payment(payment))["status"] == "captured"
    assert await customer.available(sku) == 9


async def test_money_that_arrives_after_the_end_is_given_back(customer: Customer) -> None:
    sku = await customer.puts_on_sale(10)
    payment = await customer.pays(250, "pending")
    order_id = await customer.orders((sku, 1, 250), payment_id=payment)
    order = await customer.ended(order_id)
    assert (order["status"], order["reason"]) == ("rejected", "payment_timeout")

    await customer.payments.post(f"/payments/{payment}/settle", json={"outcome": "captured"})

    async def is_refunded() -> bool:
        return "PaymentRefunded" in await customer.journal(order_id)

    await until(is_refunded, HANGS_AFTER, "the refund")
    assert (await customer.journal(order_id))[-3:] == ["OrderRejected", "PaymentArrivedLate", "PaymentRefunded"]
    paid = await customer.payment(payment)
    assert (paid["status"], paid["refunded_amount"]) == ("refunded", 250)
    assert [operation["operation"] for operation in paid["operations"]] == ["settle", "refund"]
    assert (await customer.sees(order_id))["status"] == "rejected"
    assert (await customer.api.get("/operations/refunds", headers=customer.operator)).json() == []


async def test_the_same_post_a_hundred_times_at_once_makes_one_order(customer: Customer) -> None:
    sku = await customer.puts_on_sale(10)
    body = order_of(await customer.pays(250), [(sku, 1, 250)])

    answers = await asyncio.gather(*(customer.posts(body, key="one-click") for _ in range(100)))

    assert {answer.status_code for answer in answers} == {202}
    (order_id,) = {answer.json()["order_id"] for answer in answers}
    assert Counter(answer.headers.get("Idempotency-Replayed") for answer in answers) == {None: 1, "true": 99}
    assert (await customer.ended(order_id))["status"] == "confirmed"
    assert await customer.available(sku) == 9


async def test_orders_posted_one_by_one_have_a_workflow_each(customer: Customer, temporal: Client) -> None:
    sku = await customer.puts_on_sale(10)
    for _ in range(3):
        order_id = await customer.orders((sku, 1, 250))
        assert (await customer.ended(order_id))["status"] == "confirmed"
        assert await temporal.get_workflow_handle(f"order-{order_id}").describe()


async def test_alone_an_order_takes_less_than_three_times_what_a_bare_workflow_takes(
    customer: Customer, temporal: Client
) -> None:
    """In turns, so that whatever else the machine does meets both."""
    sku = await customer.puts_on_sale(1000)
    bare, real = [], []
    async with bare_worker(temporal):
        for _ in range(12):
            began = time.perf_counter()
            await temporal.execute_workflow(Bare.run, id=f"bare-{uuid.uuid4()}", task_queue="bare")
            bare.append(time.perf_counter() - began)

            order_id = await customer.orders((sku, 1, 250))
            assert (await customer.ended(order_id))["status"] == "confirmed"
            received, *_, confirmed = await customer.times(order_id)
            real.append((confirmed - received).total_seconds())

    print(f"{median(real):.3f} s against {median(bare):.3f} s")  # noqa: T201
    assert median(real[2:]) < 3 * median(bare[2:]), "the first two were the warm-up"


async def test_alone_an_order_costs_temporal_no_more_than_a_bare_workflow(customer: Customer, temporal: Client) -> None:
    sku = await customer.puts_on_sale(10)
    async with bare_worker(temporal):
        bare = await temporal.start_workflow(Bare.run, id=f"bare-{uuid.uuid4()}", task_queue="bare")
        await bare.result()
    order_id = await customer.orders((sku, 1, 250))
    await customer.ended(order_id)
    real = temporal.get_workflow_handle(f"order-{order_id}")
    await real.result()

    assert billed((await real.fetch_history()).events) == billed((await bare.fetch_history()).events)


async def test_three_hundred_orders_at_once_are_confirmed_most_of_them_in_batches(
    customer: Customer, temporal: Client
) -> None:
    sku = await customer.puts_on_sale(1000)
    payments = [await customer.pays(250) for _ in range(300)]

    order_ids = await asyncio.gather(*(customer.orders((sku, 1, 250), payment_id=payment) for payment in payments))
    for order_id in order_ids:
        assert (await customer.ended(order_id))["status"] == "confirmed"
    assert await customer.available(sku) == 700
    alone = [f"order-{order_id}" async for order_id in _alone(temporal, order_ids)]
    assert len(alone) < 100


async def _alone(temporal: Client, order_ids: Sequence[str]) -> AsyncIterator[str]:
    ids = set(order_ids)
    async for workflow in temporal.list_workflows('WorkflowType = "OrderConfirmation"'):
        if (order_id := workflow.id.removeprefix("order-")) in ids:
            yield order_id


async def test_an_order_is_accepted_while_temporal_is_stopped_and_confirmed_after(
    customer: Customer, connection: Connection
) -> None:
    sku = await customer.puts_on_sale(10)
    payment = await customer.pays(250)
    temporal = connection.pids["temporal"]
    os.kill(temporal, signal.SIGSTOP)
    try:
        order_id = await customer.orders((sku, 1, 250), payment_id=payment)
        assert (await customer.sees(order_id))["status"] in {"received", "processing"}
        assert await customer.journal(order_id) == ["OrderReceived"]
    finally:
        os.kill(temporal, signal.SIGCONT)

    assert (await customer.ended(order_id))["status"] == "confirmed"


async def test_fifty_orders_on_the_way_survive_an_interruption(
    machine: Machine, customer: Customer, connection: Connection
) -> None:
    sku = await customer.puts_on_sale(1000)
    payments = [await customer.pays(250) for _ in range(50)]
    async with held_at_the_cart(connection, sku):
        order_ids = await asyncio.gather(*(customer.orders((sku, 1, 250), payment_id=payment) for payment in payments))
        os.kill(machine.up.pid, signal.SIGINT)
    await until(lambda: machine.up.exit_code is not None, HANGS_AFTER, "the end of lanka up")

    again = Customer(await machine.ready())
    for order_id in order_ids:
        assert (await again.ended(order_id))["status"] == "confirmed"
    assert await again.available(sku) == 950
    for payment in payments:
        assert (await again.payment(payment))["captured_amount"] == 250
    await again.close()
