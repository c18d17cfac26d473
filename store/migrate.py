"""Brings a database to the newest schema."""

from pathlib import Path

import stamina
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

_LOCK = 6_012_026  # one migration at a time, however many replicas start at once


@stamina.retry(on=OSError, attempts=None, timeout=30)
async def migrate(database_url: str) -> None:
    """Upgrades to the newest schema. Waits up to 30 s for a server that starts; safe to call twice at once."""
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://", 1))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
