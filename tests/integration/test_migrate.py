"""The schema: made once, whoever starts at the same time, and never out of a database that cannot become it."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from lanka.schemas import migrate as lanka_migrate
from lanka.terminal import NotDoneError
from store.database import open_pool
from store.migrate import OlderDatabaseError, migrate
from tests.conftest import fresh_database
from tests.servers import free_port
from tests.shop import fetch

PARCELS = "CREATE TABLE parcels (parcel text PRIMARY KEY); CREATE INDEX parcels_again ON parcels (parcel);"


async def test_a_chain_brings_its_tables_once_however_many_start_together(postgres_url: str) -> None:
    async with fresh_database(postgres_url, "template0") as url:
        await asyncio.gather(*(migrate(url, {"parcels": PARCELS}) for _ in range(3)))
        await migrate(url)
        await migrate(f"{url}?application_name=later".replace("postgresql://", "postgres://"), {"parcels": PARCELS})
        async with open_pool(url) as pool:
            assert await fetch(pool, "SELECT name FROM chain_schemas") == [{"name": "parcels"}]
            assert await fetch(pool, "SELECT version_num FROM alembic_version") == [{"version_num": "baseline_1"}]
            assert await fetch(pool, "SELECT * FROM parcels") == []


@pytest.mark.parametrize("version", ["0001", "0014"])
async def test_a_database_of_an_earlier_version_is_refused_in_one_sentence(postgres_url: str, version: str) -> None:
    async with fresh_database(postgres_url, "template0") as url, open_pool(url) as pool:
        await fetch(pool, "CREATE TABLE alembic_version (version_num text)")
        await fetch(pool, "INSERT INTO alembic_version VALUES ($1)", version)
        with pytest.raises(OlderDatabaseError, match=r"earlier version of Lanka.*finish its orders.*LANKA_HOME"):
            await migrate(url)
        assert await fetch(pool, "SELECT to_regclass('subjects') AS there") == [{"there": None}]


async def test_a_migration_that_waits_for_its_server_logs_no_password() -> None:
    with capture_logs() as logged, suppress(TimeoutError):
        async with asyncio.timeout(2):
            await migrate(f"postgresql://lanka:geheim@127.0.0.1:{free_port()}/lanka")
    assert logged
    assert "geheim" not in repr(logged)


async def test_a_migration_that_cannot_be_done_says_why_in_a_sentence(postgres_url: str) -> None:
    with pytest.raises(NotDoneError, match='InvalidCatalogNameError: database "nothing" does not exist'):
        await lanka_migrate(f"{postgres_url.rpartition('/')[0]}/nothing")
    async with fresh_database(postgres_url, "template0") as url:
        await lanka_migrate(url)
        async with open_pool(url) as pool:
            await fetch(pool, "UPDATE alembic_version SET version_num = 'baseline_9'")
        with pytest.raises(NotDoneError, match="migrated by a newer version of Lanka"):
            await lanka_migrate(url)
        async with open_pool(url) as pool:
            await fetch(pool, "DROP TABLE alembic_version")
        with pytest.raises(NotDoneError, match="already exists") as told:
            await lanka_migrate(url)
        assert len(str(told.value).splitlines()) == 1
