"""A connection that the server closes under us is an outage, wherever it is noticed."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import asyncpg
import pytest

from chain.failures import Outage
from store.database import Pool, Transaction, connected, session, transaction

OrderProgress = Callable[[Pool], AbstractAsyncContextManager[Transaction]]


async def use_what_is_closed(pool: Pool, way: OrderProgress, times: int) -> None:
    # `other` goes back into the pool in between, time enough for the pool to notice that the first one is lost.
    async with way(pool) as connection, connected(pool) as other:
        await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        for _ in range(times - 1):
            with suppress(asyncpg.PostgresError):
                await connection.fetchval("SELECT pg_sleep(5)")
        await connection.fetchval("SELECT pg_sleep(5)")


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("way", [connected, session, transaction])
async def test_a_connection_that_is_closed_under_us_is_an_outage_and_the_next_one_works(
    pool: Pool, way: OrderProgress, times: int
) -> None:
    with pytest.raises(Outage):
        await use_what_is_closed(pool, way, times)
    async with way(pool) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def take_too_long(pool: Pool) -> None:
    async with transaction(pool) as tx:
        await tx.execute("SET LOCAL statement_timeout = 1")
        await tx.fetchval("SELECT 'pay_1', pg_sleep(5)")


async def test_an_outage_is_told_to_a_batch_without_naming_any_of_it(pool: Pool) -> None:
    with pytest.raises(Outage) as told:
        await take_too_long(pool)
    assert told.value.for_all == "PostgreSQL: QueryCanceledError"
