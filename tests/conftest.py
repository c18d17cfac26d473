"""One PostgreSQL for each test process, one migrated template in it, and a fresh database for each test."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from ulid import ULID

from store.database import Pool, open_pool
from store.migrate import migrate
from tests.servers import home_of_a_server, postgres_server

pytest_plugins = ["tests.faults.table"]

_OURS = ("DATABASE_URL", "TEMPORAL_", "LANKA_", "OTEL_", "PG")
_TEMPLATE = "lanka_template"

SUPPORT_SCHEMA = Path(__file__).parents[1] / "support" / "schema.sql"


@pytest.fixture(scope="session", autouse=True)
def scrubbed_environment() -> Iterator[None]:
    """No setting of the person who runs the tests reaches them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_OURS)]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
async def postgres_url() -> AsyncIterator[str]:
    """The server of this test process."""
    with home_of_a_server() as home:
        async with postgres_server(home) as url:
            yield url


@pytest.fixture(scope="session")
async def template(postgres_url: str) -> str:
    """The name of a migrated, empty database."""
    await _run(postgres_url, f"CREATE DATABASE {_TEMPLATE}")
    await migrate(_database(postgres_url, _TEMPLATE), {"support": SUPPORT_SCHEMA.read_text()})
    return _TEMPLATE


@pytest.fixture
async def database_url(postgres_url: str, template: str) -> AsyncIterator[str]:
    """A migrated, empty database for one test."""
    async with fresh_database(postgres_url, template) as url:
        yield url


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url) as pool:
        yield pool


@asynccontextmanager
async def fresh_database(server: str, template: str) -> AsyncIterator[str]:
    name = f"test_{ULID()}".lower()
    # Copying the files costs half of what logging each page does.
    await _run(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield _database(server, name)
    finally:
        await _run(server, f"DROP DATABASE {name} WITH (FORCE)")


def _database(server: str, name: str) -> str:
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


async def _run(server: str, statement: str) -> None:
    connection = await asyncpg.connect(_database(server, "postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
