"""The database brought to its newest schema: ours, and that of each chain that has tables of its own."""

import asyncpg

from lanka.terminal import NotDoneError
from store import migrate as ours
from workflows.chains import schemas


async def migrate(database_url: str) -> str:
    """Says what was done, in a sentence. Raises `OlderDatabaseError` and `NotDoneError`."""
    try:
        done = await ours.migrate(database_url, schemas())
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise NotDoneError(f"the database was not migrated: {error!r}") from error
    return f"migrated the database: {', '.join(done)}" if done else "nothing to do: the database has the newest schema"
