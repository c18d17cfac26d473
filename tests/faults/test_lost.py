"""Temporal loses workflows: all that it knew, those that somebody terminates, one at its limit of history."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from lanka import temporal
from lanka.home import Connection
from lanka.readiness import temporal_answers
from tests.e2e.customer import Customer
from tests.e2e.machine import a_machine
from tests.faults.counts import count
from tests.faults.drill import PRICE, Stream, a_stream, all_ended, broken, courses
from tests.faults.table import Rows
from tests.servers import HANGS_AFTER, temporal_server, until

SOON = {"LANKA_LOST_AFTER_SECONDS": "2"}


async def test_orders_outlive_the_loss_of_all_that_temporal_knew(row: Rows, whole: bool) -> None:
    async with a_machine() as machine:
        connection = await machine.ready({"LANKA_BATCH_SIZE": "20", **SOON})
        customer = Customer(connection)
        async with a_stream(customer, 150 if whole else 40, per_second=20) as stream, broken(customer, down=True):
            await stream.part_is_sent(1)
            await all_are_dispatched(connection, stream)
            database = machine.home.temporal_database
            for each in database.parent.glob(f"{database.name}*"):
                each.unlink()
            before = connection.pids["temporal"]
            os.kill(before, signal.SIGKILL)
            await until(lambda: pids(machine.home.connection())["temporal"] != before, HANGS_AFTER, "another Temporal")
            await until(lambda: temporal_answers(connection.temporal), HANGS_AFTER, "Temporal")
        await all_are_confirmed(connection, stream.accepted, stream.sku, row, "Temporal forgets everything")
        await customer.close()


async def test_orders_outlive_the_termination_of_their_workflows(row: Rows, whole: bool) -> None:
    if not whole:
        pytest.skip("only with --whole")
    async with a_machine() as machine:
        connection = await machine.ready({"LANKA_BATCH_SIZE": "20", **SOON})
        customer = Customer(connection)
        client = await Client.connect(connection.temporal)
        async with a_stream(customer, 150, per_second=20) as stream, broken(customer, latency_ms=400):
            await stream.part_is_sent(1 / 2)
            terminated = [await end_of(client, each) for each in await carriers(connection, stream.sku)]
            await stream.part_is_sent(1)
        assert any(terminated), "all were too quick to be terminated"
        await all_are_confirmed(connection, stream.accepted, stream.sku, row, "all workflows are terminated")
        await customer.close()


async def test_parked_orders_outlive_the_limit_of_their_history(
    row: Rows, whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not whole:
        pytest.skip("only with --whole")
    # The server's own limit is 51,200 events.
    monkeypatch.setitem(temporal._DYNAMIC_CONFIG, "limit.historyCount.error", "400")
    async with temporal_server(tmp_path) as address, a_machine() as machine:
        connection = await machine.ready({"LANKA_BATCH_SIZE": "20", "TEMPORAL_ADDRESS": address, **SOON})
        customer = Customer(connection)
        sku = await customer.puts_on_sale(5)
        async with broken(customer, garbage_rate=1):
            accepted = [await customer.orders((sku, 1, PRICE)) for _ in range(5)]
            client = await Client.connect(address)

            async def one_has_come_to_its_limit() -> bool:
                await release_all(customer)
                return bool([each async for each in client.list_workflows("ExecutionStatus = 'Terminated'")])

            await until(one_has_come_to_its_limit, 2 * HANGS_AFTER, "a history at its limit")

        async def are_confirmed() -> bool:
            await release_all(customer)
            return all([(await customer.sees(order_id))["status"] == "confirmed" for order_id in accepted])

        await until(are_confirmed, 2 * HANGS_AFTER, "the orders to be confirmed")
        await all_are_confirmed(connection, accepted, sku, row, "histories come to their limit")
        await customer.close()


async def release_all(customer: Customer) -> None:
    answer = await customer.api.post(
        "/operations/parked/release", json={"why": "perhaps it works now"}, headers=customer.operator
    )
    assert answer.status_code in {202, 503}, answer.text


async def all_are_confirmed(connection: Connection, accepted: Sequence[str], sku: str, row: Rows, broken: str) -> None:
    """All that there was of the SKU was ordered."""
    seen = await all_ended(connection, sku, len(accepted))
    counts = await count(connection, accepted, {sku: len(accepted)})
    row.add(broken, **counts._asdict())
    assert (counts.accepted, counts.ended) == (len(accepted), len(accepted))
    assert (counts.waiting, counts.parked, counts.lost, counts.twice) == (0, 0, 0, 0)
    assert {course.status for course in seen} == {"confirmed"}


def pids(connection: Connection | None) -> dict[str, int]:
    assert connection
    return connection.pids


async def all_are_dispatched(connection: Connection, stream: Stream) -> None:
    async def are_dispatched() -> bool:
        seen = await courses(connection, stream.sku)
        return len(seen) == len(stream.payments) and all(each.dispatched for each in seen)

    await until(are_dispatched, HANGS_AFTER, "Temporal to be told of all orders")


async def carriers(connection: Connection, sku: str) -> Sequence[str]:
    """The workflows of the orders that have not ended."""
    return sorted({c.workflow_id for c in await courses(connection, sku) if c.workflow_id and c.ended is None})


async def end_of(client: Client, workflow_id: str) -> bool:
    """Whether it was terminated while it ran."""
    handle = client.get_workflow_handle(workflow_id)
    try:
        await handle.terminate("a drill")
    except Exception:  # noqa: BLE001, it has ended before
        return False
    return (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED
