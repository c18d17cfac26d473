"""A customer at the edge: pays at the sandbox provider, posts the order, looks where it stands."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
import httpx

from lanka.home import Connection
from tests.servers import HANGS_AFTER, until

ENDS = {"confirmed", "rejected", "cancelled"}


@asynccontextmanager
async def held_at_the_cart(connection: Connection, sku: str) -> AsyncIterator[None]:
    """Orders of the SKU get no further than their payment for a while."""
    database = await asyncpg.connect(connection.database_url)
    try:
        async with database.transaction():
            await database.execute("SELECT FROM stock WHERE sku = $1 FOR UPDATE", sku)
            yield
    finally:
        await database.close()


class Customer:
    def __init__(self, connection: Connection) -> None:
        self.api = httpx.AsyncClient(
            base_url=connection.api,
            timeout=HANGS_AFTER,
            headers=_bearer(connection.keys["shop"]),
            # The server closes what was idle for 5 s, perhaps at the moment at which it is used again.
            limits=httpx.Limits(keepalive_expiry=2),
        )
        self.operator = _bearer(connection.keys["operator"])
        self.payments = httpx.AsyncClient(base_url=connection.payments or "", timeout=HANGS_AFTER)

    async def close(self) -> None:
        await self.api.aclose()
        await self.payments.aclose()

    async def puts_on_sale(
        self, on_hand: int, unit_price: int = 250, currency: str = "EUR", name: str = "a thing"
    ) -> str:
        """A SKU of its own for this test."""
        sku = f"T-{uuid.uuid4().hex[:10]}"
        body = {"name": name, "unit_price": unit_price, "currency": currency, "on_hand": on_hand}
        answer = await self.api.put(f"/catalogue/{sku}", json=body, headers=self.operator)
        assert answer.is_success, answer.text
        return sku

    async def pays(self, amount: int, outcome: str = "authorized", currency: str = "EUR") -> str:
        body = {"amount": amount, "currency": currency, "outcome": outcome}
        answer = await self.payments.post("/payments", json=body)
        assert answer.is_success, answer.text
        return str(answer.json()["id"])

    async def posts(self, body: dict[str, Any], key: str | None = None) -> httpx.Response:
        return await self.api.post("/orders", json=body, headers={"Idempotency-Key": key or uuid.uuid4().hex})

    async def orders(
        self, *lines: tuple[str, int, int], outcome: str = "authorized", key: str | None = None, **changes: Any
    ) -> str:
        """Pays for the lines (SKU, quantity, unit price) and posts the order; `changes` go into the request."""
        total = sum(quantity * price for _, quantity, price in lines)
        payment = changes.pop("payment_id", None) or await self.pays(total, outcome)
        answer = await self.posts(order_of(payment, lines) | changes, key)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["order_id"])

    async def sees(self, order_id: str) -> dict[str, Any]:
        answer = await self.api.get(f"/orders/{order_id}")
        assert answer.is_success, answer.text
        seen: dict[str, Any] = answer.json()
        return seen

    async def ended(self, order_id: str) -> dict[str, Any]:
        async def has_ended() -> bool:
            return (await self.sees(order_id))["status"] in ENDS

        await until(has_ended, HANGS_AFTER, f"the end of order {order_id}")
        return await self.sees(order_id)

    async def journal(self, order_id: str) -> list[str]:
        answer = await self.api.get(f"/orders/{order_id}/events")
        return [event["type"].removeprefix("lanka.") for event in answer.json()]

    async def times(self, order_id: str) -> list[datetime]:
        """When each event of the journal happened."""
        answer = await self.api.get(f"/orders/{order_id}/events")
        return [datetime.fromisoformat(event["time"]) for event in answer.json()]

    async def payment(self, payment_id: str) -> dict[str, Any]:
        seen: dict[str, Any] = (await self.payments.get(f"/payments/{payment_id}")).json()
        return seen

    async def available(self, sku: str) -> int:
        answer = await self.api.get("/catalogue")
        (found,) = [item for item in _items(answer.json()) if item["sku"] == sku]
        return int(found["available"])


def order_of(payment_id: str, lines: Sequence[tuple[str, int, int]], currency: str = "EUR") -> dict[str, Any]:
    return {
        "customer_id": "cus_42",
        "payment_id": payment_id,
        "currency": currency,
        "lines": [{"sku": sku, "quantity": quantity, "unit_price": price} for sku, quantity, price in lines],
    }


def _items(catalogue: Any) -> list[dict[str, Any]]:
    return catalogue if isinstance(catalogue, list) else next(v for v in catalogue.values() if isinstance(v, list))


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
