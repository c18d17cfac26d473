"""`lanka reconcile` and its schedule, at a real Lanka that has worked."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from temporalio.client import Client, ScheduleActionExecutionStartWorkflow, ScheduleOverlapPolicy
from temporalio.contrib.pydantic import pydantic_data_converter

from lanka.home import Connection
from orders.discrepancies import Kind, Report
from tests.e2e.customer import Customer
from tests.e2e.machine import LANKA, Machine, a_machine
from tests.servers import HANGS_AFTER, free_port, process, until


@pytest.fixture(scope="module")
async def machine() -> AsyncIterator[Machine]:
    async with a_machine() as machine:
        yield machine


@pytest.fixture(scope="module")
async def connection(machine: Machine) -> Connection:
    """After ten confirmed orders and some refused ones have ended."""
    connection = await machine.ready({"LANKA_PAYMENT_DEADLINE_SECONDS": "2"})
    customer = Customer(connection)
    sku = await customer.puts_on_sale(100)
    order_ids = [
        *[await customer.orders((sku, 1, 250), outcome="captured" if nth % 2 else "authorized") for nth in range(10)],
        await customer.orders((sku, 1, 250), outcome="declined"),
        await customer.orders((sku, 1, 250), outcome="expired"),
        await customer.orders((sku, 1, 250), outcome="pending"),
        await customer.orders((sku, 1, 250), payment_id="pay_nobody_knows"),
        await customer.orders((sku, 1000, 250), outcome="captured"),
        await customer.orders((sku, 1, 249)),
        await customer.orders((sku, 2, 250), payment_id=await customer.pays(499)),
        await customer.orders(("nobody-sells-this", 1, 250)),
    ]
    ended = [(await customer.ended(order_id))["status"] for order_id in order_ids]
    assert ended == ["confirmed"] * 10 + ["rejected"] * 8
    await customer.close()
    return connection


async def reconcile(machine: Machine, *options: str) -> tuple[int, str]:
    """Its exit code and what it printed."""
    async with process(LANKA, "reconcile", "--home", machine.home.directory, *options) as command:
        await until(lambda: command.exit_code is not None, HANGS_AFTER, "the end of lanka reconcile")
        assert command.exit_code is not None
        return command.exit_code, command.printed()


async def test_a_shop_that_has_worked_has_nothing_to_report(machine: Machine, connection: Connection) -> None:
    code, printed = await reconcile(machine, "--grace", "0")

    assert (code, "nothing to report" in printed) == (0, True), printed
    assert "18 orders" in printed


async def test_what_somebody_has_changed_by_hand_is_shown(machine: Machine, connection: Connection) -> None:
    database = await asyncpg.connect(connection.database_url)
    change = "UPDATE orders SET order_number = $2 WHERE order_number = $1 RETURNING order_id"
    try:
        order_id = await database.fetchval(change, "L00000003", "L99999999")
        code, printed = await reconcile(machine, "--grace", "0")
        await database.fetchval(change, "L99999999", "L00000003")
    finally:
        await database.close()

    assert code == 1, printed
    assert Kind.JOURNAL_AND_STATE_DISAGREE in printed
    assert order_id in printed
    assert "1 to look into" in printed
    assert (await reconcile(machine, "--grace", "0"))[0] == 0


async def test_orders_on_their_way_are_nothing_to_report(machine: Machine, connection: Connection) -> None:
    customer = Customer(connection)
    sku = await customer.puts_on_sale(200)
    payments = [await customer.pays(250) for _ in range(200)]
    orders = asyncio.gather(*(customer.orders((sku, 1, 250), payment_id=payment) for payment in payments))
    on_their_way = 0
    while True:
        posted = [await customer.sees(order_id) for order_id in orders.result()[-3:]] if orders.done() else []
        code, printed = await reconcile(machine, "--grace", "0")
        assert code == 0, printed
        if posted and all(order["status"] == "confirmed" for order in posted):
            break
        on_their_way += 1
    await customer.close()

    assert on_their_way, "the orders were too quick to be compared on their way"


async def test_it_says_so_when_it_cannot_be_done(machine: Machine, connection: Connection) -> None:
    for options in (
        ["--payments-url", f"http://127.0.0.1:{free_port()}"],
        ["--database-url", f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"],
        ["--home", "/nowhere"],
    ):
        code, printed = await reconcile(machine, *options)
        assert code == 2, printed
        assert "lanka: " in printed


async def test_the_schedule_is_there_and_runs_to_a_report(connection: Connection) -> None:
    temporal = await Client.connect(connection.temporal, data_converter=pydantic_data_converter)
    schedule = temporal.get_schedule_handle("reconciliation")

    async def runs() -> list[ScheduleActionExecutionStartWorkflow]:
        actions = [result.action for result in (await schedule.describe()).info.recent_actions]
        return [action for action in actions if isinstance(action, ScheduleActionExecutionStartWorkflow)]

    described = await schedule.describe()
    assert described.schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert described.info.next_action_times[0].strftime("%H:%M:%S") == "03:00:00"

    await schedule.trigger()
    await until(runs, HANGS_AFTER, "the start of the reconciliation")
    (run,) = await runs()
    report = await temporal.get_workflow_handle(run.workflow_id, result_type=Report).result()

    assert (report.total, report.findings) == (0, [])
    assert report.checked["orders"] >= 18
    database = await asyncpg.connect(connection.database_url)
    try:
        assert await database.fetchval("SELECT max(started_at) FROM reconciliations") == report.started_at
    finally:
        await database.close()
