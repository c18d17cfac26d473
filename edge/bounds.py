"""What a connection may take of a process, and what is said to one that takes more."""

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from starlette.types import Receive, Scope, Send

HEAD_BYTES = 65_536
"""Of a request line and its headers, in all and each."""

HEADERS = 200
"""Headers of one request; each costs a hundred bytes more than it has."""

PIECE = 16_384
"""Bytes that are parsed before anybody looks at how many they are: short headers take forty times what they hold."""

URL_BYTES = 8_192

HEAD_SECONDS = 10.0
"""From the first byte of a request, or the connection, until its headers are whole."""

BODY_SECONDS, BODY_PACE = 10.0, 1_024
"""A body has this many seconds, and one more for each so many bytes that have come."""

WRITE_SECONDS, WRITE_PACE = 30.0, 4_096
"""A client has this many seconds to read what waits for it, and one more for each so many bytes."""

LINGERS = 2.0
"""Seconds in which what still comes is dropped: closed at once, the client would lose the answer that says why."""

PIPELINED = 8
"""Requests of one connection that wait for an earlier one."""

HELD_BYTES, HELD_EACH = 2 * 2**20, 8_192
"""What unfinished headers may hold in all; above it, those are refused that have sent more than the second."""

RESERVED_FILES = 100
"""Files that are no connections of clients: PostgreSQL, Temporal, logs, modules."""


class Refusal(Enum):
    """Why a connection is closed; the value is the HTTP status."""

    UNREADABLE = 400
    TOO_SLOW = 408
    URL_TOO_LONG = 414
    TOO_MANY_OF_ONE = 429
    HEADERS_TOO_LARGE = 431
    UNKNOWN_METHOD = 501
    TOO_MANY = 503


@dataclass(frozen=True)
class Answer:
    """What is said to whom is refused: as bytes on the wire, or as an ASGI application."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes

    @cached_property
    def raw(self) -> bytes:
        lines = [b"%s: %s" % header for header in self.headers]
        first = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode()
        return b"\r\n".join([first, *lines, b"connection: close", b"", self.body])

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": self.body})


def in_a_word(refusal: Refusal) -> Answer:
    body = HTTPStatus(refusal.value).phrase.encode()
    headers = (b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))
    return Answer(refusal.value, headers, body)


@dataclass(frozen=True)
class Bounds:
    """`per_address` is at most a quarter of `connections`. `proxies` are believed whom they name as their client."""

    per_address: int = 1_000
    connections: int = field(default_factory=lambda: _connections(open_files()))
    proxies: Sequence[IPv4Network | IPv6Network] = ()
    answers: Mapping[Refusal, Answer] = field(default_factory=lambda: {each: in_a_word(each) for each in Refusal})

    @property
    def each(self) -> int:
        return max(1, min(self.per_address, self.connections // 4))


def open_files() -> int:
    """How many files this process may open, after it has taken all that it is given."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _connections(files: Any) -> int:
    unlimited = files == resource.RLIM_INFINITY
    return 1_000_000 if unlimited else max(10, int(files * 0.9) - RESERVED_FILES)
