"""The API as a process, where the wire matters: many at once, bodies without a length, a database that goes away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from store.migrate import migrate
from store.seed import seed
from tests.integration.conftest import KEYS, SHOP, served_as_a_process, serving
from tests.integration.test_api_orders import ORDER
from tests.servers import HANGS_AFTER, free_port, home_of_a_server, postgres_server, until


async def test_the_same_post_a_hundred_times_at_once_makes_one_order(served: httpx.AsyncClient) -> None:
    posts = (served.post("/orders", json=ORDER, headers={"Idempotency-Key": "one"}) for _ in range(100))
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["order_id"] for answer in answers}) == 1
    assert len([answer for answer in answers if "Idempotency-Replayed" not in answer.headers]) == 1
    assert len((await served.get("/orders")).json()["orders"]) == 1


async def test_orders_posted_at_once_are_all_accepted(served: httpx.AsyncClient) -> None:
    posts = (served.post("/orders", json=ORDER, headers={"Idempotency-Key": f"key-{nth}"}) for nth in range(100))
    answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["order_id"] for answer in answers}) == 100


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        ("Content-Length: 1000000000", b""),
        ("Transfer-Encoding: chunked", b"11170\r\n" + b" " * 70_000 + b"\r\n"),
    ],
)
async def test_a_large_body_is_refused_before_it_has_ended(
    served: httpx.AsyncClient, framing: str, sent: bytes
) -> None:
    head = [
        "POST /orders HTTP/1.1",
        "Host: lanka",
        f"Authorization: {SHOP['Authorization']}",
        "Idempotency-Key: one",
        "Content-Type: application/json",
        framing,
    ]
    reader, writer = await asyncio.open_connection(served.base_url.host, served.base_url.port)
    writer.write("\r\n".join([*head, "", ""]).encode() + sent)
    async with asyncio.timeout(HANGS_AFTER):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        assert await reader.readuntil(b'"code": "body_too_large"')
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_sends_a_large_body_to_its_end_reads_the_answer(served: httpx.AsyncClient) -> None:
    async def large() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 50_000

    headers = {"Idempotency-Key": "one", "Content-Type": "application/json"}
    answer = await served.post("/orders", content=large(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert (await served.get("/orders")).json()["orders"] == []


@pytest.fixture
def home() -> Iterator[Path]:
    with home_of_a_server() as directory:
        yield directory


async def test_the_api_starts_without_its_database_and_finds_it_later(home: Path) -> None:
    port = free_port()
    async with postgres_server(home, port=port) as url:
        await migrate(url)
        await seed(url, skus=1, keys=KEYS)
    async with serving(url) as api:

        async def post() -> httpx.Response:
            return await api.post("/orders", json=ORDER, headers={"Idempotency-Key": "one"})

        answer = await post()
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert (await api.get("/readyz")).status_code == 503
        async with postgres_server(home, port=port):
            assert (await post()).status_code == 202
        assert (await post()).status_code == 503
        async with postgres_server(home, port=port):
            replayed = await until(lambda: _accepted(post), HANGS_AFTER, "PostgreSQL's connections")
            assert replayed.headers["Idempotency-Replayed"] == "true"


async def _accepted(post: object) -> httpx.Response | None:
    answer: httpx.Response = await post()  # type: ignore[operator]
    return answer if answer.status_code == 202 else None


async def test_a_client_that_goes_away_in_the_middle_of_its_request_is_no_error(shop: str) -> None:
    async with served_as_a_process(shop) as (started, served):
        head = ("POST /orders HTTP/1.1", "Host: lanka", f"Authorization: {SHOP['Authorization']}")
        more = ("Idempotency-Key: one", "Content-Type: application/json", "Content-Length: 100")
        _, writer = await asyncio.open_connection(served.base_url.host, served.base_url.port)
        writer.write("\r\n".join([*head, *more, "", "{"]).encode())
        await writer.drain()
        writer.close()
        await until(lambda: "client went away" in started.printed(), HANGS_AFTER, "the line that says so")
        assert '"level": "error"' not in started.printed()
