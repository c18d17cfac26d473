"""A sample order: made at a running Lanka, and followed to its end in the terminal."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext, suppress
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live

from chain.event import AnyEvent, Kind
from lanka.home import Connection
from lanka.order_progress import OrderProgress
from orders.money import written
from workflows.order_confirmation import TABLE

LINES = 3

ASKED_EVERY = 2.0
"""Seconds between two looks at what the order waits for."""

TRIES = 30
"""How often, a second apart, the stream is asked for again before the command gives up."""


class NoOrderError(Exception):
    """Told to the person at the terminal."""


async def sample_order(connection: Connection, console: Console) -> None:
    """Pays at the sandbox provider, submits the order and shows each event until the end event."""
    try:
        async with _client(connection, "shop") as shop:
            order = await _paid(connection, await _some_lines(shop, LINES))
            headers = {"Idempotency-Key": str(uuid.uuid4())}
            accepted = (await shop.post("/orders", json=order, headers=headers)).raise_for_status().json()
            console.print(
                f"order [bold]{accepted['order_id']}[/bold] accepted: "
                f"{len(order['lines'])} lines, {written(_total(order), order['currency'])}"
            )
            async with _client(connection, "operator") as operator:
                await _show(shop, operator, accepted["order_id"], console)
    except httpx.HTTPStatusError as error:
        raise NoOrderError(f"{error.request.url} answered {error.response.text}") from error
    except httpx.TransportError as error:
        raise NoOrderError(f"{error.request.url} does not answer; is `lanka up` running?") from error


async def as_curl(connection: Connection) -> str:
    """The same as commands for a shell, for an order of one line."""
    async with _client(connection, "shop") as shop:
        order = await _some_lines(shop, 1)
    return f"""\
PAYMENT=$(curl -s {connection.payments}/payments -H 'Content-Type: application/json' \\
  -d '{json.dumps(_payment(order))}' | grep -o 'pay_[[:alnum:]]*' | head -1)
curl -i {connection.api}/orders -H 'Authorization: Bearer {connection.keys["shop"]}' \\
  -H 'Idempotency-Key: {uuid.uuid4()}' -H 'Content-Type: application/json' \\
  -d '{json.dumps(order)[:-1]}, "payment_id": "'$PAYMENT'"}}'"""


def _client(connection: Connection, scope: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {connection.keys[scope]}"}
    return httpx.AsyncClient(base_url=connection.api, headers=headers, timeout=10)


async def _some_lines(shop: httpx.AsyncClient, count: int) -> dict[str, Any]:
    """An order of `count` different products, one of each, not paid yet."""
    products = (await shop.get("/catalogue")).raise_for_status().json()
    available = [product for product in products if product["available"] > 0]
    if not available:
        raise NoOrderError("the shop has nothing to sell; `lanka seed` fills it")
    chosen = random.sample(available, min(count, len(available)))
    lines = [{"sku": each["sku"], "quantity": 1, "unit_price": each["unit_price"]} for each in chosen]
    return {"customer_id": "cus_sample", "currency": chosen[0]["currency"], "lines": lines}


async def _paid(connection: Connection, order: dict[str, Any]) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=connection.payments, timeout=10) as provider:
        paid = (await provider.post("/payments", json=_payment(order))).raise_for_status().json()
    return {**order, "payment_id": paid["id"]}


def _payment(order: dict[str, Any]) -> dict[str, Any]:
    return {"amount": _total(order), "currency": order["currency"], "outcome": "authorized"}


def _total(order: dict[str, Any]) -> int:
    return sum(line["quantity"] * line["unit_price"] for line in order["lines"])


async def _show(shop: httpx.AsyncClient, operator: httpx.AsyncClient, order_id: str, console: Console) -> None:
    progress = OrderProgress()

    def tell(line: str) -> None:
        if not console.is_terminal:  # where it is one, the chain is drawn anew all the time
            console.print(line, soft_wrap=True)

    live = Live(progress, console=console, refresh_per_second=12) if console.is_terminal else nullcontext()
    with live:
        asking = asyncio.create_task(_ask_why(operator, order_id, progress, tell))
        try:
            async for event in _events(shop, order_id):
                tell(progress.line(event))
        finally:
            asking.cancel()


async def _ask_why(
    operator: httpx.AsyncClient, order_id: str, progress: OrderProgress, tell: Callable[[str], None]
) -> None:
    """What the order waits for is no event: the operators' page of it knows."""
    while True:
        await asyncio.sleep(ASKED_EVERY)
        with suppress(httpx.HTTPError):  # the stream of events complains, if it goes on
            answer = await operator.get(f"/operations/orders/{order_id}")
            for line in progress.waits(answer.raise_for_status().json()):
                tell(line)


async def _events(shop: httpx.AsyncClient, order_id: str) -> AsyncIterator[AnyEvent]:
    """The live stream of the order until its end event, resumed where it broke."""
    mark: str | None = None
    broken = 0
    while True:
        try:
            async for now_at, event in _stream(shop, order_id, mark):
                mark, broken = now_at, 0
                yield event
                if TABLE.types.kind(event.type) is Kind.END:
                    return
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            if isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error:
                raise
            broken += 1
            if broken > TRIES:
                raise
        await asyncio.sleep(1)


async def _stream(shop: httpx.AsyncClient, order_id: str, mark: str | None) -> AsyncIterator[tuple[str, AnyEvent]]:
    """The events that follow the mark, each with its own, until the server ends the stream."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": mark} if mark else {})
    quiet = httpx.Timeout(10, read=60)  # a comment comes every 15 s
    async with shop.stream("GET", f"/orders/{order_id}/events", headers=headers, timeout=quiet) as answer:
        if answer.is_error:
            await answer.aread()
        answer.raise_for_status()
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield fields["id"], AnyEvent.model_validate_json(fields["data"])
                fields = {}
