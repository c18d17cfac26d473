"""Outages under load: parts are away for a while, then everything drains by itself and nothing has happened twice."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from activities.failures import LONGEST_DELAY
from lanka.home import Connection
from tests.e2e.customer import Customer
from tests.e2e.machine import Machine, a_machine
from tests.faults.counts import count
from tests.faults.drill import (
    Course,
    Stream,
    a_stream,
    all_ended,
    begun_in_disorder,
    broken,
    courses,
    dispatched_in_disorder,
    everything_away,
    kept_dead,
    kill,
    most_on_the_way,
    stopped,
    waiting,
)
from tests.faults.table import Rows
from tests.servers import until
from workflows.router import HEARTBEAT_TIMEOUT


@pytest.fixture(scope="module", params=[20, 1], ids=lambda size: f"batches of {size}")
async def machine(request: pytest.FixtureRequest, whole: bool) -> AsyncIterator[Machine]:
    if request.param == 1 and not whole:
        pytest.skip("only with --whole")
    async with a_machine() as machine:
        await machine.ready({"LANKA_BATCH_SIZE": str(request.param)})
        yield machine


@pytest.fixture
def size(request: pytest.FixtureRequest) -> int:
    """Orders in a batch at most."""
    return int(request.node.callspec.params["machine"])


@asynccontextmanager
async def customer_of(machine: Machine) -> AsyncIterator[Customer]:
    customer = Customer(await machine.ready())
    yield customer
    await customer.close()


@pytest.fixture
async def customer(machine: Machine) -> AsyncIterator[Customer]:
    async with customer_of(machine) as customer:
        yield customer


@pytest.fixture
async def connection(machine: Machine) -> Connection:
    return await machine.ready()


OUTAGES: dict[str, Callable[[Machine, Customer], AbstractAsyncContextManager[None]]] = {
    "Temporal is stopped": lambda machine, _: stopped(machine, "temporal"),
    "Temporal is killed again and again": lambda machine, _: kept_dead(machine, "temporal"),
    "PostgreSQL is stopped": lambda machine, _: stopped(machine, "postgres"),
    "PostgreSQL is killed again and again": lambda machine, _: kept_dead(machine, "postgres"),
    "the provider is down": lambda _, customer: broken(customer, down=True),
    "the provider does the work and never answers": lambda _, customer: broken(customer, timeout_rate=1),
    "the worker is stopped": lambda machine, _: stopped(machine, "worker"),
    "the worker is killed again and again": lambda machine, _: kept_dead(machine, "worker"),
    "everything is away at once": everything_away,
}
NEXT_ATTEMPT = timedelta(seconds=1.25 * LONGEST_DELAY) + HEARTBEAT_TIMEOUT
"""An attempt may have failed in the last moment, after the longest pause; or its worker was silent from then on."""

IN_SHORT = "everything is away at once"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("outage", OUTAGES)
async def test_after_an_outage_everything_drains_by_itself(
    machine: Machine,
    customer: Customer,
    connection: Connection,
    row: Rows,
    whole: bool,
    outage: str,
    size: int,
) -> None:
    if outage != IN_SHORT and not whole:
        pytest.skip("only with --whole")
    async with a_stream(customer, 150 if whole else 40) as stream:
        await stream.part_is_sent(1 / 4)
        async with OUTAGES[outage](machine, customer):
            await stream.part_is_sent(3 / 4)
        back = datetime.now(UTC)
    told = f"{outage}, batches of {size}"
    seen = await everything_is_as_if_nothing_had_been(connection, stream, row, told)

    waited = max((course.began - back for course in waiting(seen, back) if course.began), default=timedelta())
    afterwards = [course for course in seen if course.dispatched and course.dispatched > back]
    straight = [course for course in afterwards if not lost_an_attempt(course)]
    begun, together = begun_in_disorder(straight), most_on_the_way(afterwards)
    print(  # noqa: T201
        f"{told}: {len(waiting(seen, back))} waited when it was over, the last for {waited} more;"
        f" {len(afterwards)} were dispatched afterwards, {together} on the way at once at most; of {len(straight)} that"
        f" lost no attempt {begun}"
    )
    assert waited < NEXT_ATTEMPT
    assert begun.displacement <= together, "nobody waits while others come, are served and go"
    for batch in {course.workflow_id for course in afterwards}:
        assert begun_in_disorder([course for course in afterwards if course.workflow_id == batch]).inversions == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", ["worker", "temporal"])
async def test_after_a_kill_all_that_was_under_way_moves_again_within_ten_seconds(
    machine: Machine, customer: Customer, connection: Connection, row: Rows, whole: bool, part: str, size: int
) -> None:
    async with a_stream(customer, 100 if whole else 40) as stream, broken(customer, latency_ms=300):
        await stream.part_is_sent(1 / 2)
        restart = await kill(machine, part)
        await until(lambda: stream.all_accepted, 60, "the end of the stream")
    told = f"{part} is killed once, batches of {size}"
    seen = await everything_is_as_if_nothing_had_been(connection, stream, row, told)

    under_way = [course for course in seen if course.received < restart.started < ended(course)]
    assert under_way, "the orders were too quick to be interrupted"
    moved = sorted(next(time for time, _ in course.events if time > restart.started) for course in under_way)
    finished = sorted(ended(course) for course in under_way)
    print(  # noqa: T201
        f"{told}: {len(under_way)} under way; started again after"
        f" {restart.started - restart.killed}, ready after {restart.ready - restart.started},"
        f" first moved after {moved[0] - restart.started}, last after {moved[-1] - restart.started};"
        f" first end after {finished[0] - restart.started}, last after {finished[-1] - restart.started}"
    )
    assert moved[-1] - restart.started < timedelta(seconds=10)


async def everything_is_as_if_nothing_had_been(
    connection: Connection, stream: Stream, row: Rows, broken: str
) -> list[Course]:
    orders = len(stream.payments)
    seen = await all_ended(connection, stream.sku, orders, within=120)
    counts = await count(connection, stream.accepted, {stream.sku: orders})
    row.add(broken, **counts._asdict())
    assert (counts.accepted, counts.ended) == (orders, orders)
    assert (counts.waiting, counts.parked, counts.lost, counts.twice) == (0, 0, 0, 0)
    assert {course.status for course in seen} == {"confirmed"}
    assert not [kind for course in seen for _, kind in course.events if kind == "lanka.OrderParked"]
    assert dispatched_in_disorder(seen).inversions == 0
    return seen


def lost_an_attempt(course: Course) -> bool:
    """Temporal may give something to a worker whose death it has not noticed yet."""
    return bool(course.dispatched and course.began and course.began - course.dispatched >= HEARTBEAT_TIMEOUT)


def ended(course: Course) -> datetime:
    assert course.ended
    return course.ended


# ---- a provider that comes back ----------------------------------------------------------------------------------

PER_SECOND = 5


@pytest.mark.timeout(180)
async def test_a_provider_that_comes_back_is_asked_no_faster_than_was_set(row: Rows, whole: bool) -> None:
    if not whole:
        pytest.skip("only with --whole")
    orders = 60
    slowly = {"LANKA_PROVIDER_BATCHES_PER_SECOND": str(PER_SECOND), "LANKA_BATCH_SIZE": "1", "LANKA_BATCHES": "1000"}
    async with a_machine() as machine:
        connection = await machine.ready(slowly)
        async with customer_of(machine) as customer:
            async with a_stream(customer, orders, per_second=100) as stream, broken(customer, down=True):
                await until(lambda: stream.all_accepted, 60, "all orders")

                async def all_wait() -> bool:
                    return all(course.dispatched for course in await courses(connection, stream.sku))

                await until(all_wait, 60, "Temporal to be told of all orders")
            seen = await everything_is_as_if_nothing_had_been(
                connection, stream, row, f"the provider comes back to {orders} orders, {PER_SECOND} a second"
            )
            asked = [course.began for course in seen if course.began]
            for calls in (asked, [time async for time in captures(customer, stream)]):
                assert len(calls) == orders
                assert most_in_a_second(calls) <= 2 * PER_SECOND  # a second may begin at any time
                assert max(calls) - min(calls) > timedelta(seconds=0.8 * orders / PER_SECOND)


async def captures(customer: Customer, stream: Stream) -> AsyncIterator[datetime]:
    """When the provider took the money of each order."""
    for payment in stream.payments:
        (capture,) = (await customer.payment(payment))["operations"]
        yield datetime.fromisoformat(capture["at"])


def most_in_a_second(times: Sequence[datetime]) -> int:
    return max(sum(timedelta() <= other - time < timedelta(seconds=1) for other in times) for time in times)
