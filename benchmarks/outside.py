"""Customers who know of a Lanka only what `connection.json` and its HTTP API tell, so that any commit can be asked.

When an order of a burst was confirmed, its `updated_at` tells later, at no cost to the burst. The others are looked for
while they wait: the oldest by itself, and once that is confirmed, or now and then, all of them with one request.
"""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from benchmarks.customers import GIVE_UP, LATEST, OK, SHARE, SOONEST, Line, Order, Sent
from benchmarks.shop import CURRENCY, LINES

SKUS = 200
ON_HAND = 1_000_000

BESIDE = 20
"""Connections over which the shop is furnished and the orders are paid."""

PAGE = 100
"""Orders in one answer."""

NOW_AND_THEN = 0.1
"""Seconds between two looks for all who wait."""

CONFIRMED, OVER = "confirmed", {"confirmed", "rejected", "cancelled"}


class Door(BaseModel):
    """Of `connection.json`, what customers, the provider and operators need."""

    api: str
    payments: str
    keys: dict[str, str]


class Outside:
    """A `benchmarks.customers.Shop`."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._lines: dict[int, Line] = {}
        self._looking = Line(door.api, door.keys["shop"])
        self._ids: dict[str, str] = {}
        self._waiting: dict[str, tuple[float, asyncio.Future[float]]] = {}
        self._watching: asyncio.Task[None] | None = None
        self._dice = random.Random(20_260_101)  # noqa: S311, nothing is secret

    # ---- what comes before ---------------------------------------------------------------------------------------

    async def furnish(self) -> None:
        goods = [
            {"name": f"Thing no. {nth}", "unit_price": _price(nth), "currency": CURRENCY, "on_hand": ON_HAND}
            for nth in range(SKUS)
        ]
        asked = [("PUT", f"/catalogue/{_sku(nth)}", body) for nth, body in enumerate(goods)]
        await _all(self._door.api, self._door.keys["operator"], asked)

    async def paid(self, number: int) -> list[Order]:
        """So many orders, paid at the provider. What is wanted follows from the seed: every run wants the same."""
        lines = [self._wanted() for _ in range(number)]
        payments = [
            {
                "amount": sum(line["quantity"] * line["unit_price"] for line in each),
                "currency": CURRENCY,
                "outcome": "authorized",
            }
            for each in lines
        ]
        answers = await _all(self._door.payments, "", [("POST", "/payments", payment) for payment in payments])
        return [
            Order(
                answer["id"],
                json.dumps({"customer_id": "cus_1", "payment_id": answer["id"], "currency": CURRENCY, "lines": each}),
            )
            for answer, each in zip(answers, lines, strict=True)
        ]

    def _wanted(self) -> list[dict[str, Any]]:
        return [
            {"sku": _sku(nth), "quantity": self._dice.randint(1, 3), "unit_price": _price(nth)}
            for nth in self._dice.sample(range(SKUS), LINES)
        ]

    # ---- what customers do ---------------------------------------------------------------------------------------

    async def hand_in(self, customer: int, order: Order) -> Sent:
        sent = Sent(order.key)
        if customer not in self._lines:
            self._lines[customer] = Line(self._door.api, self._door.keys["shop"])
        answer = await self._lines[customer].exchange(order, sent)
        if sent.answered:
            self._ids[sent.key] = json.loads(answer)["order_id"]
        return sent

    async def confirmed(self, sent: Sent) -> None:
        if sent.answered is None:
            return
        told: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[self._ids[sent.key]] = (sent.at, told)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        sent.confirmed = await told

    async def all_confirmed(self, sent: Sequence[Sent]) -> None:
        rest = {self._ids[each.key]: each for each in sent if each.answered}
        since = time.monotonic()
        while rest and time.monotonic() - since < GIVE_UP:
            await asyncio.sleep(LATEST)
            if not await self._is_confirmed(next(reversed(rest))):
                continue
            for order in await self._newest(until=next(iter(rest))):
                if each := rest.pop(order["order_id"], None):
                    each.confirmed = datetime.fromisoformat(order["updated_at"]).timestamp()
                    since = time.monotonic()

    async def _watch(self) -> None:
        try:
            looked = time.monotonic()
            while self._waiting:
                oldest, (at, _) = next(iter(self._waiting.items()))
                await asyncio.sleep(min(LATEST, max(SOONEST, (time.time() - at) / SHARE)))
                if await self._is_confirmed(oldest):
                    self._tell(oldest)
                elif time.monotonic() - looked < NOW_AND_THEN:
                    continue
                if self._waiting:
                    looked = time.monotonic()
                    for order in (await self._page())["orders"]:
                        self._tell(order["order_id"])
        except Exception as error:  # noqa: BLE001, those who wait must hear of it
            for _, told in self._waiting.values():
                told.set_exception(error)

    def _tell(self, order_id: str) -> None:
        if order_id in self._waiting:
            self._waiting.pop(order_id)[1].set_result(time.time())

    # ---- what can be seen ----------------------------------------------------------------------------------------

    async def _is_confirmed(self, order_id: str) -> bool:
        order = await _answer(self._looking, "GET", f"/orders/{order_id}")
        if order["status"] in OVER - {CONFIRMED}:
            raise RuntimeError(f"an order was {order['status']}: {order}")
        return bool(order["status"] == CONFIRMED)

    async def _newest(self, until: str) -> list[dict[str, Any]]:
        """Of the confirmed orders the newest, back to the order `until` or as far as there are any."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self._page(cursor)
            found += page["orders"]
            cursor = page["next_cursor"]
            if not cursor or any(order["order_id"] == until for order in page["orders"]):
                return found

    async def _page(self, cursor: str = "") -> Any:
        after = f"&cursor={cursor}" if cursor else ""
        return await _answer(self._looking, "GET", f"/orders?status={CONFIRMED}&limit={PAGE}{after}")


def _sku(nth: int) -> str:
    return f"BENCH-{nth:04}"


def _price(nth: int) -> int:
    return 500 + nth % 100 * 25


async def _all(url: str, key: str, asked: Sequence[tuple[str, str, Any]]) -> list[Any]:
    """The answers, in the order of what was asked."""
    answers: list[Any] = [None] * len(asked)
    rest = iter(enumerate(asked))

    async def one() -> None:
        line = Line(url, key)
        for nth, (method, path, body) in rest:
            answers[nth] = await _answer(line, method, path, json.dumps(body))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(BESIDE, len(asked))):
            group.create_task(one())
    return answers


async def _answer(line: Line, method: str, path: str, body: str = "") -> Any:
    status, _, answer = await line.ask(method, path, body)
    if status not in OK:
        raise RuntimeError(f"{method} {path}: {status} {answer[:500]!r}")
    return json.loads(answer)
