"""What `/readyz` tells is true, and says what to do: of the API, which needs PostgreSQL, and of the worker."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import asyncpg
import httpx
import pytest

from dispatch import checks
from dispatch.checks import State
from store.database import Pool
from store.health import HEAD, Health
from tests.conftest import fresh_database
from tests.integration.conftest import OPERATOR, calling, served_as_a_process, serving
from tests.servers import HANGS_AFTER, free_port, process, until
from workflows.chains import schemas

ORDER = {
    "customer_id": "cus_1",
    "payment_id": "pay_1",
    "currency": "EUR",
    "lines": [{"sku": "cup", "quantity": 1, "unit_price": 250}],
}
EVENT = {"specversion": "1.0", "id": "1", "source": "/t", "type": "lanka.SupportCallStarted", "subject": "call1"}


@pytest.fixture
async def bare(postgres_url: str) -> AsyncIterator[str]:
    """A database that nobody has migrated."""
    async with fresh_database(postgres_url, "template0") as url:
        yield url


async def test_an_unmigrated_database_is_not_ready_and_every_post_says_run_lanka_migrate(bare: str) -> None:
    async with served_as_a_process(bare) as (started, api):
        answer = await api.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "database_not_migrated")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "`lanka migrate`" in answer.json()["detail"]
        posts: tuple[tuple[str, object], ...] = (
            ("/orders", ORDER),
            ("/events", EVENT | {"data": {}}),
            ("/shop/session", None),
            ("/console/session", {"key": "some"}),
            ("/orders/some/cancel", None),
            ("/operations/parked/some/release", {"why": "mended"}),
        )
        for path, body in posts:
            for _ in range(10):
                headers = {"Idempotency-Key": "one", "Origin": str(api.base_url).rstrip("/"), **OPERATOR}
                answer = await api.post(path, json=body, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (503, "database_not_migrated"), path
                assert "`lanka migrate`" in answer.json()["detail"]
        said = started.printed()
        assert "Traceback" not in said
        assert '"exception"' not in said
        lines = [line for line in said.splitlines() if line.startswith("{") and '"event": "request"' not in line]
        warnings = [json.loads(line)["event"] for line in lines if '"warning"' in line]
        assert len(warnings) < 20, "each loop says it once for each table that it misses"


async def test_a_database_that_is_migrated_later_is_found(bare: str) -> None:
    from lanka.schemas import migrate  # noqa: PLC0415, brings alembic

    async with serving(bare) as api:
        assert (await api.get("/readyz")).status_code == 503
        await migrate(bare)
        assert (await api.get("/readyz")).json()["postgresql"] == "up"


async def test_the_newest_migration_is_the_one_that_a_database_has_to_be_at(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == HEAD
    await connection.close()


@pytest.mark.parametrize(
    ("change", "state", "says"),
    [
        ("UPDATE alembic_version SET version_num = '0014'", State.FAILED, "earlier version"),
        ("UPDATE alembic_version SET version_num = 'of_tomorrow'", State.WARNING, "of_tomorrow"),
        ("DELETE FROM chain_schemas", State.FAILED, "tables of support are missing"),
        ("DROP TABLE subjects CASCADE", State.FAILED, "another program's"),
        ("SELECT 1", State.OK, HEAD),
    ],
)
async def test_a_database_of_another_version_is_told_apart(
    database_url: str, change: str, state: State, says: str
) -> None:
    async with asyncpg.create_pool(database_url, min_size=0) as pool:
        await pool.execute(change)
        found = {each.name: each for each in await checks.postgresql(Health(pool), schemas().keys(), 10)}
    assert (found["migrations"].state, says in found["migrations"].seen) == (state, True), found["migrations"]


class Skewed(Health):
    wrong: ClassVar[float]

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, lambda: time.time() + self.wrong)


@pytest.mark.parametrize(("wrong", "says"), [(-7200, "7200.0 s behind"), (7200, "7200.0 s ahead of")])
async def test_a_host_whose_clock_is_wrong_is_not_ready_and_says_by_how_much(
    shop: str, monkeypatch: pytest.MonkeyPatch, wrong: float, says: str
) -> None:
    monkeypatch.setattr(Skewed, "wrong", wrong, raising=False)
    monkeypatch.setattr("api.app.Health", Skewed)
    async with calling(shop) as api:
        answer = await api.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "clocks_disagree")
    assert says in answer.json()["detail"]
    assert "NTP" in answer.json()["detail"]


async def test_clocks_may_differ_by_what_the_setting_says(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.app.Health", lambda pool: Health(pool, lambda: time.time() + 60))
    monkeypatch.setenv("LANKA_CLOCK_SKEW_SECONDS", "120")
    async with calling(shop) as api:
        assert (await api.get("/readyz")).status_code == 200


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """The address of somebody who lets everybody in and never answers."""
    gone = asyncio.Event()

    async def never(_: object, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    async with await asyncio.start_server(never, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        gone.set()


@asynccontextmanager
async def working(database_url: str, temporal: str, **environment: str) -> AsyncIterator[httpx.AsyncClient]:
    """A worker as a process of its own."""
    port = free_port()
    env = {"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": temporal, "LANKA_WORKER_PORT": str(port), **environment}
    async with (
        process(sys.executable, "-m", "worker", env=env),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HANGS_AFTER) as client,
    ):
        await until(lambda: client.get("/livez"), HANGS_AFTER, "the worker")
        yield client


async def test_a_worker_is_ready_when_it_polls_and_not_without_postgresql_or_temporal(
    database_url: str, temporal: str
) -> None:
    async with working(database_url, temporal) as worker:

        async def ready() -> bool:
            return (await worker.get("/readyz")).is_success

        await until(ready, HANGS_AFTER, "the worker to be ready")
    async with working(f"postgresql://nobody@127.0.0.1:{free_port()}/none", temporal) as worker:
        answer = await worker.get("/readyz")
        assert answer.status_code == 503
        assert "DATABASE_URL" in answer.json()["status"]


async def test_a_worker_waits_for_its_namespace_and_says_so(database_url: str, temporal: str) -> None:
    async with working(database_url, temporal, TEMPORAL_NAMESPACE="shop") as worker:

        async def tells() -> bool:
            return "temporal operator namespace create --namespace shop" in (await worker.get("/readyz")).text

        await until(tells, HANGS_AFTER, "the worker to miss its namespace")
        assert (await worker.get("/readyz")).status_code == 503


async def test_a_temporal_that_never_answers_is_told_in_time_and_not_as_an_error_of_ours(
    shop: str, silent: str
) -> None:
    async with working(shop, silent) as worker:
        answer = await worker.get("/readyz")
        assert answer.status_code == 503
        assert "Temporal: no answer within 1 s" in answer.json()["status"]
    async with calling(shop) as api:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEMPORAL_ADDRESS", silent)
            answer = await api.get("/readyz")
    assert (answer.status_code, answer.json()["temporal"]) == (200, "away")
    assert "no answer within 1 s" in answer.json()["notes"][0]


async def test_a_missing_namespace_closes_no_shop(
    api: httpx.AsyncClient, temporal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "shop")
    answer = await api.get("/readyz")
    assert (answer.status_code, answer.json()["temporal"]) == (200, "away")
    assert "namespace: shop is missing" in answer.json()["notes"][0]
