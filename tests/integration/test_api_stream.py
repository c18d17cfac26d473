"""The live stream on a real socket: every reader gets every event once, and the database hardly notices."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import asyncpg
import httpx
import pytest
import uvicorn

from api.app import create_app
from api.problems import Code
from api.stream import REMEMBERED, EventStream, ReadMark, running_stream
from chain.event import AnyEvent
from store.database import Pool, transaction
from store.journal import Journal, record
from tests.integration.conftest import SHOP, served_as_a_process
from tests.integration.test_api_orders import submit
from tests.servers import HANGS_AFTER, free_port, until
from workflows.chains import TYPES

STREAM = {"Accept": "text/event-stream"}
CALL = {"customer_id": "cus_1", "language": "uk", "skill": "orders"}


class Sent(NamedTuple):
    """A server-sent event. `kind` is the CloudEvents type without its prefix."""

    id: str
    kind: str
    event: dict[str, Any]


class Reader:
    """An open stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.comments = 0
        self.last_id: str | None = None
        self._lines = answer.aiter_lines()

    async def next(self) -> Sent | None:
        """The next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                self.last_id = fields["id"]
                return Sent(fields["id"], fields["event"].removeprefix("lanka."), json.loads(fields["data"]))
        return None

    async def take(self, count: int) -> list[str]:
        """What the next events tell."""
        events = [await self.next() for _ in range(count)]
        return [event.kind for event in events if event]

    async def rest(self) -> list[str]:
        """What is told until the end of the stream."""
        told: list[str] = []
        while event := await self.next():
            told.append(event.kind)
        return told


def an_event(subject: str, kind: str, link: str = "test") -> AnyEvent:
    return AnyEvent(
        id=f"{subject}.{kind}",
        source=f"/lanka/{link}",
        type=f"lanka.{kind}",
        subject=subject,
        time=datetime.now(UTC),
        data={},
    )


@asynccontextmanager
async def reading(api: httpx.AsyncClient, order_id: str, last_id: str | None = None) -> AsyncIterator[Reader]:
    headers = STREAM | ({"Last-Event-ID": last_id} if last_id else {})
    async with asyncio.timeout(HANGS_AFTER), api.stream("GET", f"/orders/{order_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        yield Reader(answer)


@asynccontextmanager
async def serving_here(database_url: str, look_anyway: float = 3600) -> AsyncIterator[httpx.AsyncClient]:
    """The API on a socket, in this process. Nobody dispatches the orders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", database_url)
        patch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{free_port()}")
        patch.setattr("api.app.running_dispatcher", lambda *_: nullcontext())
        # What is told here is told by PostgreSQL's word, and not because somebody has looked anyway.
        patch.setattr("api.stream.LOOK_ANYWAY", look_anyway)
        port = free_port()
        server = uvicorn.Server(uvicorn.Config(create_app(), port=port, log_config=None, access_log=False))
        running = asyncio.create_task(server.serve())
        try:
            await until(lambda: server.started, HANGS_AFTER, "the API")
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                headers=SHOP,
                timeout=HANGS_AFTER,
                limits=httpx.Limits(max_connections=None),
            ) as client:
                yield client
        finally:
            server.should_exit = True
            await running


@pytest.fixture
async def api(shop: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving_here(shop) as client:
        yield client


@pytest.fixture
def journal(pool: Pool) -> Journal:
    return Journal(pool, TYPES)


@pytest.fixture
async def order_id(api: httpx.AsyncClient) -> str:
    return str((await submit(api)).json()["order_id"])


async def test_events_come_as_they_happen_and_the_end_event_is_the_last(
    api: httpx.AsyncClient, journal: Journal, order_id: str
) -> None:
    async with reading(api, order_id) as reader:
        assert await reader.take(1) == ["OrderReceived"]
        for kind in ("PaymentPending", "PaymentConfirmed", "OrderConfirmed"):
            await journal.append([an_event(order_id, kind)])
            assert await reader.take(1) == [kind]
        assert await reader.next() is None


async def test_an_event_is_told_live_as_it_is_told_in_the_journal(
    api: httpx.AsyncClient, journal: Journal, order_id: str
) -> None:
    await journal.append([an_event(order_id, "OrderRejected")])
    told = (await api.get(f"/orders/{order_id}/events")).json()
    async with reading(api, order_id) as reader:
        live = [await reader.next(), await reader.next()]
    assert [sent.event for sent in live if sent] == told
    assert [f"lanka.{sent.kind}" for sent in live if sent] == [event["type"] for event in told]


async def test_nobody_on_the_way_may_keep_the_stream_back(api: httpx.AsyncClient, order_id: str) -> None:
    async with reading(api, order_id) as reader:
        assert reader.answer.headers["Content-Type"].startswith("text/event-stream")
        assert reader.answer.headers["Cache-Control"] == "no-cache"
        assert reader.answer.headers["X-Accel-Buffering"] == "no"
        assert reader.answer.headers["Vary"] == "Accept"


async def test_a_reader_that_comes_again_gets_what_it_has_not_got(
    api: httpx.AsyncClient, journal: Journal, order_id: str
) -> None:
    kinds = ["OrderReceived", "PaymentConfirmed", "StockReserved", "PriceConfirmed", "OrderConfirmed"]
    await journal.append([an_event(order_id, kind) for kind in kinds[1:]])
    for had in range(len(kinds)):
        async with reading(api, order_id) as reader:
            assert await reader.take(had) == kinds[:had]
        async with reading(api, order_id, reader.last_id) as again:
            assert await again.rest() == kinds[had:]


async def test_a_reader_that_has_everything_is_told_not_to_come_again(
    api: httpx.AsyncClient, journal: Journal, order_id: str
) -> None:
    await journal.append([an_event(order_id, "OrderConfirmed")])
    async with reading(api, order_id) as reader:
        await reader.rest()
    answer = await api.get(f"/orders/{order_id}/events", headers=STREAM | {"Last-Event-ID": str(reader.last_id)})
    assert answer.status_code == 204


async def test_a_mark_that_is_none_of_ours_is_no_mark(api: httpx.AsyncClient, order_id: str) -> None:
    for mark in ("x", "1.", "-1", "9" * 400, "1..1"):
        async with reading(api, order_id, mark) as reader:
            assert await reader.take(1) == ["OrderReceived"]


async def test_an_event_that_commits_late_is_not_skipped(api: httpx.AsyncClient, pool: Pool, order_id: str) -> None:
    """The earlier one in the journal becomes visible after the later one."""
    cart, price, end = (an_event(order_id, kind) for kind in ("StockReserved", "PriceConfirmed", "OrderConfirmed"))
    async with reading(api, order_id) as stays, reading(api, order_id) as goes:
        async with transaction(pool) as slow:
            await record(slow, [cart], TYPES)
            await Journal(pool, TYPES).append([price])
            for reader in (stays, goes):
                assert await reader.take(2) == ["OrderReceived", "PriceConfirmed"]
        async with reading(api, order_id, goes.last_id) as back:
            for reader in (stays, back):
                assert await reader.take(1) == ["StockReserved"]
        await Journal(pool, TYPES).append([end])
        assert await stays.rest() == ["OrderConfirmed"]
    async with reading(api, order_id, back.last_id) as back:
        assert await back.rest() == ["OrderConfirmed"]
    places = [row["type"] for row in await pool.fetch("SELECT type FROM journal ORDER BY position")]
    assert places.index("lanka.StockReserved") < places.index("lanka.PriceConfirmed")


async def test_what_is_there_already_is_told_in_the_order_of_the_chain(
    api: httpx.AsyncClient, journal: Journal, order_id: str
) -> None:
    await journal.append([an_event(order_id, "PriceConfirmed", "price"), an_event(order_id, "StockReserved", "cart")])
    async with reading(api, order_id) as reader:
        assert await reader.take(3) == ["OrderReceived", "StockReserved", "PriceConfirmed"]


async def test_the_stream_goes_on_after_its_connection_to_the_database_broke(
    api: httpx.AsyncClient, journal: Journal, pool: Pool, order_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.stream.AGAIN", 0.1)
    async with reading(api, order_id) as reader:
        assert await reader.take(1) == ["OrderReceived"]
        broken = await pool.fetchval(
            """
            SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
              AND query LIKE '%FROM journal WHERE position%'
            """
        )
        assert broken == 1
        await journal.append([an_event(order_id, "OrderConfirmed")])
        assert await reader.rest() == ["OrderConfirmed"]


async def test_a_word_of_the_database_that_was_lost_is_not_missed(shop: str, pool: Pool) -> None:
    async with serving_here(shop, look_anyway=0.2) as api:
        order_id = (await submit(api)).json()["order_id"]
        async with reading(api, order_id) as reader:
            assert await reader.take(1) == ["OrderReceived"]
            await pool.execute(
                """
                INSERT INTO journal (source, id, type, kind, subject, time, data)
                VALUES ('/lanka/finalize', $1, 'lanka.OrderConfirmed', 'end', $1, now(), '{}')
                """,
                order_id,
            )
            assert await reader.rest() == ["OrderConfirmed"]


async def test_a_silent_stream_shows_that_it_lives(
    api: httpx.AsyncClient, journal: Journal, order_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.stream.HEARTBEAT", 0.02)
    async with reading(api, order_id) as reader:
        waiting = asyncio.create_task(reader.rest())
        await until(lambda: reader.comments > 1, HANGS_AFTER, "heartbeats")
        await journal.append([an_event(order_id, "OrderConfirmed")])
        assert await waiting == ["OrderReceived", "OrderConfirmed"]


async def test_a_stream_does_not_live_for_ever(
    api: httpx.AsyncClient, order_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.stream.LIVES_FOR", 0)
    async with reading(api, order_id) as reader:
        assert await reader.rest() == ["OrderReceived"]


async def test_what_others_publish_is_told_live_as_well(api: httpx.AsyncClient) -> None:
    call = {"specversion": "1.0", "source": "/phones", "subject": "call_1"}
    sent = [
        call | {"id": "1", "type": "lanka.SupportCallStarted", "data": CALL},
        call | {"id": "2", "type": "lanka.SupportCallEnded", "data": {}},
    ]
    headers = {"Content-Type": "application/cloudevents+json"}
    assert (await api.post("/events", json=sent[0], headers=headers)).status_code == 202
    async with asyncio.timeout(HANGS_AFTER), api.stream("GET", "/events/call_1", headers=STREAM) as answer:
        reader = Reader(answer)
        assert await reader.take(1) == ["SupportCallStarted"]
        assert (await api.post("/events", json=sent[1], headers=headers)).status_code == 202
        assert await reader.rest() == ["SupportCallEnded"]


@pytest.mark.parametrize(
    ("path", "code"), [("/orders/unknown/events", "order_not_found"), ("/events/unknown", "subject_not_found")]
)
async def test_nobody_watches_what_does_not_exist(api: httpx.AsyncClient, path: str, code: str) -> None:
    answer = await api.get(path, headers=STREAM)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_nobody_watches_without_a_key(api: httpx.AsyncClient, order_id: str) -> None:
    answer = await api.get(f"/orders/{order_id}/events", headers=STREAM | {"Authorization": "Bearer unknown"})
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_invalid")


async def test_two_hundred_readers_cost_the_database_no_more_than_a_few(
    shop: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries: list[str] = []

    async def counted(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        connection.add_query_logger(lambda query: queries.append(query.query))

    monkeypatch.setattr("store.database._speak_json", counted)
    monkeypatch.setattr("api.stream.LOOK_ANYWAY", 3600)
    kinds = ["PaymentConfirmed", "StockReserved", "PriceConfirmed", "OrderConfirmed"]
    async with serving_here(shop) as api, AsyncExitStack() as stack:
        orders = [(await submit(api, key=f"key-{nth}")).json()["order_id"] for nth in range(20)]
        streams = [stack.enter_async_context(reading(api, order_id)) for order_id in orders * 10]
        readers = await asyncio.gather(*streams)
        assert await asyncio.gather(*(reader.take(1) for reader in readers)) == [["OrderReceived"]] * 200
        queries.clear()
        for kind in kinds:
            await Journal(pool, TYPES).append([an_event(order_id, kind) for order_id in orders])
            assert await asyncio.gather(*(reader.take(1) for reader in readers)) == [[kind]] * 200
        assert await asyncio.gather(*(reader.rest() for reader in readers)) == [[]] * 200
    # Two for each look, and one now and then for the key. A poll by each reader would be a thousand.
    assert len(queries) < 100, queries


async def test_the_api_ends_though_somebody_reads(shop: str) -> None:
    async with (
        served_as_a_process(shop) as (process, api),
        reading(api, (await submit(api)).json()["order_id"]) as reader,
    ):
        assert await reader.take(1) == ["OrderReceived"]
        process.popen.terminate()
        assert await reader.rest() == []
        await until(lambda: process.exit_code is not None, HANGS_AFTER, "the end of the API")


async def test_a_reader_that_does_not_read_is_dropped(
    pool: Pool, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.stream.READ_WITHIN", 0.05)
    await journal.append([an_event("ord_1", "OrderReceived")])
    async with running_stream(pool) as live:
        scope = {"type": "http", "method": "GET", "headers": []}

        async def never(*_: object) -> Any:
            await asyncio.Event().wait()

        async with asyncio.timeout(HANGS_AFTER):
            await EventStream(live, None, "ord_1", unknown=Code.ORDER_NOT_FOUND)(scope, never, never)
        assert not live._watched


@pytest.mark.parametrize("events", [0, 1, 2, REMEMBERED, REMEMBERED + 1, 3 * REMEMBERED])
def test_a_mark_tells_what_its_reader_has(events: int) -> None:
    had = ReadMark(None)
    positions = [7 * nth for nth in range(1, events + 1)]
    for position in positions[::-1]:
        had.add(position)
    again = ReadMark(had.mark)
    assert [position for position in positions if position not in again] == []
    assert 7 * events + 1 not in again
    recent = positions[-REMEMBERED:]
    assert [
        between for before, after in pairwise(recent) for between in range(before + 1, after) if between in again
    ] == []
    assert len(had.mark) < 1000
