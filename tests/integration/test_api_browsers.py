"""What browsers and their proxies ask of the API: HEAD, OPTIONS, wrong addresses, origins; and streams without end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import psutil
import pytest

from api.problems import Code
from api.stream import ReadMark
from tests.integration.conftest import OPERATOR, SHOP, calling, served_as_a_process, serving
from tests.integration.test_api_orders import ORDER
from tests.servers import HANGS_AFTER

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
STREAM = {"Accept": "text/event-stream"}


async def accepted(api: httpx.AsyncClient, key: str = "one") -> str:
    answer = await api.post("/orders", json=ORDER, headers={"Idempotency-Key": key})
    return str(answer.json()["order_id"])


@pytest.mark.parametrize(
    "path",
    ["/", "/console", "/livez", "/orders", "/catalogue", "/docs", "/openapi.json", "/static/kit/kit.css", "/chains"],
)
async def test_head_answers_as_get_without_a_body(api: httpx.AsyncClient, path: str) -> None:
    get, head = await api.get(path), await api.head(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    for header in ("content-type", "content-length", "cache-control", "etag"):
        assert head.headers.get(header) == get.headers.get(header)


async def test_head_of_what_is_not_there_or_has_no_get(api: httpx.AsyncClient) -> None:
    assert (await api.head("/orders/none")).status_code == 404
    answer = await api.head("/orders/none/cancel")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "OPTIONS, POST")


async def test_head_of_a_stream_ends(served: httpx.AsyncClient) -> None:
    order_id = await accepted(served)
    for path, headers in ((f"/orders/{order_id}/events", SHOP), ("/operations/live", OPERATOR)):
        async with asyncio.timeout(HANGS_AFTER):
            answer = await served.head(path, headers=headers | STREAM)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")


async def test_options_tell_the_methods(api: httpx.AsyncClient) -> None:
    del api.headers["Authorization"]
    answer = await api.options("/orders")
    assert (answer.status_code, answer.headers["Allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert (await api.options("/nowhere")).status_code == 404


@pytest.mark.parametrize(
    ("wanted", "language", "words"),
    [(None, "en", "Go to the shop"), ("de", "en", "Go to the shop"), ("uk-UA,uk;q=0.9,en;q=0.8", "uk", "Перейти до")],
)
async def test_a_browser_shows_a_page_for_a_wrong_address(
    api: httpx.AsyncClient, wanted: str | None, language: str, words: str
) -> None:
    headers = PAGE | ({"Accept-Language": wanted} if wanted else {})
    for path in ("/nowhere", "/static/kit/none.css", "/orders/a/b/c"):
        answer = await api.get(path, headers=headers)
        assert (answer.status_code, answer.headers["Content-Language"]) == (404, language)
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert words in answer.text
        assert f'<html lang="{language}">' in answer.text
        assert "$" not in answer.text


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/problem+json", ""])
async def test_a_program_is_told_a_wrong_address_as_a_problem(api: httpx.AsyncClient, accept: str) -> None:
    answer = await api.get("/nowhere", headers={"Accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await api.post("/nowhere", headers=PAGE)).json()["code"] == "not_found"
    assert (await api.get("/orders/none", headers=PAGE)).json()["code"] == "order_not_found"


OURS = [
    ("lanka", "http://lanka"),
    ("lanka:80", "http://lanka"),
    ("lanka", "http://lanka:80"),
    ("Lanka", "http://lanka"),
    ("lanka", "HTTP://LANKA"),
    ("shop.example:443", "https://shop.example"),
    ("shop.example", "https://shop.example:443"),
    ("inside:8000", "https://pub.example"),
    ("inside:8000", "https://PUB.example:443"),
    ("[::1]:8000", "http://[::1]:8000"),
]
FOREIGN = [
    ("lanka", "http://lanka:8000"),
    ("lanka:8000", "http://lanka"),
    ("lanka", "http://lanka.example"),
    ("lanka", "http://lanka@elsewhere"),
    ("lanka", "null"),
    ("lanka", ""),
    ("lanka", "lanka"),
    ("lanka", "file://lanka"),
    ("lanka", "http://lanka:nonsense"),
    ("lanka", "http://[lanka"),
    ("inside:8000", "http://pub.example"),
    ("inside:8000", "https://pub.example:444"),
    ("", "https://"),
]


@pytest.fixture
async def published(shop: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("LANKA_PUBLIC_URL", "https://pub.example/shop")
    async with calling(shop) as client:
        del client.headers["Authorization"]
        yield client


@pytest.mark.parametrize(("host", "origin"), OURS)
async def test_an_origin_that_names_our_host_or_public_url_is_ours(
    published: httpx.AsyncClient, host: str, origin: str
) -> None:
    answer = await published.post("/shop/session", headers={"Host": host, "Origin": origin})
    assert answer.status_code == 200
    assert ("secure" in answer.headers["set-cookie"].lower()) == origin.lower().startswith("https:")


@pytest.mark.parametrize(("host", "origin"), FOREIGN)
async def test_another_origin_is_not_ours(published: httpx.AsyncClient, host: str, origin: str) -> None:
    answer = await published.post("/shop/session", headers={"Host": host, "Origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "other_origin")


async def test_only_a_trusted_proxy_says_which_host_was_asked_for(shop: str) -> None:
    said = {"X-Forwarded-Host": "pub.example", "X-Forwarded-Proto": "https", "Origin": "https://pub.example"}
    for trusted, status in (("127.0.0.0/8", 200), ("192.0.2.1", 403)):
        async with serving(shop, LANKA_TRUSTED_PROXIES=trusted) as client:
            del client.headers["Authorization"]
            assert (await client.post("/shop/session", headers=said)).status_code == status
            plain = said | {"Origin": "http://pub.example"}
            assert (await client.post("/shop/session", headers=plain)).status_code == 403


async def test_a_caller_has_so_many_streams_and_others_have_theirs(shop: str) -> None:
    async with serving(shop, LANKA_STREAMS_PER_CALLER="2") as api:
        order_id = await accepted(api)
        path = f"/orders/{order_id}/events"
        async with api.stream("GET", path, headers=STREAM) as first:
            async with api.stream("GET", path, headers=STREAM) as second:
                assert (first.status_code, second.status_code) == (200, 200)
                for refused in (
                    await api.get(path, headers=STREAM),
                    await api.get("/operations/live", headers=OPERATOR),
                ):
                    assert (refused.status_code, refused.json()["code"]) == (429, Code.TOO_MANY_STREAMS)
                    assert int(refused.headers["Retry-After"]) > 0
                assert (await api.get(path)).status_code == 200
            async with asyncio.timeout(HANGS_AFTER):
                while True:
                    async with api.stream("GET", path, headers=STREAM) as again:
                        if again.status_code == 200:
                            break


async def test_a_message_of_many_headers_is_refused_at_once(served: httpx.AsyncClient) -> None:
    headers = [(f"ce-{nth}", "x") for nth in range(20_000)]
    answer = await served.post("/events", content=b"{}", headers=[*headers, ("Content-Type", "application/json")])
    assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")


def test_a_mark_that_is_longer_than_ours_can_be_is_none_of_ours() -> None:
    assert 5 in ReadMark("a")
    assert 5 not in ReadMark("a" + ".1" * 500_000)


async def test_headers_without_end_take_no_memory(shop: str) -> None:
    """60 MB of them took 1,270 MB."""
    async with served_as_a_process(shop) as (started, api):
        memory = psutil.Process(started.pid).memory_info

        async def sends_headers() -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", api.base_url.port, local_addr=("127.0.0.2", 0))
            with suppress(ConnectionError):
                writer.write(b"GET / HTTP/1.1\r\nHost: shop\r\n" + b"a: b\r\n" * 500_000)
                await writer.drain()
            writer.close()

        await asyncio.gather(*(sends_headers() for _ in range(5)))
        before = memory().rss
        await asyncio.gather(*(sends_headers() for _ in range(20)))
        assert (await api.get("/orders")).status_code == 200
        assert memory().rss - before < 30_000_000
