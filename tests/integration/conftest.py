"""The API on a fresh database: in this process for most tests, as a process of its own where the wire matters."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from api.app import create_app
from store.seed import seed
from tests.servers import Started, free_port, process, until

SHOP = {"Authorization": "Bearer shop-key"}
OPERATOR = {"Authorization": "Bearer operator-key"}
KEYS = {"shop": "shop-key", "operator": "operator-key"}


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
            *(sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app", "--no-access-log"),
            *("--host", "127.0.0.1", "--port", str(port)),
            env={"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}", **environment},
        ) as started,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=SHOP, timeout=30) as client,
    ):
        await until(lambda: client.get("/livez"), 30, "the API")
        yield started, client


@pytest.fixture
async def served(shop: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(shop) as client:
        yield client
