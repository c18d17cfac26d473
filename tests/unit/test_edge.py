"""The edge on a server of its own, with seconds that are short: what is cut off, what is told, and what goes on."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from edge import bounds, protocol
from edge.bounds import Bounds
from edge.protocol import Edge
from edge.proxies import Proxies, counted_as
from tests.servers import HANGS_AFTER, until

GET = b"GET / HTTP/1.1\r\nHost: shop\r\n"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LOOK_EVERY", 0.02)
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "WRITE_SECONDS", "LINGERS"):
        monkeypatch.setattr(bounds, name, 0.3)
    monkeypatch.setattr(bounds, "WRITE_PACE", 10**6)


class App:
    """Says what it was asked; `/stream` goes on until `over` is set, `/large` is more than any socket holds."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.begun = asyncio.Event()
        self.gone = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        match request.url.path:
            case "/stream":
                await StreamingResponse(self._stream())(scope, receive, send)
            case "/large":
                await StreamingResponse(self._large())(scope, receive, send)
            case _:
                try:
                    body = (await request.body()).decode()
                except ClientDisconnect:
                    return
                said = {"body": body, "client": scope["client"][0], "url": str(request.url)}
                await JSONResponse(said)(scope, receive, send)

    async def _stream(self) -> AsyncIterator[bytes]:
        yield b"begun\n"
        self.begun.set()
        await self.over.wait()
        yield b"over\n"

    async def _large(self) -> AsyncIterator[bytes]:
        try:
            for _ in range(1_000):
                yield b"x" * 1_000_000
        finally:
            self.gone.set()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def sends(self, data: bytes) -> "Client":
        self.writer.write(data)
        return self

    async def reads(self) -> tuple[int, bytes]:
        """Status and body of one answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
        body = await self.reader.readexactly(int(length.split(b":")[1])) if length else b""
        return int(head.split()[1]), body

    async def ends(self) -> bytes:
        """What comes until the server closes."""
        return await self.reader.read()


class Server:
    def __init__(self, app: App, edge: Edge, port: int) -> None:
        self.app, self.edge, self.port = app, edge, port
        self._writers: list[asyncio.StreamWriter] = []

    async def client(self, address: str = "127.0.0.1", limit: int = 2**16) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0), limit=limit)
        self._writers.append(writer)
        return Client(reader, writer)

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def serving(**allowed: Any) -> AsyncIterator[Server]:
    app, edge = App(), Edge(Bounds(**allowed))
    config = uvicorn.Config(
        app, port=0, http=edge.protocol, ws="none", lifespan="off", proxy_headers=False, log_config=None
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    async with asyncio.timeout(HANGS_AFTER):
        await server.startup()
        here = Server(app, edge, server.servers[0].sockets[0].getsockname()[1])
        try:
            yield here
        finally:
            here.close()
            app.over.set()
            await server.shutdown()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as here:
        yield here


async def asks(server: Server) -> int:
    """Somebody else, who is answered."""
    client = await server.client("127.0.0.9")
    status, _ = await client.sends(GET + b"\r\n").reads()
    client.writer.close()
    return status


async def test_what_is_whole_is_answered_however_it_was_cut_into_pieces(server: Server) -> None:
    client = await server.client()
    request = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\nmore"
    for at in range(len(request)):
        client.sends(request[at : at + 1])
        await client.writer.drain()
    status, body = await client.reads()
    assert (status, json.loads(body)["body"]) == (200, "more")
    assert (await client.sends(GET + b"\r\n").reads())[0] == 200
    assert server.edge.held == 0


@pytest.mark.parametrize("line", [b"X: y\r\n", b"X: " + b"y" * 1_000 + b"\r\n", b"y" * 10_000])
async def test_headers_without_end_are_refused(server: Server, line: bytes) -> None:
    client = await server.client()
    client.sends(GET + (b"X-Long: " if b"\r\n" not in line else b"") + line * (2 * bounds.HEAD_BYTES // len(line)))
    assert (await client.reads())[0] == 431
    assert await client.ends() == b""
    assert server.edge.held == 0
    assert await asks(server) == 200


async def test_what_is_refused_is_read_no_further(server: Server) -> None:
    client = await server.client()
    client.sends(GET)

    async def sends_on() -> None:
        while True:
            client.sends(b"X-Long: " + b"y" * 50_000 + b"\r\n")
            await client.writer.drain()

    with pytest.raises(ConnectionError):
        await sends_on()
    assert server.edge.held == 0


async def test_a_url_without_end_is_refused(server: Server) -> None:
    for length in (bounds.URL_BYTES + 1, 2 * bounds.HEAD_BYTES):
        client = await server.client()
        assert (await client.sends(b"GET /" + b"a" * length + b" HTTP/1.1\r\nHost: shop\r\n\r\n").reads())[0] == 414


async def test_as_many_headers_as_are_allowed_are_read(server: Server) -> None:
    client = await server.client()
    for more, status in ((bounds.HEADERS - 1, 200), (bounds.HEADERS, 431)):
        assert (await client.sends(GET + b"X: y\r\n" * more + b"\r\n").reads())[0] == status


@pytest.mark.parametrize("begun", [b"GE", GET, b"\r\n", b"", GET + b"X-Slow: y"])
async def test_headers_that_are_not_whole_in_time_are_cut_off(server: Server, begun: bytes) -> None:
    client = await server.client()
    client.sends(begun)
    answer = await client.ends()
    assert answer.startswith(b"HTTP/1.1 408 ") if begun.strip() else answer == b""


async def test_a_byte_now_and_then_wins_no_time(server: Server) -> None:
    client = await server.client()
    client.sends(GET + b"X-Slow: ")

    async def drips() -> None:
        while True:
            client.sends(b"y")
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drips())
    assert (await client.reads())[0] == 408
    dripping.cancel()


async def test_a_slow_body_is_cut_off(server: Server) -> None:
    client = await server.client()
    client.sends(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000\r\n\r\n{")
    assert (await client.reads())[0] == 408
    assert await client.ends() == b""


async def test_what_still_comes_after_the_answer_is_not_read_for_ever(server: Server) -> None:
    client = await server.client()
    server.app.over.set()
    client.sends(b"POST /stream HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.reader.readuntil(b"\r\n0\r\n\r\n")

    async def goes_on() -> None:
        while True:
            client.sends(b"400\r\n" + b"y" * 0x400 + b"\r\n")
            await asyncio.sleep(0.001)

    going = asyncio.create_task(goes_on())
    assert await client.ends() == b""
    going.cancel()


async def test_whoever_does_not_read_is_cut_off(server: Server) -> None:
    client = await server.client(limit=1_000)
    client.sends(b"GET /large HTTP/1.1\r\nHost: shop\r\n\r\n")
    await client.reader.readuntil(b"\r\n\r\n")
    await server.app.gone.wait()


async def test_a_stream_is_not_cut_off(server: Server) -> None:
    client = await server.client()
    client.sends(b"GET /stream HTTP/1.1\r\nHost: shop\r\n\r\n")
    await client.reader.readuntil(b"begun\n")
    slow = await server.client()
    assert (await slow.sends(GET).reads())[0] == 408  # longer than anything else may take
    server.app.over.set()
    await client.reader.readuntil(b"over\n")


async def test_nonsense_after_a_request_does_not_get_into_its_answer(server: Server) -> None:
    client = await server.client()
    client.sends(b"GET /stream HTTP/1.1\r\nHost: shop\r\n\r\nFOO\x00\r\n\r\n")
    await server.app.begun.wait()
    server.app.over.set()
    answer = await client.ends()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(b"0\r\n\r\n")


async def test_only_some_requests_may_wait_for_an_earlier_one(server: Server) -> None:
    client = await server.client()
    client.sends((GET + b"\r\n") * 1_000)
    answers = (await client.ends()).count(b"HTTP/1.1 200 ")
    assert bounds.PIPELINED <= answers <= bounds.PIPELINED + 1
    assert await asks(server) == 200


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"FOO / HTTP/1.1", 501),
        (b"GET / HTTP/9", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: x", 400),
        (b"GET / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\nContent-Length: 3", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 501),
    ],
)
async def test_what_is_no_request_is_told_so(server: Server, request_line: bytes, status: int) -> None:
    client = await server.client()
    assert (await client.sends(request_line + b"\r\n\r\n").reads())[0] == status


async def test_one_address_has_so_many_connections_and_others_have_theirs() -> None:
    async with serving(per_address=2) as server:
        kept = [await server.client() for _ in range(2)]
        for client in kept:
            assert (await client.sends(GET + b"\r\n").reads())[0] == 200
        refused = await server.client()
        assert (await refused.ends()).startswith(b"HTTP/1.1 429 ")
        assert await asks(server) == 200
        kept[0].writer.close()
        await until(lambda: answered(server), HANGS_AFTER, "the place that is free again")


async def answered(server: Server) -> bool:
    client = await server.client()
    return (await client.sends(GET + b"Connection: close\r\n\r\n").ends()).startswith(b"HTTP/1.1 200 ")


async def test_more_connections_than_there_may_be_are_refused() -> None:
    async with serving(connections=4) as server:
        for nth in range(4):
            client = await server.client(f"127.0.0.{nth + 1}")
            assert (await client.sends(GET + b"\r\n").reads())[0] == 200
        refused = await server.client("127.0.0.8")
        assert (await refused.ends()).startswith(b"HTTP/1.1 503 ")


PROXY = [ip_network("127.0.0.2"), ip_network("10.0.0.0/8")]


def forwarded(*hops: str, path: bytes = b"/") -> bytes:
    return b"GET %s HTTP/1.1\r\nHost: inside\r\nX-Forwarded-For: %s\r\n" % (path, ", ".join(hops).encode())


async def test_a_trusted_proxy_is_believed_and_nobody_else() -> None:
    more = b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\r\n"
    async with serving(proxies=PROXY) as server:
        for address, client, url in (
            ("127.0.0.2", "192.0.2.1", "https://shop.example/"),
            ("127.0.0.3", "127.0.0.3", "http://inside/"),
        ):
            _, body = (
                await (await server.client(address)).sends(forwarded("1.2.3.4", "192.0.2.1", "10.1.1.1") + more).reads()
            )
            assert (json.loads(body)["client"], json.loads(body)["url"]) == (client, url)


async def test_behind_a_proxy_it_is_the_client_that_is_counted() -> None:
    async with serving(per_address=2, proxies=PROXY) as server:
        for client in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"):
            stream = await server.client("127.0.0.2")
            stream.sends(forwarded(client, path=b"/stream") + b"\r\n")
            await stream.reader.readuntil(b"begun\n")
        proxy = await server.client("127.0.0.2")
        for client, status in (("192.0.2.1", 429), ("192.0.2.3", 200), ("192.0.2.2", 429), ("192.0.2.3", 200)):
            assert (await proxy.sends(forwarded(client) + b"\r\n").reads())[0] == status
        server.app.over.set()

        async def answered_again() -> bool:
            return (await proxy.sends(forwarded("192.0.2.1") + b"\r\n").reads())[0] == 200

        await until(answered_again, HANGS_AFTER, "the places that are free again")


def test_of_the_hops_the_last_one_that_is_not_ours_is_the_client() -> None:
    def client(*values: bytes) -> str | None:
        return Proxies(PROXY).client([(b"x-forwarded-for", value) for value in values])

    assert client() is None
    assert client(b"192.0.2.1") == "192.0.2.1"
    assert client(b"192.0.2.1, 192.0.2.2, 10.0.0.1") == "192.0.2.2"
    assert client(b"192.0.2.1", b"192.0.2.2,10.0.0.1") == "192.0.2.2"
    assert client(b"192.0.2.1:4000, [::ffff:10.0.0.2]:80") == "192.0.2.1"
    assert client(b"[2001:db8::1]:4000") == "2001:db8::1"
    assert client(b"10.0.0.1, 10.0.0.2") == "10.0.0.1"
    assert client(b"192.0.2.1, nonsense") is None
    assert client(b"192.0.2.1, " + b"9" * 10_000) is None


def test_a_network_of_ipv6_counts_as_one() -> None:
    assert counted_as("2001:db8::1") == counted_as("2001:db8::ffff:1") != counted_as("2001:db8:0:1::1")
    assert counted_as("::ffff:192.0.2.1") == counted_as("192.0.2.1") == "192.0.2.1"
