"""Oldest first, measured: orders gather during an outage, then begin; how far is that from the order of acceptance?"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from lanka.home import Connection
from tests.e2e.customer import Customer
from tests.e2e.machine import Machine, a_machine
from tests.faults.counts import count
from tests.faults.drill import (
    PRICE,
    Course,
    Disorder,
    all_ended,
    begun_in_disorder,
    disorder,
    kept_dead,
    oldest_waiting,
    stopped,
)
from tests.faults.table import Rows

ONE_BY_ONE = {"LANKA_BATCH_SIZE": "1"}
ALL_IN_TEMPORAL = {"LANKA_BATCH_SIZE": "1", "LANKA_BATCHES": "1000"}


@dataclass(frozen=True)
class Drill:
    """`orders`, oldest first; `winners` are the places of those that got an item, of which there were half as many."""

    orders: Sequence[Course]
    begun: Disorder
    winners: Sequence[int]


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    async with a_machine() as machine:
        yield machine


@pytest.fixture(scope="session")
def only_whole(whole: bool) -> None:
    if not whole:
        pytest.skip("only with --whole")


async def test_the_last_item_goes_to_the_earliest_order(machine: Machine, row: Rows) -> None:
    """They gather in the shop and travel in one batch, but for the first, which is on its way already."""
    connection = await machine.ready()
    drill = await orders_gather(machine, connection, "temporal", row, "all in a batch", orders=90)
    assert drill.begun == Disorder(inversions=0, pairs=90 * 89 // 2, displacement=0)
    assert drill.winners == [*range(45)]


async def test_one_by_one_an_order_is_overtaken_by_few(machine: Machine, row: Rows, only_whole: None) -> None:
    connection = await machine.ready(ONE_BY_ONE)
    drill = await orders_gather(machine, connection, "worker", row, "one by one", orders=150)
    assert drill.begun.displacement <= 10
    assert max(drill.winners) < 75 + 10


async def test_temporal_gives_out_what_has_gathered_there_oldest_first(
    machine: Machine, row: Rows, only_whole: None
) -> None:
    """With four partitions of a queue instead of one, the largest displacement was 55."""
    connection = await machine.ready(ALL_IN_TEMPORAL)
    drill = await orders_gather(machine, connection, "worker", row, "one by one, all in Temporal", orders=150)
    assert drill.begun.inversions < 0.05 * drill.begun.pairs
    assert drill.begun.displacement <= 45
    assert max(drill.winners) < 75 + 45


async def test_in_a_batch_nobody_is_overtaken_though_a_smaller_batch_may_be_quicker(
    machine: Machine, row: Rows, only_whole: None
) -> None:
    connection = await machine.ready()
    drill = await orders_gather(machine, connection, "worker", row, "in several batches", orders=150)
    batches: dict[str | None, list[Course]] = {}
    for course in drill.orders:
        batches.setdefault(course.workflow_id, []).append(course)
    assert len(batches) > 1
    for batch in batches.values():
        assert begun_in_disorder(batch).inversions == 0
        served = [course.status == "confirmed" for course in batch]
        assert served == sorted(served, reverse=True), "in each batch the earlier get the last items"


async def orders_gather(
    machine: Machine, connection: Connection, away: str, row: Rows, travel: str, *, orders: int
) -> Drill:
    """Posts them one after the other, for half as many items, while a part is away; then lets them go."""
    outage = kept_dead if away == "worker" else stopped
    async with a_customer(connection) as customer:
        sku = await customer.puts_on_sale(orders // 2)
        payments = [await customer.pays(PRICE) for _ in range(orders)]
        async with outage(machine, away):
            order_ids = [await customer.orders((sku, 1, PRICE), payment_id=payment) for payment in payments]
        back = datetime.now(UTC)
        seen = await all_ended(connection, sku, orders)
        counts = await count(connection, order_ids, {sku: orders // 2})
    drill = Drill(seen, begun_in_disorder(seen), [n for n, course in enumerate(seen) if course.status == "confirmed"])
    told = f"{orders} orders gather while {away} is away, {travel}"
    print(  # noqa: T201
        f"{told}: {drill.begun}; the oldest was {oldest_waiting(seen, back):.1f} s old when it was back;"
        f" of {orders // 2} items {sum(n >= orders // 2 for n in drill.winners)} went to the later half,"
        f" the furthest to order {max(drill.winners) + 1}"
    )
    row.add(told, **counts._asdict())
    assert [course.subject for course in seen] == order_ids
    assert (counts.ended, counts.parked, counts.lost, counts.twice) == (orders, 0, 0, 0)
    assert len(drill.winners) == orders // 2
    return drill


@asynccontextmanager
async def a_customer(connection: Connection) -> AsyncIterator[Customer]:
    customer = Customer(connection)
    yield customer
    await customer.close()


# ---- the measure itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranks", "inversions", "displacement"),
    [([], 0, 0), ([7, 8, 9], 0, 0), ([9, 8, 7], 3, 2), ([4, 1, 2, 3], 3, 3), ([2, 1, 4, 3], 2, 1)],
)
def test_disorder_is_counted_in_inverted_pairs_and_in_places(
    ranks: list[int], inversions: int, displacement: int
) -> None:
    pairs = len(ranks) * (len(ranks) - 1) // 2
    assert disorder(ranks) == Disorder(inversions, pairs, displacement)
