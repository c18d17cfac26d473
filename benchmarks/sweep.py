"""The second run: how Lanka behaves from one order to ten thousand at once, and with tables that are full.

Each series changes one thing and leaves the rest as `make bench` has it. The monolith goes beside it where the
answer depends on the provider.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import httpx

from benchmarks.figures import Point, Session
from benchmarks.machine import Servers
from benchmarks.session import Sizes, Stand, standing
from benchmarks.shop import LINES, fill
from benchmarks.systems import SYSTEMS, lanka
from lanka.readiness import until

AT_ONCE = (1, 10, 100, 1_000, 10_000)
LINES_AN_ORDER = (1, 5, 20, 100)
ORDERS_A_BATCH = (1, 10, 50, 100)
PROVIDER_MS = (1, 20, 100, 500)

BURST = 1_000
OPEN = 10_000
ENDED = 1_000_000

Tell = Callable[[str], None]
BY_NAME = {system.name: system for system in SYSTEMS}


class Sweep:
    """`scale` below 1 makes everything smaller, to try it out."""

    def __init__(self, servers: Servers, tell: Tell, scale: float) -> None:
        self._servers = servers
        self._tell = tell
        self._scale = scale
        self.points: list[Point] = []
        self.sessions: list[Session] = []

    async def run(self) -> None:
        """The points are kept as they come, so what was measured before a failure is not lost."""
        for series in (self._at_once, self._lines, self._batches, self._provider, self._flat):
            try:
                await series()
            except Exception as error:  # noqa: BLE001
                self._tell("failed: " + "\n".join([repr(error), *getattr(error, "__notes__", [])]))

    # ---- series ------------------------------------------------------------------------------------------------

    async def _at_once(self) -> None:
        async with self._standing("lanka") as stand:
            for number in AT_ONCE:
                await self._point("orders at once", "lanka", number, stand, self._few(number))

    async def _lines(self) -> None:
        async with self._standing("lanka") as stand:
            for lines in LINES_AN_ORDER:
                number = self._few(BURST if lines <= LINES else BURST // 4)
                await self._point("lines an order", "lanka", lines, stand, number, lines=lines)

    async def _batches(self) -> None:
        for size in ORDERS_A_BATCH:
            system = replace(BY_NAME["lanka"], start=lanka(LANKA_BATCH_SIZE=str(size)))
            async with standing(self._servers, system, Sizes().warm_up) as stand:
                await self._point("orders a batch", "lanka", size, stand, self._few(BURST if size > 1 else BURST // 5))

    async def _provider(self) -> None:
        for name in ("monolith", "lanka"):
            async with self._standing(name) as stand:
                for ms in PROVIDER_MS:
                    await _slow(stand, ms)
                    await self._point("provider ms", name, ms, stand, self._few(BURST // 2))

    async def _flat(self) -> None:
        """Empty tables, one hot SKU, and then full tables with orders that wait."""
        for nth in range(2):
            for name in ("lanka-empty", "lanka-hot") if nth == 0 else ("lanka-hot", "lanka-empty"):
                async with self._standing("lanka") as stand:
                    await self._session(name, nth, stand, hot=name == "lanka-hot")
        async with self._standing("lanka") as stand:
            await self._fill(stand)
            for nth in range(2):
                await self._session("lanka-full", nth, stand)

    # ---- steps -------------------------------------------------------------------------------------------------

    async def _point(self, series: str, system: str, x: float, stand: Stand, number: int, lines: int = LINES) -> None:
        alone = await stand.turns(stand.bench.shop.orders(5, lines=lines), 1, 10)
        burst = await stand.burst(stand.bench.shop.orders(number, lines=lines))
        own = list(stand.running.own)
        self.points.append(Point(series=series, system=system, x=x, own=own, alone=alone, burst=burst))
        answer, confirmation = alone.answer, alone.confirmation
        self._tell(
            f"{series} {x:g}, {system}: {burst.orders} orders, {burst.accepted_per_s:.0f}/s accepted, "
            f"{burst.confirmed_per_s:.1f}/s confirmed; alone {answer and answer.p50:.1f} ms, "
            f"{confirmation and confirmation.p50:.0f} ms"
        )

    async def _session(self, name: str, nth: int, stand: Stand, *, hot: bool = False) -> None:
        burst = await stand.burst(stand.bench.shop.orders(self._few(BURST), hot=hot))
        statements = await stand.meter.statements()
        own = list(stand.running.own)
        self.sessions.append(Session(system=name, round=nth, own=own, burst=burst, statements=statements))
        cpu = ", ".join(f"{part} {used:.1f}" for part, used in burst.cpu.items())
        self._tell(f"{name}: {burst.confirmed_per_s:.1f}/s confirmed; CPU ms an order: {cpu}")

    async def _fill(self, stand: Stand) -> None:
        began, ended, waiting = time.monotonic(), self._few(ENDED), self._few(OPEN)
        await fill(stand.bench.database_url, ended)
        self._tell(f"{ended} orders that have ended, after {time.monotonic() - began:.0f} s")
        await stand.people.all_at_once(stand.bench.shop.orders(waiting, outcome="pending"), confirm=False)
        await until(lambda: _awaiting(stand, waiting), 600, f"{waiting} orders to wait for their payments")
        self._tell(f"{waiting} orders wait for their payments, after {time.monotonic() - began:.0f} s")
        before = await stand.meter.read()
        await asyncio.sleep(IDLE)
        after = await stand.meter.read()
        idle = {part: (after.cpu[part] - before.cpu[part]) / IDLE for part in after.cpu}
        self._tell("CPU while they wait: " + ", ".join(f"{part} {100 * used:.0f} %" for part, used in idle.items()))

    def _few(self, number: int) -> int:
        return max(1, round(number * self._scale))

    @asynccontextmanager
    async def _standing(self, name: str) -> AsyncIterator[Stand]:
        async with standing(self._servers, BY_NAME[name], Sizes().warm_up) as stand:
            yield stand


IDLE = 20.0
"""Seconds over which it is measured what mere waiting costs."""


async def _slow(stand: Stand, ms: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.put(f"{stand.bench.machine.connection.payments}/faults", json={"latency_ms": ms})
        answer.raise_for_status()


async def _awaiting(stand: Stand, number: int) -> bool:
    connection = await asyncpg.connect(stand.bench.database_url)
    try:
        count = await connection.fetchval(
            "SELECT count(*) FROM subjects WHERE chain = 'orders' AND status = 'awaiting_payment'"
        )
    finally:
        await connection.close()
    return bool(count >= number)
