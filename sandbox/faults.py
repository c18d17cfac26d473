"""Faults on demand: the provider breaks in the way it was told to, at its payments only."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from random import SystemRandom

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.problems import problem

LONGEST_SILENCE = 60.0
"""Seconds after which a call that is never answered is cut off, should the client wait that long."""

NONSENSE = (
    b"",
    b"<html><body>It works!</body></html>",
    b'{"id": "pay_',
    b"[]",
    b'{"ok": true}',
    b'{"id": null, "status": "captured", "amount": "41,50", "currency": "EUR"}',
    b"""{"id": "pay_of_somebody_else", "status": "captured", "amount": 1, "currency": "EUR", "operations": [],
         "captured_amount": 1, "refunded_amount": 0, "created_at": "2020-01-01T00:00:00Z"}""",
)

_dice = SystemRandom()


class Faults(BaseModel):
    """What is broken now. A rate is the chance, from 0 to 1, of each call but the creation of a payment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    down: bool = False
    latency_ms: int = Field(0, ge=0, le=600_000)
    error_rate: float = Field(0, ge=0, le=1, description="answers 500 or 429 and does nothing")
    timeout_rate: float = Field(0, ge=0, le=1, description="does the work and never answers")
    garbage_rate: float = Field(0, ge=0, le=1, description="does the work and answers 200 with nonsense")


class FaultInjection:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, faults: Callable[[], Faults]) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (scope["path"] + "/").startswith("/payments/"):
            await self._app(scope, receive, send)
            return
        faults = self._faults()
        await asyncio.sleep(faults.latency_ms / 1000)
        if faults.down:
            await problem(503, "down", "the provider is down")(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"] == "/payments":  # a drill creates its payments in any weather
            await self._app(scope, receive, send)
        elif _dice.random() < faults.error_rate:
            await _error()(scope, receive, send)
        elif _dice.random() < faults.timeout_rate:
            await self._app(scope, receive, _nowhere)
            await _silence(receive)
            await problem(504, "timeout", "nobody was meant to wait this long")(scope, receive, send)
        elif _dice.random() < faults.garbage_rate:
            await self._app(scope, receive, _nowhere)
            await Response(_dice.choice(NONSENSE), media_type="application/json")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _error() -> Response:
    if _dice.random() < 0.5:  # noqa: PLR2004 - heads or tails
        return problem(500, "internal_error", "an error on demand")
    return problem(429, "too_many_requests", "an error on demand", {"Retry-After": "1"})


async def _nowhere(_message: Message) -> None:
    """Drops an answer."""


async def _silence(receive: Receive) -> None:
    with suppress(TimeoutError, asyncio.CancelledError):  # cancelled: the provider is being shut down
        async with asyncio.timeout(LONGEST_SILENCE):
            while (await receive())["type"] != "http.disconnect":
                pass
