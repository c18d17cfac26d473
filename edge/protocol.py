"""uvicorn's protocol on the parser of Node.js, which bounds neither bytes nor time, with both bounded.

Costs four microseconds for each request: what is whole when it comes is only counted; whoever sends slowly or too
much is found by one look a second at all connections.
"""

import asyncio
from collections import Counter, deque
from enum import Enum
from functools import partial
from math import inf
from typing import Any, cast

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from edge import bounds
from edge.bounds import Bounds, Refusal
from edge.proxies import Proxies, counted_as

LOOK_EVERY = 1.0
TOLD_EVERY = 60.0

log = structlog.get_logger()


class Edge:
    """The connections of this process. `protocol` is what uvicorn takes as `http`."""

    def __init__(self, allowed: Bounds) -> None:
        self.allowed = allowed
        self.proxies = Proxies(allowed.proxies)
        self.held = 0
        self._open: set[BoundedProtocol] = set()
        self._of: Counter[str] = Counter()
        self._told: dict[Refusal, float] = {}

    @property
    def protocol(self) -> type[asyncio.Protocol]:
        return cast("type[asyncio.Protocol]", partial(BoundedProtocol, self))

    def open(self, connection: "BoundedProtocol") -> Refusal | None:
        if len(self._open) >= self.allowed.connections:
            return Refusal.TOO_MANY
        if not connection.proxied and not self.enter(connection.address):
            return Refusal.TOO_MANY_OF_ONE
        if not self._open:
            connection.loop.call_later(LOOK_EVERY, self._look, connection.loop)
        self._open.add(connection)
        return None

    def close(self, connection: "BoundedProtocol") -> None:
        if connection in self._open:
            self._open.remove(connection)
            if not connection.proxied:
                self.leave(connection.address)

    def enter(self, address: str) -> bool:
        if self._of[address] >= self.allowed.each:
            return False
        self._of[address] += 1
        return True

    def leave(self, address: str) -> None:
        self._of[address] -= 1
        if not self._of[address]:
            del self._of[address]

    def tell(self, refusal: Refusal, address: str, now: float) -> None:
        """Once a minute: an attack must not fill the log as well."""
        if now >= self._told.get(refusal, -inf) + TOLD_EVERY:
            self._told[refusal] = now
            log.warning("a connection is refused", why=refusal.name.lower(), address=address)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self._open):
            connection.look(now)
        if self._open:
            loop.call_later(LOOK_EVERY, self._look, loop)


class Part(Enum):
    """What comes in next."""

    NOTHING = 0
    HEAD = 1
    BODY = 2
    DROPPED = 3


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `_began` and `_bytes` are those of the part that is under way."""

    def __init__(self, edge: Edge, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._edge = edge
        self._part = Part.NOTHING
        self._began = 0.0
        self._bytes = 0
        self._held = 0
        self._speaks = False
        self._why: Refusal | None = None
        self._read_by = inf
        self._closed_by = inf
        self._named: deque[str] = deque()
        self.address = ""
        self.proxied = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._began = self.loop.time()
        peer = self.client[0] if self.client else ""
        self.address, self.proxied = counted_as(peer), self._edge.proxies.trust(peer)
        if refusal := self._edge.open(self):
            self._edge.tell(refusal, self.address, self._began)
            self._part = Part.DROPPED
            transport.write(self._edge.allowed.answers[refusal].raw)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._hold(0)
        self._edge.close(self)
        for client in filter(None, self._named):
            self._edge.leave(client)
        self._named.clear()

    # ---- what comes in -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        for at in range(0, len(data), bounds.PIECE):  # mostly once
            self._take(data[at : at + bounds.PIECE])

    def _take(self, data: bytes) -> None:
        if self._part is Part.NOTHING:
            self._unset_keepalive_if_required()
            self._begin(Part.HEAD)
            self._speaks = False
        room = bounds.HEAD_BYTES - self._bytes
        if self._part is Part.HEAD and len(data) > room:
            self._feed(data[:room])
            if self._part is Part.HEAD and self._bytes >= bounds.HEAD_BYTES:
                self._refuse(Refusal.HEADERS_TOO_LARGE if self.headers else Refusal.URL_TOO_LONG)
            data = data[room:]
        if self._part is not Part.DROPPED:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        self._bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as if it had not asked: there is nothing else here than HTTP/1.1
        except httptools.HttpParserInvalidMethodError:
            self._refuse(Refusal.UNKNOWN_METHOD)
        except httptools.HttpParserError:
            self._refuse(self._why or Refusal.UNREADABLE)
        if self._part is Part.HEAD:  # it is not whole yet
            self._hold(self._bytes)
            if len(self.headers or ()) > bounds.HEADERS:
                self._refuse(Refusal.HEADERS_TOO_LARGE)
            elif self._edge.held > bounds.HELD_BYTES and self._bytes > bounds.HELD_EACH:
                self._refuse(Refusal.TOO_MANY)

    def _begin(self, part: Part) -> None:
        self._part, self._began, self._bytes = part, self.loop.time(), 0

    def _hold(self, size: int) -> None:
        self._edge.held += size - self._held
        self._held = size

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= bounds.PIPELINED:
            self._drop()
            raise ValueError("too many at once")
        if self._part is not Part.HEAD:  # it follows another one at once
            self._begin(Part.HEAD)
        self._speaks = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._held:
            self._hold(0)
        if len(self.headers) > bounds.HEADERS or len(self.url) > bounds.URL_BYTES:
            self._why = Refusal.URL_TOO_LONG if len(self.url) > bounds.URL_BYTES else Refusal.HEADERS_TOO_LARGE
            raise ValueError(self._why)
        if self.proxied:
            self._believe()
        super().on_headers_complete()
        self._begin(Part.BODY)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._part is Part.BODY:
            self._part = Part.NOTHING

    # ---- behind a proxy ------------------------------------------------------------------------------------------

    def _believe(self) -> None:
        """What a trusted proxy says of the client, its scheme and the host that it asked for."""
        if client := self._edge.proxies.client(self.headers):
            self.scope["client"] = (client, 0)
        if scheme := self._edge.proxies.scheme(self.headers):
            self.scope["scheme"] = scheme
        if host := self._edge.proxies.host(self.headers):
            self.headers[:] = [(b"host", host), *(header for header in self.headers if header[0] != b"host")]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.proxied:
            client = counted_as(cycle.scope["client"][0]) if cycle.scope["client"] else ""
            if client == self.address:
                client = ""  # it has named nobody
            if client and not self._edge.enter(client):
                self._edge.tell(Refusal.TOO_MANY_OF_ONE, client, self.loop.time())
                app, client = self._edge.allowed.answers[Refusal.TOO_MANY_OF_ONE], ""
            self._named.append(client)
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        if self._named and (client := self._named.popleft()):
            self._edge.leave(client)
        super().on_response_complete()

    # ---- whoever takes too much ----------------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002, uvicorn's own word for it
        self._refuse(Refusal.UNREADABLE)

    def pause_writing(self) -> None:
        super().pause_writing()
        waits = self.transport.get_write_buffer_size()
        self._read_by = self.loop.time() + bounds.WRITE_SECONDS + waits / bounds.WRITE_PACE

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_by = inf

    def look(self, now: float) -> None:
        """Ends what takes too long."""
        if self.transport.is_closing():  # it waits for its client to read the last of it
            self._closed_by = min(self._closed_by, now + bounds.WRITE_SECONDS)
        if now > min(self._read_by, self._closed_by):
            self.transport.abort()
            return
        lasts = now - self._began
        silent = (self._part is Part.NOTHING and self.cycle is None) or (self._part is Part.HEAD and not self._speaks)
        if silent and lasts > bounds.HEAD_SECONDS:
            self.transport.close()
        elif self._part is Part.HEAD and lasts > bounds.HEAD_SECONDS:
            self._refuse(Refusal.TOO_SLOW)
        elif self._part is Part.BODY and not self.flow.read_paused:
            # An answer that is given already waits for the rest of the body without the bytes' allowance.
            came = 0 if self.cycle.response_complete else self._bytes
            if lasts > bounds.BODY_SECONDS + came / bounds.BODY_PACE:
                self._refuse(Refusal.TOO_SLOW)
        elif self._part is Part.DROPPED and lasts > bounds.LINGERS and not self._answering:
            self.transport.close()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not (self.cycle.response_complete or self.cycle.disconnected)

    def _refuse(self, refusal: Refusal) -> None:
        """Reads no more, says why if no other answer is under way, and closes."""
        part, now = self._part, self.loop.time()
        if part is Part.DROPPED:
            return
        self._edge.tell(refusal, self.address, now)
        self._hold(0)
        if part is Part.BODY and self._answering:
            if self.cycle.response_started or self.pipeline:
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._drop()
        # What was read is not kept while it lingers.
        self.headers, self.url, self.scope, self.parser = [], b"", None, None  # type: ignore[assignment]
        if not self._answering and not self.transport.is_closing():
            if part is not Part.BODY or self.cycle.disconnected:
                self.transport.write(self._edge.allowed.answers[refusal].raw)
            self._unset_keepalive_if_required()
            self.flow.resume_reading()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:  # TLS cannot
                self.transport.close()

    def _drop(self) -> None:
        """What comes from now on is not read; what was asked before is answered, then the connection is closed."""
        self._begin(Part.DROPPED)
        if self.cycle is not None:
            self.cycle.keep_alive = False
