"""What drills are made of: customers who do not give up, parts that are away for a while, and what is seen after."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations
from typing import Any, NamedTuple

import asyncpg
import httpx
import psutil
import stamina

from lanka.home import Connection
from lanka.readiness import temporal_answers
from tests.e2e.customer import Customer, order_of
from tests.e2e.machine import Machine
from tests.servers import HANGS_AFTER, until

PRICE = 250


# ---- customers ---------------------------------------------------------------------------------------------------


class Away(Exception):
    """The API says, or shows, that it cannot accept at the moment."""


@dataclass
class Stream:
    """A steady stream of orders of one thing, each sent again with its key until it is accepted.

    `sent` and `accepted` fill while it runs, the ids in the order of their 202.
    """

    customer: Customer
    sku: str
    payments: Sequence[str]
    per_second: float
    sent: int = 0
    accepted: list[str] = field(default_factory=list)

    @property
    def all_accepted(self) -> bool:
        return len(self.accepted) == len(self.payments)

    async def run(self) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as posts:
            for nth, payment in enumerate(self.payments):
                await asyncio.sleep(began + nth / self.per_second - time.monotonic())
                posts.create_task(self._post(payment))
                self.sent += 1

    async def part_is_sent(self, part: float) -> None:
        await until(lambda: self.sent >= part * len(self.payments), 2 * HANGS_AFTER, f"{part:.0%} of the stream")

    async def _post(self, payment: str) -> None:
        async for attempt in stamina.retry_context((Away, httpx.TransportError), attempts=None, timeout=90, wait_max=1):
            with attempt:
                answer = await self.customer.posts(order_of(payment, [(self.sku, 1, PRICE)]), key=payment)
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    raise Away
                assert answer.status_code == httpx.codes.ACCEPTED, answer.text
                self.accepted.append(answer.json()["order_id"])


@asynccontextmanager
async def a_stream(customer: Customer, orders: int, *, per_second: float = 10) -> AsyncIterator[Stream]:
    """Runs beside what the drill does; at the end everything has been accepted. It is paid in fair weather."""
    sku = await customer.puts_on_sale(orders)
    payments = [await customer.pays(PRICE) for _ in range(orders)]
    stream = Stream(customer, sku, payments, per_second)
    async with asyncio.TaskGroup() as beside:
        beside.create_task(stream.run())
        yield stream


# ---- parts that are away -----------------------------------------------------------------------------------------

WORKS = "worker works"
"""What a worker prints when it is ready."""


class Restart(NamedTuple):
    """`started` when another process was seen, not yet at work; `ready` once it was."""

    killed: datetime
    started: datetime
    ready: datetime


@asynccontextmanager
async def stopped(machine: Machine, part: str) -> AsyncIterator[None]:
    """The part with all its processes neither works nor answers; its connections stay open."""
    root = psutil.Process(_pid(machine, part))
    family = [root, *root.children(recursive=True)]
    try:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()


@asynccontextmanager
async def kept_dead(machine: Machine, part: str) -> AsyncIterator[None]:
    """`kill -9`, and again whenever `lanka up` has started it anew; at the end a new one has been started."""
    killed: list[int] = []

    async def kill() -> None:
        while True:
            pid = _pid(machine, part)
            if pid not in killed:
                killed.append(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.05)

    killing = asyncio.create_task(kill())
    try:
        await until(lambda: killed, HANGS_AFTER, f"the end of {part}")
        yield
    finally:
        killing.cancel()
        await asyncio.wait([killing])
    await until(lambda: _pid(machine, part) not in killed, HANGS_AFTER, f"another {part}")


async def kill(machine: Machine, part: str) -> Restart:
    """`kill -9`, once; returns when what `lanka up` has started in its place is ready. `part`: worker or temporal."""
    connection = await machine.ready()
    before, works = connection.pids[part], machine.up.printed().count(WORKS)
    killed = datetime.now(UTC)
    os.kill(before, signal.SIGKILL)
    await until(lambda: _pid(machine, part) != before, HANGS_AFTER, f"another {part}")
    started = datetime.now(UTC)
    if part == "temporal":
        await until(lambda: temporal_answers(connection.temporal), HANGS_AFTER, "Temporal")
    else:
        await until(lambda: machine.up.printed().count(WORKS) > works, HANGS_AFTER, "another worker")
    return Restart(killed, started, ready=datetime.now(UTC))


@asynccontextmanager
async def broken(customer: Customer, **faults: Any) -> AsyncIterator[None]:
    """The provider, broken on purpose."""
    await customer.payments.put("/faults", json=faults)
    try:
        yield
    finally:
        await customer.payments.put("/faults", json={})


@asynccontextmanager
async def everything_away(machine: Machine, customer: Customer) -> AsyncIterator[None]:
    async with AsyncExitStack() as away:
        await away.enter_async_context(broken(customer, down=True))
        await away.enter_async_context(stopped(machine, "temporal"))
        for part in ("worker", "postgres"):
            await away.enter_async_context(kept_dead(machine, part))
        yield


def _pid(machine: Machine, part: str) -> int:
    connection = machine.home.connection()
    assert connection
    return connection.pids[part]


# ---- what is seen after ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disorder:
    """How far what happened is from the order of acceptance.

    `inversions` of `pairs` are the wrong way round; the one that came furthest from its place is `displacement` off.
    """

    inversions: int
    pairs: int
    displacement: int

    def __str__(self) -> str:
        return f"{self.inversions} of {self.pairs} pairs inverted, largest displacement {self.displacement}"


def disorder(ranks: Sequence[int]) -> Disorder:
    """Of things in the order in which they happened, each told by its rank in the order of acceptance."""
    placed = [sorted(ranks).index(rank) for rank in ranks]
    return Disorder(
        inversions=sum(earlier > later for earlier, later in combinations(placed, 2)),
        pairs=len(placed) * (len(placed) - 1) // 2,
        displacement=max((abs(place - nth) for nth, place in enumerate(placed)), default=0),
    )


@dataclass(frozen=True)
class Course:
    """How an order fared. `effect` is the place of its first effect in the journal of all, `began` when that was."""

    subject: str
    status: str
    workflow_id: str | None
    received: datetime
    dispatched: datetime | None
    began: datetime | None
    effect: int | None
    ended: datetime | None
    events: Sequence[tuple[datetime, str]]


async def courses(connection: Connection, sku: str) -> list[Course]:
    """Of all orders for the SKU, in the order of acceptance."""
    database = await asyncpg.connect(connection.database_url, timeout=5)
    try:
        rows = await database.fetch(
            """
            SELECT subjects.subject, subjects.status, subjects.workflow_id, subjects.received_at,
                   subjects.dispatched_at, first.time, first.position, subjects.ended_at,
                   (SELECT array_agg((time, type) ORDER BY position) FROM journal WHERE subject = subjects.subject)
            FROM subjects
            JOIN orders ON orders.order_id = subjects.subject
            LEFT JOIN journal AS first ON first.subject = subjects.subject AND first.type = 'lanka.PaymentConfirmed'
            WHERE lines @> jsonb_build_array(jsonb_build_object('sku', $1::text))
            ORDER BY subjects.position
            """,
            sku,
        )
    finally:
        await database.close()
    return [Course(*row) for row in rows]


async def all_ended(connection: Connection, sku: str, orders: int) -> list[Course]:
    """How the orders fared, once that many have ended."""

    async def ended() -> list[Course] | None:
        seen = await courses(connection, sku)
        return seen if sum(course.ended is not None for course in seen) >= orders else None

    return await until(ended, 2 * HANGS_AFTER, f"the end of {orders} orders") or []


def begun_in_disorder(orders: Sequence[Course]) -> Disorder:
    """By the first effects of those that have one."""
    begun = sorted((course.effect, rank) for rank, course in enumerate(orders) if course.effect is not None)
    return disorder([rank for _, rank in begun])


def dispatched_in_disorder(orders: Sequence[Course]) -> Disorder:
    """By when Temporal was told of them; those of one batch are in order."""
    told = sorted((course.dispatched, rank) for rank, course in enumerate(orders) if course.dispatched is not None)
    return disorder([rank for _, rank in told])


def most_on_the_way(orders: Sequence[Course]) -> int:
    """How many of them Temporal had been told of and had no effect yet, at most, at the moment of some first effect."""
    told = [(course.dispatched, course.began) for course in orders if course.dispatched and course.began]
    return max((sum(sent <= now <= began for sent, began in told) for _, now in told), default=0)


def waiting(orders: Sequence[Course], at: datetime) -> list[Course]:
    """Those that were accepted and had no effect then."""
    return [course for course in orders if course.received <= at and (course.began is None or course.began > at)]


def oldest_waiting(orders: Sequence[Course], at: datetime) -> float:
    """How old the oldest order without an effect was then, in seconds; 0 where none waited."""
    return max(((at - course.received).total_seconds() for course in waiting(orders, at)), default=0.0)
