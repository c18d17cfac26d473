"""One session: one system on fresh servers, through all that is asked of it."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
from pydantic import BaseModel
from temporalio.client import Client

from benchmarks.customers import Sent
from benchmarks.figures import Kill, Session, Stretch, stretch
from benchmarks.machine import Bench, Servers
from benchmarks.measure import Meter, Reading, histories
from benchmarks.shop import Wanted
from benchmarks.systems import Running, System
from lanka.readiness import until

CUSTOMERS = 50
"""In flight at once."""

SETTLING = 5.0
"""Seconds that a system has after a kill for what nobody was told about."""

CONNECTIONS = 100
"""Over which a burst comes."""


class Sizes(BaseModel):
    """How much is asked: orders, and seconds at most."""

    warm_up: int = 40
    alone: int = 30
    alone_seconds: float = 4.0
    in_flight: int = 4_000
    in_flight_seconds: float = 5.0
    burst: int = 2_000
    slow_seconds: float = 10.0
    """For a slow system: the burst is what it confirms in so many seconds, as far as its other phases tell."""
    kill: int = 600

    def burst_of(self, system: System, per_second: float) -> int:
        return min(self.burst, max(CONNECTIONS, round(self.slow_seconds * per_second))) if system.slow else self.burst


QUICK = Sizes(warm_up=20, alone=10, alone_seconds=2.0, in_flight_seconds=3.0, burst=600, slow_seconds=4.0, kill=200)


class Customers:
    """The process of `benchmarks.customers`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def take_turns(self, orders: Sequence[Wanted], customers: int, seconds: float) -> tuple[list[Sent], float]:
        await self._ask(orders, {"at_once": False, "customers": customers, "seconds": seconds})
        return await self._sent()

    async def all_at_once(self, orders: Sequence[Wanted], *, confirm: bool = True) -> tuple[list[Sent], float]:
        """Without `confirm` nobody waits until they are confirmed."""
        await self._ask(orders, {"at_once": True, "customers": CONNECTIONS, "tell_at": 0, "confirm": confirm})
        return await self._sent()

    async def begin_all_at_once(self, orders: Sequence[Wanted], tell_at: int) -> None:
        """Returns when `tell_at` orders have been answered; `rest` waits for the others."""
        await self._ask(orders, {"at_once": True, "customers": CONNECTIONS, "tell_at": tell_at, "confirm": True})
        await self._told()

    async def rest(self) -> list[Sent]:
        return (await self._sent())[0]

    async def _ask(self, orders: Sequence[Wanted], command: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command | {"orders": orders}).encode() + b"\n")
        await self._process.stdin.drain()

    async def _sent(self) -> tuple[list[Sent], float]:
        told = await self._told()
        return [Sent(**each) for each in told["sent"]], told["cpu"]

    async def _told(self) -> dict[str, Any]:
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the customers' process has ended")
        told: dict[str, Any] = json.loads(line)
        return told


@asynccontextmanager
async def customers(bench: Bench, system: System, running: Running) -> AsyncIterator[Customers]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.customers",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=2**26,
        start_new_session=True,
    )
    try:
        told = {
            "urls": running.urls,
            "database": None if system.answers_at_the_end else bench.database_url,
            "temporal": None if system.over_http else bench.temporal,
        }
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(told).encode() + b"\n")
        await process.stdout.readline()
        yield Customers(process)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@asynccontextmanager
async def standing(servers: Servers, system: System, warm_up: int) -> AsyncIterator["Stand"]:
    """The system on servers of its own, warm, with customers before it."""
    async with servers.bench(system.temporal) as bench:
        running = await system.start(bench)
        connection = await asyncpg.connect(servers.url)
        temporal = await Client.connect(bench.temporal) if bench.temporal else None
        try:
            async with customers(bench, system, running) as people:
                await people.take_turns(bench.shop.orders(warm_up), max(1, warm_up // 2), 15)
                yield Stand(bench, running, Meter(servers, bench, connection), temporal, people)
        finally:
            await connection.close()


@dataclass(frozen=True)
class Stand:
    bench: Bench
    running: Running
    meter: Meter
    temporal: Client | None
    people: Customers

    async def turns(self, orders: Sequence[Wanted], customers: int, seconds: float) -> Stretch:
        """Each customer waits for the confirmation before the next order."""
        began, before = await self._begin()
        sent, cpu = await self.people.take_turns(orders, customers, seconds)
        return await self._end(began, before, sent, cpu)

    async def burst(self, orders: Sequence[Wanted]) -> Stretch:
        await self.meter.forget_statements()
        began, before = await self._begin()
        sent, cpu = await self.people.all_at_once(orders)
        return await self._end(began, before, sent, cpu)

    async def kill(self, orders: Sequence[Wanted]) -> Kill:
        began = time.monotonic()
        await self.people.begin_all_at_once(orders, tell_at=len(orders) // 3)
        await self.bench.parts.kill(self.running.worker)
        sent = await self.people.rest()
        accepted = [each for each in sent if each.answered]
        seconds = time.monotonic() - began
        # Some of those that nobody was told about may be under way.
        with suppress(TimeoutError):
            await until(lambda: self._nothing_left([each.key for each in sent]), SETTLING, "the rest")
        half_done, paid = await self._left([each.key for each in sent])
        return Kill(
            sent=len(sent),
            accepted=len(accepted),
            lost=sum(not each.confirmed for each in accepted),
            half_done=half_done,
            paid=paid,
            seconds=seconds,
        )

    async def _nothing_left(self, payments: Sequence[str]) -> bool:
        return await self._left(payments) == (0, 0)

    async def _left(self, payments: Sequence[str]) -> tuple[int, int]:
        """How many orders have begun and not ended, and how many payments were taken without a confirmed order."""
        connection = await asyncpg.connect(self.bench.database_url)
        try:
            rows = await connection.fetch(
                "SELECT payment_id, order_number IS NOT NULL AS ended FROM orders WHERE payment_id = ANY($1::text[])",
                payments,
            )
        finally:
            await connection.close()
        ended = {row["payment_id"] for row in rows if row["ended"]}
        books = sqlite3.connect(self.bench.machine.home.payments_database)
        captured = books.execute("SELECT id FROM payments WHERE payment ->> 'status' = 'captured'").fetchall()
        books.close()
        return len(rows) - len(ended), len({row[0] for row in captured} & set(payments) - ended)

    async def _begin(self) -> tuple[datetime, Reading]:
        await self.meter.checkpoint()
        return datetime.now(UTC), await self.meter.read()

    async def _end(self, began: datetime, before: Reading, sent: list[Sent], cpu: float) -> Stretch:
        after = await self.meter.read()
        told = await histories(self.temporal, began) if self.temporal else None
        return stretch(sent, before, after, cpu, told)


async def measured(servers: Servers, system: System, nth: int, sizes: Sizes, *, kill: bool) -> Session:
    """Everything that a run asks of a system."""
    async with standing(servers, system, sizes.warm_up) as stand:
        orders = stand.bench.shop.orders
        session = Session(system=system.name, round=nth, own=list(stand.running.own))
        session.alone = await stand.turns(orders(sizes.alone), 1, sizes.alone_seconds)
        session.in_flight = await stand.turns(orders(sizes.in_flight), CUSTOMERS, sizes.in_flight_seconds)
        number = sizes.burst_of(system, session.in_flight.confirmed_per_s)
        session.burst = await stand.burst(orders(number))
        session.statements = await stand.meter.statements()
        reading = await stand.meter.read()
        session.memory = {part: used / 2**20 for part, used in reading.memory.items()}
        if kill and system.killed:
            session.kill = await stand.kill(orders(min(sizes.kill, number)))
    return session
