"""The dispatcher between a real PostgreSQL and a real Temporal server, without a worker: what was sent stays there."""

import asyncio
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from dispatch.dispatcher import Wakeup
from lanka.settings import Dispatch, load_settings
from store.database import Pool, open_pool
from tests.integration.conftest import dispatched, signalled
from tests.servers import HANGS_AFTER, free_port, temporal_server, until
from tests.shop import accept, an_order, fetch, running_dispatcher
from workflows.chains import CHAINS


async def subjects_told(client: Client, workflow_id: str) -> list[list[str]]:
    """The subjects of each signal that the workflow got."""
    return [[event["subject"] for event in events] for events in await signalled(client, workflow_id)]


async def carriers(pool: Pool) -> list[tuple[str, int]]:
    """The workflows in the order of their first subject, with the number of subjects each carries."""
    rows = await fetch(
        pool, "SELECT workflow_id, count(*) AS n FROM subjects GROUP BY workflow_id ORDER BY min(position)"
    )
    return [(row["workflow_id"], row["n"]) for row in rows]


async def test_an_order_alone_gets_a_workflow_of_its_own(
    pool: Pool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANKA_PUBLIC_URL", "http://shop/")
    order = an_order(cup=2, pot=1)
    wakeup = Wakeup(pool)
    async with running_dispatcher(pool, wakeup):
        await accept(pool, order)
        wakeup.wake()
        await until(lambda: dispatched(pool, order), HANGS_AFTER, "the dispatch")

    assert await subjects_told(client, f"order-{order.order_id}") == [[order.order_id]]
    described = await client.get_workflow_handle(f"order-{order.order_id}").describe()
    assert await described.static_summary() == "3 items · EUR 7.50 · cus_1"
    details = await described.static_details()
    assert details
    assert f"[{order.order_id}](http://shop/console#/orders/{order.order_id})" in details
    assert "| `cart` | `cart` | PaymentConfirmed | StockReserved, CartUnavailable |" in details
    assert described.workflow_type == "OrderConfirmation"
    assert described.task_queue == "order-confirmation"
    (status,) = await fetch(pool, "SELECT status_shown(status, dispatched_at) AS status, version FROM subjects")
    assert status == {"status": "processing", "version": CHAINS["orders"].table.version}


async def test_a_workflow_begins_with_the_version_with_which_its_orders_were_taken(pool: Pool, client: Client) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    await fetch(pool, "UPDATE subjects SET workflow_id = $1, taken_at = now(), version = 7", f"order-{order.order_id}")
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: dispatched(pool, order), HANGS_AFTER, "the dispatch")

    history = await client.get_workflow_handle(f"order-{order.order_id}").fetch_history()
    began = history.events[0].workflow_execution_started_event_attributes
    assert await client.data_converter.decode(began.input.payloads) == [7]


async def test_orders_that_gather_travel_together_oldest_first(pool: Pool, client: Client) -> None:
    orders = [an_order(cup=1) for _ in range(20)]
    await accept(pool, *orders)
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: dispatched(pool, *orders), HANGS_AFTER, "the dispatch")

    workflow_id = f"batch-{orders[0].order_id}"
    assert await carriers(pool) == [(workflow_id, 20)]
    assert await subjects_told(client, workflow_id) == [[order.order_id for order in orders]]
    described = await client.get_workflow_handle(workflow_id).describe()
    assert await described.static_summary() == "20 orders · 20 items"


async def test_a_batch_is_bounded_in_number_and_in_bytes(
    pool: Pool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANKA_BATCH_SIZE", "4")
    orders = [an_order(cup=1) for _ in range(6)]
    await accept(pool, *orders)
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: dispatched(pool, *orders), HANGS_AFTER, "the dispatch")
    assert [n for _, n in await carriers(pool)] == [4, 2]

    monkeypatch.setenv("LANKA_BATCH_SIZE", "100")
    monkeypatch.setenv("LANKA_BATCH_BYTES", "700")
    more = [an_order(cup=1) for _ in range(4)]
    await accept(pool, *more)
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: dispatched(pool, *more), HANGS_AFTER, "the dispatch")
    assert [n for _, n in await carriers(pool)][2:] == [2, 2]


async def test_a_batch_whose_ids_do_not_fit_into_a_search_attribute_goes_on_its_way(pool: Pool, client: Client) -> None:
    orders = [an_order(cup=1) for _ in range(150)]
    await accept(pool, *orders)
    async with running_dispatcher(pool, Wakeup(pool), batch_size=200):
        await until(lambda: dispatched(pool, *orders), HANGS_AFTER, "the dispatch")
    assert [n for _, n in await carriers(pool)] == [150]


async def test_what_nobody_has_registered_holds_no_order_up(
    pool: Pool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobodys = SearchAttributePair(SearchAttributeKey.for_keyword_list("Nobodys"), ["colour"])
    chain = replace(CHAINS["orders"], attributes=lambda _: TypedSearchAttributes([nobodys]))
    monkeypatch.setitem(CHAINS, "orders", chain)
    order = an_order(cup=1)
    await accept(pool, order)
    with capture_logs() as logs:
        async with running_dispatcher(pool, Wakeup(pool)):
            await until(lambda: dispatched(pool, order), HANGS_AFTER, "the dispatch")
    assert "Temporal refuses the search attributes" in {entry["event"] for entry in logs}
    assert await subjects_told(client, f"order-{order.order_id}") == [[order.order_id]]


async def test_a_few_batches_are_on_the_way_and_a_waiting_one_gives_its_place_up(
    pool: Pool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANKA_BATCH_SIZE", "1")
    monkeypatch.setenv("LANKA_BATCHES", "2")
    monkeypatch.setattr("dispatch.dispatcher.STUCK_AFTER", timedelta(hours=1))
    orders = [an_order(cup=1) for _ in range(3)]
    await accept(pool, *orders)
    wakeup = Wakeup(pool)
    async with running_dispatcher(pool, wakeup):
        await until(lambda: dispatched(pool, *orders[:2]), HANGS_AFTER, "the first two")
        assert not await dispatched(pool, orders[2])
        # Nobody works on the two: after STUCK_AFTER they merely wait, and the third is sent.
        monkeypatch.setattr("dispatch.dispatcher.STUCK_AFTER", timedelta(0))
        wakeup.wake()
        await until(lambda: dispatched(pool, orders[2]), HANGS_AFTER, "the third")


async def test_a_batch_that_ends_makes_room_at_once(
    pool: Pool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.dispatcher.STUCK_AFTER", timedelta(hours=1))
    monkeypatch.setenv("LANKA_BATCHES", "1")
    first, second = an_order(cup=1), an_order(cup=1)
    wakeup = Wakeup(pool)
    async with running_dispatcher(pool, wakeup):
        await accept(pool, first)
        await until(lambda: dispatched(pool, first), HANGS_AFTER, "the first")
        await accept(pool, second)
        wakeup.wake()
        await fetch(pool, "UPDATE subjects SET ended_at = now() WHERE subject = $1", first.order_id)
        await until(lambda: dispatched(pool, second), HANGS_AFTER, "the second")


async def test_while_a_batch_is_on_the_way_the_next_one_gathers_until_it_ends(
    pool: Pool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.dispatcher.STUCK_AFTER", timedelta(hours=1))
    monkeypatch.setenv("LANKA_GATHER_SECONDS", "3600")
    first, *others = [an_order(cup=1) for _ in range(4)]
    wakeup = Wakeup(pool)
    async with running_dispatcher(pool, wakeup):
        await accept(pool, first)
        await until(lambda: dispatched(pool, first), HANGS_AFTER, "the first")
        for order in others:
            await accept(pool, order)
            wakeup.wake()
        await fetch(pool, "UPDATE subjects SET ended_at = now() WHERE subject = $1", first.order_id)
        await until(lambda: dispatched(pool, *others), HANGS_AFTER, "the others")
    assert [n for _, n in await carriers(pool)] == [1, 3]


async def test_a_full_batch_leaves_though_another_is_on_the_way(
    pool: Pool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.dispatcher.STUCK_AFTER", timedelta(hours=1))
    monkeypatch.setenv("LANKA_GATHER_SECONDS", "3600")
    monkeypatch.setenv("LANKA_BATCH_SIZE", "2")
    orders = [an_order(cup=1) for _ in range(4)]
    await accept(pool, *orders)
    async with running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: dispatched(pool, *orders), HANGS_AFTER, "the dispatch")
    assert [n for _, n in await carriers(pool)] == [2, 2]


async def test_a_batch_does_not_gather_for_ever(pool: Pool, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatch.dispatcher.STUCK_AFTER", timedelta(hours=1))
    first, second = an_order(cup=1), an_order(cup=1)
    async with running_dispatcher(pool, Wakeup(pool)):
        await accept(pool, first)
        await until(lambda: dispatched(pool, first), HANGS_AFTER, "the first")
        await accept(pool, second)
        await until(lambda: dispatched(pool, second), HANGS_AFTER, "the second, though nobody works on the first")


async def test_a_batch_whose_dispatcher_died_is_repeated_as_it_was(pool: Pool, client: Client) -> None:
    taken, later = [an_order(cup=1), an_order(cup=1)], an_order(cup=1)
    await accept(pool, *taken, later)
    workflow_id = f"batch-{taken[0].order_id}"
    await fetch(
        pool,
        "UPDATE subjects SET workflow_id = $1, taken_at = now(), version = 1 WHERE subject <> $2",
        workflow_id,
        later.order_id,
    )

    async with running_dispatcher(pool, Wakeup(pool)):
        await until(lambda: dispatched(pool, *taken, later), HANGS_AFTER, "the dispatch")

    assert await subjects_told(client, workflow_id) == [[order.order_id for order in taken]]
    assert await carriers(pool) == [(workflow_id, 2), (f"order-{later.order_id}", 1)]


async def test_several_api_processes_do_not_send_an_order_twice(database_url: str, pool: Pool, client: Client) -> None:
    orders = [an_order(cup=1) for _ in range(60)]
    async with open_pool(database_url) as other, open_pool(database_url) as third:
        wakeups = [Wakeup(pool), Wakeup(other), Wakeup(third)]
        async with (
            running_dispatcher(pool, wakeups[0]),
            running_dispatcher(other, wakeups[1]),
            running_dispatcher(third, wakeups[2]),
        ):
            for n, order in enumerate(orders):
                await accept(pool, order)
                wakeups[n % 3].wake()
            await until(lambda: dispatched(pool, *orders), HANGS_AFTER, "the dispatch")

    sent = [await subjects_told(client, workflow_id) for workflow_id, _ in await carriers(pool)]
    assert all(len(signals) == 1 for signals in sent)
    assert [subject for (subjects,) in sent for subject in subjects] == [order.order_id for order in orders]


async def test_another_process_leads_when_the_leader_stops(database_url: str, pool: Pool, client: Client) -> None:
    first, second = an_order(cup=1), an_order(cup=1)
    async with open_pool(database_url) as other:
        async with running_dispatcher(pool, Wakeup(pool)):
            await accept(pool, first)
            await until(lambda: dispatched(pool, first), HANGS_AFTER, "the first")
            standing_by = asyncio.create_task(_dispatch_until_told(other, told := asyncio.Event()))
        await accept(pool, second)
        await until(lambda: dispatched(pool, second), HANGS_AFTER, "the second, by the other process")
        told.set()
        await standing_by


async def _dispatch_until_told(pool: Pool, told: asyncio.Event) -> None:
    async with running_dispatcher(pool, Wakeup(pool)):
        await told.wait()


async def test_while_temporal_is_away_orders_gather_and_then_go_in_order(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setitem(os.environ, "TEMPORAL_ADDRESS", f"127.0.0.1:{port}")
    orders = [an_order(cup=1) for _ in range(5)]
    async with running_dispatcher(pool, Wakeup(pool)):
        await accept(pool, *orders)
        assert not await dispatched(pool, *orders)
        async with temporal_server(tmp_path, port=port):
            await until(lambda: dispatched(pool, *orders), HANGS_AFTER, "the dispatch")
    assert sum(n for _, n in await carriers(pool)) == 5


@pytest.mark.parametrize(("environment", "places"), [({}, 4), ({"BATCH_SIZE": "1"}, 20), ({"BATCHES": "7"}, 7)])
def test_orders_that_go_alone_have_more_places(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], places: int
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"LANKA_{name}", value)
    assert load_settings(Dispatch).batches == places
