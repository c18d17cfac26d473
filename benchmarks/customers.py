"""The customers, a process of their own: they send orders, and note when each was answered and when it was confirmed.

Reads commands from stdin and writes what happened to stdout, one JSON object in a line each. A confirmation's moment
is that of its commit, as PostgreSQL notes it (`track_commit_timestamp`), so looking for it may be slow and cheap.
HTTP is spoken by hand: a client library would cost more than many a server.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import asyncpg
import uvloop
from temporalio.client import Client, GrpcCompression

from benchmarks.floor import WORKFLOW_QUEUE, Floor
from benchmarks.shop import KEYS

SOONEST, LATEST, SHARE = 0.003, 0.1, 25
"""Seconds between two looks for confirmations: a share of what the oldest order has waited. A look costs PostgreSQL a
fraction of a millisecond, and with this they cost those who wait hardly anything either.
"""


GIVE_UP = 45.0
"""Seconds without a new confirmation after which the rest is taken for lost. Temporal gives an activity of a killed
worker out again after its 30 s.
"""

CONFIRMED = """
    SELECT payment_id, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS at
    FROM orders /* watching */ WHERE payment_id = ANY($1::text[]) AND order_number IS NOT NULL
"""
CHUNK = 100
"""Orders of a burst that are looked for at once, the oldest first."""

OK = range(200, 300)
OVERLOADED = 503


@dataclass
class Sent:
    """One order. Times are seconds since the epoch; None: not yet. `refused` counts answers 503, sent again after."""

    key: str
    at: float = 0.0
    answered: float | None = None
    confirmed: float | None = None
    refused: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Order:
    key: str
    body: str


class Shop(Protocol):
    """Where orders are handed in, by one of several customers at a time."""

    async def hand_in(self, customer: int, order: Order) -> Sent:
        """Returns with the answer, or with an error."""
        ...

    async def confirmed(self, sent: Sent) -> None:
        """Waits for one."""
        ...

    async def all_confirmed(self, sent: Sequence[Sent]) -> None:
        """Waits for all, or until nothing more happens."""
        ...


# ---- the ways of handing in --------------------------------------------------------------------------------------


class OverHttp:
    """Each customer keeps one connection. Where the answer is the confirmation, `database` is None."""

    def __init__(self, urls: Sequence[str], database: "asyncpg.Connection[asyncpg.Record] | None") -> None:
        self._urls = urls
        self._lines: dict[int, Line] = {}
        self._database = database
        self._waiting: dict[str, tuple[float, asyncio.Future[float]]] = {}
        self._watching: asyncio.Task[None] | None = None

    async def hand_in(self, customer: int, order: Order) -> Sent:
        sent = Sent(order.key)
        if customer not in self._lines:
            self._lines[customer] = Line(self._urls[customer % len(self._urls)])
        await self._lines[customer].exchange(order, sent)
        if self._database is None:
            sent.confirmed = sent.answered
        return sent

    async def confirmed(self, sent: Sent) -> None:
        if self._database is None or sent.answered is None:
            return
        told: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[sent.key] = (sent.at, told)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(self._database))
        sent.confirmed = await told

    async def all_confirmed(self, sent: Sequence[Sent]) -> None:
        if self._database is None:
            return
        accepted = {each.key: each for each in sent if each.answered}
        rest, since = list(accepted), time.monotonic()
        while rest:
            given_up = time.monotonic() - since > GIVE_UP
            chunk = rest if given_up else rest[:CHUNK]
            found = {row["payment_id"]: row["at"] for row in await self._database.fetch(CONFIRMED, chunk)}
            for key, at in found.items():
                accepted[key].confirmed = at
            rest = [key for key in chunk if key not in found] + rest[len(chunk) :]
            if given_up:
                return
            since = time.monotonic() if found else since
            if len(found) < len(chunk):
                await asyncio.sleep(LATEST)

    async def _watch(self, database: "asyncpg.Connection[asyncpg.Record]") -> None:
        while self._waiting:
            oldest = next(iter(self._waiting.values()))[0]
            await asyncio.sleep(min(LATEST, max(SOONEST, (time.time() - oldest) / SHARE)))
            for row in await database.fetch(CONFIRMED, list(self._waiting)):
                self._waiting.pop(row["payment_id"])[1].set_result(row["at"])


class Line:
    """One connection to a server, made again when it breaks. The order that was on it is not sent again."""

    def __init__(self, url: str, key: str = KEYS["shop"]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._key = key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, order: Order, sent: Sent) -> bytes:
        """Hands the order in and notes what happened; returns what was answered."""
        while True:
            try:
                await self._connected()
                sent.at = time.time()
                status, head, answer = await self.ask("POST", "/orders", order.body, order.key)
            except (OSError, EOFError) as error:
                sent.error = repr(error)
                return b""
            if status != OVERLOADED:
                break
            sent.refused += 1
            await asyncio.sleep(float(_header(head, b"retry-after") or 1))
        if status in OK:
            sent.answered = time.time()
        else:
            sent.error = f"{status} {answer[:200]!r}"
        return answer

    async def ask(self, method: str, path: str, body: str = "", key: str = "") -> tuple[int, bytes, bytes]:
        """Status, head and body of the answer. Raises `OSError` or `EOFError` where the connection breaks."""
        once = f"Idempotency-Key: {key}\r\n" if key else ""
        request = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nAuthorization: Bearer {self._key}\r\n"
            f"{once}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        try:
            reader, writer = await self._connected()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            answer = await reader.readexactly(int(_header(head, b"content-length") or 0))
        except (OSError, EOFError):
            self._streams = None
            raise
        return int(head[9:12]), head, answer

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams and self._streams[0].at_eof():
            self._streams = None  # the server has closed it, as it was idle
        deadline = time.monotonic() + GIVE_UP
        while self._streams is None:
            try:
                self._streams = await asyncio.open_connection(self._host, self._port)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(LATEST)
        return self._streams


def _header(head: bytes, name: bytes) -> bytes | None:
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else None


class ToTemporal:
    """Starts the floor's workflow. It is confirmed when its result is there."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._results: dict[str, asyncio.Task[None]] = {}

    async def hand_in(self, customer: int, order: Order) -> Sent:  # noqa: ARG002
        sent = Sent(order.key, at=time.time())
        handle = await self._client.start_workflow(Floor.run, order.key, id=order.key, task_queue=WORKFLOW_QUEUE)
        sent.answered = time.time()

        async def result() -> None:
            await handle.result()
            sent.confirmed = time.time()

        self._results[order.key] = asyncio.create_task(result())
        return sent

    async def confirmed(self, sent: Sent) -> None:
        await self._results.pop(sent.key)

    async def all_confirmed(self, sent: Sequence[Sent]) -> None:
        results = [self._results.pop(each.key) for each in sent]
        while any(not result.done() for result in results):
            done, _ = await asyncio.wait(results, timeout=GIVE_UP, return_when=asyncio.FIRST_COMPLETED)
            results = [result for result in results if result not in done]
            if not done:
                break


# ---- what customers do -------------------------------------------------------------------------------------------


async def take_turns(shop: Shop, orders: Sequence[Order], customers: int, seconds: float) -> list[Sent]:
    """Each customer waits for the confirmation before the next order; none begins after `seconds`."""
    deadline = time.monotonic() + seconds
    rest = iter(orders)
    sent: list[Sent] = []

    async def customer(nth: int) -> None:
        for order in rest:
            if time.monotonic() > deadline:
                return
            sent.append(await shop.hand_in(nth, order))
            await shop.confirmed(sent[-1])

    async with asyncio.timeout(seconds + GIVE_UP), asyncio.TaskGroup() as group:
        for nth in range(customers):
            group.create_task(customer(nth))
    return sent


async def all_at_once(
    shop: Shop, orders: Sequence[Order], customers: int, tell_at: int, tell: Callable[[], None], *, confirm: bool
) -> list[Sent]:
    """Over `customers` connections, each handing in its next order as soon as the last was answered.

    `tell` is called once `tell_at` orders were answered. Without `confirm` nobody waits for the confirmations.
    """
    sent: list[Sent] = []
    rest = iter(orders)

    async def customer(nth: int) -> None:
        for order in rest:
            sent.append(await shop.hand_in(nth, order))
            if len(sent) == tell_at:
                tell()

    async with asyncio.TaskGroup() as group:
        for nth in range(customers):
            group.create_task(customer(nth))
    if confirm:
        await shop.all_confirmed(sent)
    return sent


async def main() -> None:
    commands = _commands()
    opening = await anext(commands)
    shop: Shop
    if opening["temporal"]:
        shop = ToTemporal(await Client.connect(opening["temporal"], grpc_compression=GrpcCompression.NONE))
    else:
        database = await asyncpg.connect(opening["database"]) if opening["database"] else None
        shop = OverHttp(opening["urls"], database)
    _say({"ready": os.getpid()})
    async for command in commands:
        orders = [Order(key, json.dumps(body)) for key, body in command["orders"]]
        cpu = time.process_time()
        if command["at_once"]:
            tell = lambda: _say({"told": time.time()})  # noqa: E731
            sent = await all_at_once(
                shop, orders, command["customers"], command["tell_at"], tell, confirm=command["confirm"]
            )
        else:
            sent = await take_turns(shop, orders, command["customers"], command["seconds"])
        _say({"sent": [asdict(each) for each in sent], "cpu": time.process_time() - cpu})


async def _commands() -> AsyncIterator[dict[str, Any]]:
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield json.loads(line)


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
