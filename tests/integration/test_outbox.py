"""The third producer: an application's own INSERT becomes an event, in the transaction of its own data."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from chain.event import AnyEvent
from dispatch.dispatcher import Wakeup
from store.database import Pool, transaction
from store.intake import Intake, register
from support.store import Operator, Support
from tests.servers import HANGS_AFTER, free_port, process, temporal_server, until
from tests.shop import accept, an_order, fetch, running_dispatcher
from workflows.chains import accepted

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
CALL = '{"customer_id": "cus_1", "language": "uk", "skill": "orders"}'
STARTED, ENDED = "lanka.SupportCallStarted", "lanka.SupportCallEnded"

Application: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

INSERT = "INSERT INTO event_outbox (source, id, type, subject, data) VALUES ('/app', $1, $2, $3, $4)"


@pytest.fixture
async def application(database_url: str, pool: Pool) -> AsyncIterator[Application]:
    """The application's connection: its own table, and no right of ours but to insert into the outbox."""
    async with transaction(pool) as tx:
        await register(tx, accepted())
        role = f"app_{urlsplit(database_url).path[1:]}"
        await tx.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'app'")
        await tx.execute(f"CREATE SCHEMA AUTHORIZATION {role} CREATE TABLE rings (number text)")
        await tx.execute(f"GRANT INSERT ON event_outbox TO {role}")
    parts = urlsplit(database_url)
    url = urlunsplit(parts._replace(netloc=f"{role}:app@{parts.hostname}:{parts.port}"))
    connection: Application = await asyncpg.connect(url)
    yield connection
    await connection.close()
    async with transaction(pool) as tx:
        await tx.execute(f"DROP OWNED BY {role} CASCADE")
        await tx.execute(f"DROP ROLE {role}")


async def journal(pool: Pool) -> list[tuple[str, str]]:
    return [(row["id"], row["subject"]) for row in await fetch(pool, "SELECT * FROM journal ORDER BY position")]


async def test_what_the_application_stores_and_its_event_are_one(application: Application, pool: Pool) -> None:
    async with application.transaction():
        await application.execute("INSERT INTO rings VALUES ('+380')")
        await application.execute(INSERT, "1", STARTED, "call_1", CALL)
        assert await journal(pool) == []
    assert await journal(pool) == [("1", "call_1")]
    assert await application.fetchval("SELECT count(*) FROM rings") == 1
    (subject,) = await fetch(pool, "SELECT subject, chain, status FROM subjects")
    assert subject == {"subject": "call_1", "chain": "support", "status": "received"}
    (event,) = await fetch(pool, "SELECT source, type, data ->> 'language' AS language FROM journal")
    assert event == {"source": "/app", "type": STARTED, "language": "uk"}


async def test_what_is_rolled_back_is_never_published(application: Application, pool: Pool) -> None:
    ring = application.transaction()
    await ring.start()
    await application.execute("INSERT INTO rings VALUES ('+380')")
    await application.execute(INSERT, "1", STARTED, "call_1", CALL)
    await ring.rollback()
    await application.execute(INSERT, "2", STARTED, "call_2", CALL)
    assert await journal(pool) == [("2", "call_2")]
    assert len(await fetch(pool, "SELECT FROM subjects")) == 1


async def test_an_event_inserted_twice_is_published_once(application: Application, pool: Pool) -> None:
    twice = f"{INSERT} ON CONFLICT DO NOTHING"
    assert await application.execute(twice, "1", STARTED, "call_1", CALL) == "INSERT 0 1"
    assert await application.execute(twice, "1", STARTED, "call_1", CALL) == "INSERT 0 0"
    with pytest.raises(asyncpg.UniqueViolationError):
        await application.execute(INSERT, "1", STARTED, "call_1", CALL)
    assert await journal(pool) == [("1", "call_1")]
    assert await fetch(pool, "SELECT FROM messages") == []


async def test_an_event_that_came_over_http_before_is_not_published_again(application: Application, pool: Pool) -> None:
    event = AnyEvent(
        source="/app", id="1", type=ENDED, subject="call_1", time=datetime(2026, 7, 1, tzinfo=UTC), data={}
    )
    assert await Intake(pool).publish([event]) == [True]
    await application.execute(INSERT, "1", ENDED, "call_1", "{}")
    assert await Intake(pool).publish([event]) == [False]
    assert await journal(pool) == [("1", "call_1")]
    assert len(await fetch(pool, "SELECT FROM messages")) == 1


@pytest.mark.parametrize("ending", ["", " ON CONFLICT DO NOTHING"])
@pytest.mark.parametrize("before", ["over http", "by the outbox"])
async def test_other_content_under_a_known_id_fails_the_insert_instead_of_vanishing(
    application: Application, pool: Pool, ending: str, before: str
) -> None:
    if before == "over http":
        event = AnyEvent(source="/app", id="1", type=STARTED, subject="call_1", time=NOON, data=json.loads(CALL))
        assert await Intake(pool).publish([event]) == [True]
    else:
        await application.execute(INSERT, "1", STARTED, "call_1", CALL)
    for kind, subject, data in (
        (STARTED, "call_2", CALL),
        (ENDED, "call_1", "{}"),
        (STARTED, "call_1", CALL.replace("uk", "en")),
    ):
        with pytest.raises(asyncpg.PostgresError) as refusal:
            await application.execute(INSERT + ending, "1", kind, subject, data)
        assert refusal.value.sqlstate == "LK004"
    assert await journal(pool) == [("1", "call_1")]


async def test_of_two_applications_that_insert_other_content_at_once_one_is_told(
    application: Application, pool: Pool
) -> None:
    async with pool.acquire() as other:
        first = other.transaction()
        await first.start()
        await other.execute(INSERT, "1", STARTED, "call_1", json.loads(CALL))
        second = asyncio.create_task(
            application.execute(INSERT + " ON CONFLICT DO NOTHING", "1", STARTED, "call_2", CALL)
        )

        async def waits() -> bool:
            return bool(await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(waits, HANGS_AFTER, "the second to wait for the first")
        await first.commit()
        with pytest.raises(asyncpg.PostgresError) as refusal:
            await second
    assert refusal.value.sqlstate == "LK004"
    assert await journal(pool) == [("1", "call_1")]


async def test_a_thousand_rows_of_one_statement_are_a_thousand_events(application: Application, pool: Pool) -> None:
    await application.execute(
        """
        INSERT INTO event_outbox (source, id, type, subject, data)
        SELECT '/app', n, $1, 'call_' || n, $2 FROM generate_series(1, 1000) AS n
        """,
        STARTED,
        CALL,
    )
    assert await journal(pool) == [(str(n), f"call_{n}") for n in range(1, 1001)]
    assert len(await fetch(pool, "SELECT FROM subjects")) == 1000


@pytest.mark.parametrize(
    ("source", "kind", "sqlstate"),
    [("/app", "lanka.Nothing", "LK001"), ("/app", "lanka.OrderReceived", "LK001"), ("/lanka/payment", ENDED, "LK002")],
)
async def test_an_event_that_cannot_be_published_fails_the_insert(
    application: Application, pool: Pool, source: str, kind: str, sqlstate: str
) -> None:
    async def store() -> None:
        async with application.transaction():
            await application.execute("INSERT INTO rings VALUES ('+380')")
            await application.execute(INSERT.replace("/app", source), "1", kind, "call_1", "{}")

    with pytest.raises(asyncpg.PostgresError) as refusal:
        await store()
    assert refusal.value.sqlstate == sqlstate
    assert await application.fetchval("SELECT count(*) FROM rings") == 0
    assert await journal(pool) == []


async def test_an_application_cannot_end_the_order_of_a_customer(application: Application, pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    for kind in (STARTED, ENDED):
        with pytest.raises(asyncpg.PostgresError) as refusal:
            await application.execute(INSERT, "1", kind, order.order_id, CALL)
        assert refusal.value.sqlstate == "LK003"
    assert await fetch(pool, "SELECT status, ended_at FROM subjects") == [{"status": "received", "ended_at": None}]


DEEP = '{"a":' * 101 + "1" + "}" * 101


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"source": "s" * 256},
        {"subject": ""},
        {"subject": "call 1 "},
        {"subject": "c" * 129},
        {"data": "[]"},
        {"data": DEEP},
        {"data": '{"a": [1e5000]}'},
        {"data": f'{{"a": "{"x" * 262_144}"}}'},
        {"time": datetime(1969, 1, 1, tzinfo=UTC)},
        {"time": datetime(9999, 6, 1, tzinfo=UTC)},
    ],
    ids=str,
)
async def test_what_could_not_travel_is_not_let_in(
    application: Application, pool: Pool, changes: dict[str, Any]
) -> None:
    row = {"source": "/app", "id": "1", "subject": "call_1", "time": datetime.now(UTC), "data": "{}"} | changes
    with pytest.raises(asyncpg.CheckViolationError):
        await application.execute(
            f"INSERT INTO event_outbox (type, {', '.join(row)}) VALUES ('{ENDED}', $1, $2, $3, $4, $5)", *row.values()
        )
    assert await journal(pool) == []


async def test_the_application_may_insert_and_nothing_else(application: Application, pool: Pool) -> None:
    await application.execute(INSERT, "1", STARTED, "call_1", CALL)
    for statement in (
        "SELECT FROM event_outbox",
        "UPDATE event_outbox SET id = '2'",
        "DELETE FROM event_outbox",
        f"INSERT INTO event_outbox VALUES ('/app', '2', '{ENDED}', 'call_1') RETURNING id",
        f"INSERT INTO event_outbox VALUES ('/app', '2', '{ENDED}', 'call_1') ON CONFLICT (source, id) DO NOTHING",
        "SELECT FROM journal",
        "SELECT FROM subjects",
        "INSERT INTO routes VALUES ('mine', 'support', 'start', 'received')",
        "SELECT publish('/app', '2', 'lanka.SupportCallEnded', 'call_1', now(), '{}')",
        "SELECT publish_from_outbox()",
    ):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError)):
            await application.execute(statement)
    assert await journal(pool) == [("1", "call_1")]


async def test_tables_of_the_application_are_not_mistaken_for_ours(application: Application, pool: Pool) -> None:
    await application.execute("CREATE TABLE routes (type text, chain text, kind text, status text)")
    await application.execute("INSERT INTO routes VALUES ('mine', 'support', 'start', 'received')")
    await application.execute("CREATE TEMP TABLE journal (source text, id text)")
    with pytest.raises(asyncpg.PostgresError) as refusal:
        await application.execute(INSERT, "1", "mine", "call_1", CALL)
    assert refusal.value.sqlstate == "LK001"
    await application.execute(INSERT, "1", STARTED, "call_1", CALL)
    assert await journal(pool) == [("1", "call_1")]


async def test_an_insert_reaches_its_chain_without_waiting_for_anybody_to_look(
    application: Application, pool: Pool, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch.dispatcher.LOOK_ANYWAY", 600)
    await Support(pool).put(
        Operator(operator_id="ann", name="Ann", languages=["uk"], skills=["orders"], available=True)
    )

    async def types(subject: str) -> list[str]:
        rows = await fetch(pool, "SELECT type FROM journal WHERE subject = $1 ORDER BY position", subject)
        return [row["type"].removeprefix("lanka.") for row in rows]

    async def happened(subject: str, kind: str) -> bool:
        return kind in await types(subject)

    async with temporal_server(tmp_path) as address:
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        env = {"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": address, "LANKA_WORKER_PORT": str(free_port())}
        async with process(sys.executable, "worker.py", env=env), running_dispatcher(pool, Wakeup(pool)):
            await application.execute(INSERT, "0", STARTED, "call_0", CALL)  # the first waits for all to be ready
            await until(lambda: happened("call_0", "OperatorAssigned"), HANGS_AFTER, "the first call")
            await application.execute(INSERT, "unreadable", STARTED, "call_x", "{}")
            await until(lambda: happened("call_x", "Parked"), HANGS_AFTER, "the call of which nobody knows who calls")
            await application.execute(INSERT, "1", STARTED, "call_1", CALL)
            await until(lambda: happened("call_1", "CallerWaiting"), HANGS_AFTER, "the second call")
            await application.execute(INSERT, "2", ENDED, "call_0", "{}")
            await until(lambda: happened("call_1", "OperatorAssigned"), HANGS_AFTER, "the operator's next call")
            assert await types("call_0") == ["SupportCallStarted", "OperatorAssigned", "SupportCallEnded"]
