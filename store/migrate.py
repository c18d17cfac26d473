"""Brings a database to the newest schema, ours and that of each chain which has tables of its own."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import asyncpg
import stamina
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from chain.failures import LankaError

_LOCK = 6_012_026  # one migration at a time, however many replicas start at once


class OlderDatabaseError(LankaError):
    """The database was made by a version of Lanka from which there is no way to this one."""

    def __init__(self) -> None:
        super().__init__(
            "this database was made by an earlier version of Lanka, which this one cannot read: "
            "finish its orders with that version, or start with a new database (a new LANKA_HOME)"
        )


async def migrate(database_url: str, schemas: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Upgrades to the newest schema. Waits up to 30 s for a server that starts; safe to call twice at once.

    `schemas`: SQL of the chains that have tables of their own, by the chain's name; each is executed once. Returns what
    was done, the newest revision or a chain, in order. Raises `OlderDatabaseError`.
    """
    # A block, no decorator: that logs its function's arguments, and with them a password.
    async for attempt in stamina.retry_context(on=OSError, attempts=None, timeout=30):
        with attempt:
            return await _migrate(database_url, schemas)
    raise AssertionError("it is done, or it has failed")


async def _migrate(database_url: str, schemas: Mapping[str, str]) -> list[str]:
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(database_url))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await _refuse_older(connection)
            done = await connection.run_sync(_upgrade)
            return done + [name for name, sql in schemas.items() if await _add(connection, name, sql)]
    finally:
        await engine.dispose()


async def _refuse_older(connection: AsyncConnection) -> None:
    """The versions before the baseline were numbered."""
    if await connection.scalar(text("SELECT to_regclass('alembic_version')")):
        versions = await connection.scalars(text("SELECT version_num FROM alembic_version"))
        if any(version.isdigit() for version in versions):
            raise OlderDatabaseError


def _upgrade(connection: Connection) -> list[str]:
    before = MigrationContext.configure(connection).get_current_revision()
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    after = MigrationContext.configure(connection).get_current_revision()
    return [after] if after and after != before else []


async def _add(connection: AsyncConnection, name: str, sql: str) -> bool:
    """Whether it was not there before."""
    added = await connection.execute(
        text("INSERT INTO chain_schemas (name) VALUES (:name) ON CONFLICT DO NOTHING"), {"name": name}
    )
    if added.rowcount:
        raw = await connection.get_raw_connection()
        assert raw.driver_connection
        await raw.driver_connection.execute(sql)
    return bool(added.rowcount)
