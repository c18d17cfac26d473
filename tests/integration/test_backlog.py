"""The backlog is bounded: what was accepted before is still answered, what is new comes again later."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from orders.order import Order
from store.database import Pool
from tests.integration.conftest import calling
from tests.servers import HANGS_AFTER, until
from tests.shop import accept, an_order, fetch


@asynccontextmanager
async def bounded(
    database_url: str, monkeypatch: pytest.MonkeyPatch, **limits: str
) -> AsyncIterator[httpx.AsyncClient]:
    for name, value in limits.items():
        monkeypatch.setenv(f"LANKA_{name}", value)
    async with calling(database_url) as api:
        yield api


async def submit(api: httpx.AsyncClient, key: str | None = None, **changes: Any) -> httpx.Response:
    order = {
        "customer_id": "cus_1",
        "payment_id": "pay_1",
        "currency": "EUR",
        "lines": [{"sku": "MUG", "quantity": 2, "unit_price": 1350}],
    }
    return await api.post("/orders", json=order | changes, headers={"Idempotency-Key": key or uuid.uuid4().hex})


async def call(api: httpx.AsyncClient, kind: str, event_id: str, subject: str) -> httpx.Response:
    data = {"customer_id": "cus_1", "language": "uk", "skill": "orders"} if kind == "SupportCallStarted" else {}
    event = {"specversion": "1.0", "id": event_id, "source": "/pbx", "type": f"lanka.{kind}", "subject": subject}
    headers = {"Content-Type": "application/cloudevents+json"}
    return await api.post("/events", json=event | {"data": data}, headers=headers)


async def leave(pool: Pool) -> None:
    """What the dispatcher does with all that waits."""
    await fetch(pool, "UPDATE subjects SET workflow_id = subject, taken_at = now() WHERE taken_at IS NULL")


def is_refused(answer: httpx.Response) -> bool:
    if answer.status_code == 202:
        return False
    assert (answer.status_code, answer.json()["code"]) == (503, "backlog_full")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    return True


async def refuses(api: httpx.AsyncClient) -> bool:
    return is_refused(await submit(api))


async def accepts(api: httpx.AsyncClient) -> bool:
    return not await refuses(api)


async def test_a_full_backlog_refuses_new_orders_until_there_is_room(
    shop: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bounded(shop, monkeypatch, BACKLOG="2") as api:
        accepted = [await submit(api) for _ in range(2)]
        assert [answer.status_code for answer in accepted] == [202, 202]
        assert await refuses(api)
        assert len(await fetch(pool, "SELECT FROM subjects")) == 2

        await leave(pool)
        await until(lambda: accepts(api), HANGS_AFTER, "room in the backlog")


async def test_an_order_that_was_accepted_is_answered_again_though_the_backlog_is_full(
    shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bounded(shop, monkeypatch, BACKLOG="1") as api:
        first = await submit(api, "one")
        again, other = await submit(api, "one"), await submit(api, "one", customer_id="cus_2")
        assert (again.status_code, again.json()) == (202, first.json())
        assert again.headers["Idempotency-Replayed"] == "true"
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert await refuses(api)


async def test_events_that_begin_something_are_refused_and_those_that_follow_are_not(
    shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bounded(shop, monkeypatch, BACKLOG="1") as api:
        assert not is_refused(await call(api, "SupportCallStarted", "1", "call_1"))
        assert is_refused(await call(api, "SupportCallStarted", "2", "call_2"))
        assert not is_refused(await call(api, "SupportCallStarted", "1", "call_1"))
        assert not is_refused(await call(api, "SupportCallEnded", "3", "call_1"))


async def test_what_other_processes_have_accepted_counts(
    shop: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bounded(shop, monkeypatch, BACKLOG="3") as api:
        await accept(pool, *(an_order(cup=1) for _ in range(3)))
        await until(lambda: refuses(api), HANGS_AFTER, "a full backlog")


def old() -> Order:
    return an_order(cup=1).model_copy(update={"received_at": datetime.now(UTC) - timedelta(hours=1)})


async def test_an_order_that_waits_for_too_long_fills_the_backlog(
    shop: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bounded(shop, monkeypatch, BACKLOG_SECONDS="1800") as api:
        await accept(pool, old())
        await until(lambda: refuses(api), HANGS_AFTER, "a full backlog")
        assert (await submit(api)).headers["Retry-After"] == "60"


async def test_what_is_on_its_way_or_parked_does_not_count(
    shop: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accept(pool, *(old() for _ in range(3)))
    await leave(pool)
    async with bounded(shop, monkeypatch, BACKLOG="2", BACKLOG_SECONDS="1800") as api:
        assert await accepts(api)
        await leave(pool)
        assert await accepts(api)
