"""The database brought to its newest schema: ours, and that of each chain that has tables of its own."""

import asyncpg
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from lanka.terminal import NotDoneError
from store import migrate as ours
from workflows.chains import schemas


async def migrate(database_url: str) -> str:
    """Says what was done, in a sentence. Raises `OlderDatabaseError` and `NotDoneError`."""
    try:
        done = await ours.migrate(database_url, schemas())
    except CommandError as error:
        raise NotDoneError(f"this database was migrated by a newer version of Lanka, use that one: {error}") from error
    except DBAPIError as error:  # SQLAlchemy's, with what the driver has raised inside
        raise _not_done((error.orig and error.orig.__cause__) or error.orig or error) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _not_done(error) from error
    return f"migrated the database: {', '.join(done)}" if done else "nothing to do: the database has the newest schema"


def _not_done(error: BaseException) -> NotDoneError:
    return NotDoneError(f"the database was not migrated: {type(error).__name__}: {' '.join(str(error).split())}")
