"""Outages under load: parts are away for a while, then everything drains by itself and nothing has happened twice."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes
from temporalio.client import Client

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
from tests.servers import HANGS_AFTER, until
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
IN_SHORT = "everything is away at once"


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
    assert begun.displacement <= together, "nobody waits while others come, are served and go"
    for batch in {course.workflow_id for course in afterwards}:
        assert begun_in_disorder([course for course in afterwards if course.workflow_id == batch]).inversions == 0


@pytest.mark.parametrize("part", ["worker", "temporal"])
async def test_after_a_kill_all_that_was_under_way_moves_again_within_ten_seconds(
    machine: Machine, customer: Customer, connection: Connection, row: Rows, whole: bool, part: str, size: int
) -> None:
    """By Temporal's own clocks: how fast this machine is does not count."""
    async with a_stream(customer, 100 if whole else 40) as stream, broken(customer, latency_ms=300):
        await stream.part_is_sent(1 / 2)
        restart = await kill(machine, part)
        await until(lambda: stream.all_accepted, HANGS_AFTER, "the end of the stream")
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
    told_to_temporal, died_of = await what_temporal_knows_of(connection, under_way)
    missed_after = {each.heartbeat_timeout.ToTimedelta() for each in told_to_temporal}
    again_after = {each.retry_policy.initial_interval.ToTimedelta() for each in told_to_temporal}
    assert max(missed_after) + max(again_after) < timedelta(seconds=10)
    assert died_of <= {TimeoutType.TIMEOUT_TYPE_HEARTBEAT}, "a longer patience of Temporal was needed"


async def what_temporal_knows_of(
    connection: Connection, orders: Sequence[Course]
) -> tuple[list[ActivityTaskScheduledEventAttributes], set[int]]:
    """What Temporal was told of the activities of the orders, and the timeouts by which it missed attempts at them."""
    client = await Client.connect(connection.temporal)
    scheduled, timeouts = [], set[int]()
    for workflow_id in {course.workflow_id or "" for course in orders}:
        async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
            if event.HasField("activity_task_scheduled_event_attributes"):
                scheduled.append(event.activity_task_scheduled_event_attributes)
            failure = event.activity_task_started_event_attributes.last_failure
            if failure.HasField("timeout_failure_info"):
                timeouts.add(failure.timeout_failure_info.timeout_type)
    return scheduled, timeouts


async def everything_is_as_if_nothing_had_been(
    connection: Connection, stream: Stream, row: Rows, broken: str
) -> list[Course]:
    orders = len(stream.payments)
    seen = await all_ended(connection, stream.sku, orders)
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


async def test_a_provider_that_comes_back_is_asked_no_faster_than_was_set(row: Rows, whole: bool) -> None:
    if not whole:
        pytest.skip("only with --whole")
    orders = 60
    slowly = {"LANKA_PROVIDER_BATCHES_PER_SECOND": str(PER_SECOND), "LANKA_BATCH_SIZE": "1", "LANKA_BATCHES": "1000"}
    async with a_machine() as machine:
        connection = await machine.ready(slowly)
        async with customer_of(machine) as customer:
            async with a_stream(customer, orders, per_second=100) as stream, broken(customer, down=True):
                await until(lambda: stream.all_accepted, HANGS_AFTER, "all orders")

                async def all_wait() -> bool:
                    return all(course.dispatched for course in await courses(connection, stream.sku))

                await until(all_wait, HANGS_AFTER, "Temporal to be told of all orders")
                back = datetime.now(UTC)
            seen = await everything_is_as_if_nothing_had_been(
                connection, stream, row, f"the provider comes back to {orders} orders, {PER_SECOND} a second"
            )
            asked = [course.began for course in seen if course.began]
            for calls in (asked, [time async for time in captures(customer, stream)]):
                assert len(calls) == orders
                assert too_early(calls, back) == []


async def captures(customer: Customer, stream: Stream) -> AsyncIterator[datetime]:
    """When the provider took the money of each order."""
    for payment in stream.payments:
        (capture,) = (await customer.payment(payment))["operations"]
        yield datetime.fromisoformat(capture["at"])


def too_early(times: Sequence[datetime], since: datetime) -> list[int]:
    """The places of those that come before so many were due; what has gathered within two seconds may come at once."""
    due = [since + timedelta(seconds=nth / PER_SECOND - 2) for nth in range(len(times))]
    return [nth for nth, (time, earliest) in enumerate(zip(sorted(times), due, strict=True)) if time < earliest]
