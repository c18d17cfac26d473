"""The API on a fresh database, in this process for most tests, as a process of its own where the wire matters.

And a real Temporal server for each module that asks for one, with what its workflows were told.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from orders.order import Order
from store.database import Pool
from store.seed import seed
from tests.servers import HANGS_AFTER, Started, free_port, process, temporal_server, until
from tests.shop import fetch

SHOP = {"Authorization": "Bearer shop-key"}
OPERATOR = {"Authorization": "Bearer operator-key"}
KEYS = {"shop": "shop-key", "operator": "operator-key"}


@pytest.fixture(scope="module")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with temporal_server(tmp_path_factory.mktemp("temporal")) as address:
        yield address


@pytest.fixture
async def client(temporal: str, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal)
    return await Client.connect(temporal, data_converter=pydantic_data_converter)


async def signalled(client: Client, workflow_id: str) -> list[list[dict[str, Any]]]:
    """The events of each signal that the workflow got."""
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    signals = [
        event.workflow_execution_signaled_event_attributes.input
        for event in history.events
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]
    return [(await client.data_converter.decode(signal.payloads))[0] for signal in signals]


async def dispatched(pool: Pool, *orders: Order) -> bool:
    rows = await fetch(
        pool,
        "SELECT FROM subjects WHERE dispatched_at IS NOT NULL AND subject = ANY($1::text[])",
        [order.order_id for order in orders],
    )
    return len(rows) == len(orders)


@pytest.fixture
async def shop(database_url: str) -> str:
    """The database with a demo shop in it."""
    await seed(database_url, skus=3, stock=100, keys=KEYS)
    return database_url


@pytest.fixture
async def api(shop: str) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(shop) as client:
        yield client


@asynccontextmanager
async def calling(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API in this process, called with the shop's key. Nobody dispatches the orders; Temporal is away."""
    from api.app import create_app  # noqa: PLC0415, the store's tests need no API

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", database_url)
        patch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{free_port()}")
        patch.setattr("api.app.running_dispatcher", lambda *_: nullcontext())
        app = create_app()
        async with app.router.lifespan_context(app) as state:

            async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
                # What a server does with what the lifespan yields, and httpx does not.
                await app({**scope, "state": dict(state or {})}, receive, send)

            transport = httpx.ASGITransport(with_state)
            async with httpx.AsyncClient(transport=transport, base_url="http://lanka", headers=SHOP) as client:
                yield client


@asynccontextmanager
async def serving(database_url: str, **environment: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API as a process of its own, called with the shop's key; Temporal is away."""
    async with served_as_a_process(database_url, **environment) as (_, client):
        yield client


@asynccontextmanager
async def served_as_a_process(
    database_url: str, **environment: str
) -> AsyncIterator[tuple[Started, httpx.AsyncClient]]:
    port = free_port()
    async with (
        process(
            *(sys.executable, "-m", "lanka", "api", "--port", str(port)),
            env={"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}", **environment},
        ) as started,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=SHOP, timeout=HANGS_AFTER) as client,
    ):
        await until(lambda: client.get("/livez"), HANGS_AFTER, "the API")
        yield started, client


@pytest.fixture
async def served(shop: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(shop) as client:
        yield client
