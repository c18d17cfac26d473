"""The way to PostgreSQL: a pool, one transaction for each request or activity, driver errors translated once."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg
from pydantic_core import from_json

from chain.failures import Outage, Unmigrated

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Transaction: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

_OUTAGES = (
    OSError,  # includes TimeoutError: no connection, or no answer in time
    asyncpg.PostgresConnectionError,
    asyncpg.InternalClientError,  # the connection broke while it was put back into the pool
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.OperatorInterventionError,  # shutting down, starting up, cancelled
    asyncpg.TransactionRollbackError,  # deadlock, serialisation
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,  # we stood still, and the server has let others in
    asyncpg.InvalidAuthorizationSpecificationError,  # what lets us in is being changed
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidCatalogNameError,  # the database is being restored
    asyncpg.PostgresSystemError,  # its disk
    asyncpg.InternalServerError,
    asyncpg.ObjectNotInPrerequisiteStateError,  # it takes no connections just now
    asyncpg.ReadOnlySQLTransactionError,  # a standby that is about to be promoted
)

# A statement of ours that fits no table is older or newer than the database: every test executes it on one that fits.
_UNMIGRATED = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
)

_CLOSED_UNDER_US = ("connection is closed", "connection has been closed", "has been released back to the pool")

# Every statement goes by keys, except where whole tables are compared. Left to itself the planner reads the tables of a
# young database from end to end, and a prepared statement keeps such a plan while the tables grow.
_PLANS = {"enable_seqscan": "off", "jit": "off"}

# A host that vanishes says no goodbye: by default its locks, the dispatcher's lead among them, would stay two hours.
_KEEPALIVE = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "idle_in_transaction_session_timeout": "30000",
}


def open_pool(database_url: str, *, size: int = 10) -> Pool:
    """A pool to be entered with `async with`. It connects when first used, so the database may be away now.

    What is set for a session stays set when its connection goes back: use `SET LOCAL`, or a `session`.
    """
    return asyncpg.create_pool(
        database_url,
        min_size=0,
        max_size=size,
        command_timeout=20,
        timeout=5,
        init=_speak_json,
        reset=_as_it_is,
        server_settings={**_PLANS, **_KEEPALIVE},
    )


async def _speak_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=from_json)


async def _as_it_is(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Saves a round trip for each use of a connection. A transaction that was left open is rolled back all the same."""


@asynccontextmanager
async def connected(pool: Pool) -> AsyncIterator[Transaction]:
    """A connection for one statement. Raises `Outage` when the database is away, `Unmigrated` when it lacks something.

    The one place where errors of the driver are translated.
    """
    try:
        async with pool.acquire() as connection:
            yield connection
    except _UNMIGRATED as error:
        said = f"PostgreSQL: {error}: run `lanka migrate`"
        raise Unmigrated(said, for_all=said) from error
    except _OUTAGES as error:
        kind = f"PostgreSQL: {type(error).__name__}"
        raise Outage(f"{kind}: {error}", for_all=kind) from error
    except asyncpg.InterfaceError as error:
        # asyncpg's own complaint: about a connection closed under us (an outage), or about our bug (a fault).
        if not any(sign in str(error) for sign in _CLOSED_UNDER_US):
            raise
        raise Outage(f"PostgreSQL: {error}", for_all=f"PostgreSQL: {type(error).__name__}") from error


@asynccontextmanager
async def session(pool: Pool) -> AsyncIterator[Transaction]:
    """A connection that may have state of its own (locks, LISTEN) and is closed in the end. Raises `Outage`."""
    async with connected(pool) as connection:
        try:
            yield connection
        finally:
            with suppress(asyncpg.InterfaceError):  # the server has closed it already, and so the pool took it back
                connection.terminate()


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Transaction]:
    """One transaction, committed here and nowhere else. Raises `Outage` when the database is away."""
    async with connected(pool) as connection, connection.transaction():
        yield connection


class Store:
    """What reads and writes by a pool. Each statement has a connection of its own. Raises `Outage`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def now(self) -> datetime:
        """The time of PostgreSQL: what is stored is compared with this, never with the clock of this host."""
        row = await self._first("SELECT now() AS now")
        assert row
        now: datetime = row["now"]
        return now

    async def _fetch(self, statement: str, *values: object) -> list[asyncpg.Record]:
        async with connected(self._pool) as connection:
            return await connection.fetch(statement, *values)

    async def _first(self, statement: str, *values: object) -> asyncpg.Record | None:
        async with connected(self._pool) as connection:
            return await connection.fetchrow(statement, *values)


def columns(rows: list[tuple[Any, ...]], width: int) -> tuple[list[Any], ...]:
    """Rows turned into one array for each column, as `unnest` wants them."""
    return tuple(list(column) for column in zip(*rows, strict=True)) if rows else tuple([] for _ in range(width))
