"""`lanka doctor` finds what is wrong, goes on to the end, and says how to mend it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from typer.testing import CliRunner

from dispatch import checks
from lanka import temporal as embedded
from lanka.commands import app
from lanka.readiness import temporal_answers
from store.health import Health
from tests.conftest import fresh_database
from tests.integration.conftest import serving
from tests.servers import HANGS_AFTER, free_port, process, until
from workflows.chains import queues, schemas
from workflows.connect import connect_once

SECRET = "whsec_" + "c2VjcmV0" * 4
HEALTHY = {
    "PostgreSQL", "migrations", "clock", "privileges", "Temporal", "namespace", "retention", "search attributes",
    "partitions", "Temporal's clock", "ports", "files",
}  # fmt: skip


async def told(*options: str) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", *options])
    return result.exit_code, result.output


async def found(*options: str) -> tuple[int, dict[str, Any]]:
    code, output = await told("--json", *options)
    return code, {each["name"]: each for each in json.loads(output)}


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ports that nobody has, and a home in which nothing runs."""
    for name, value in {
        "LANKA_API_PORT": str(free_port()),
        "LANKA_WORKER_PORT": str(free_port()),
        "LANKA_PAYMENTS_URL": f"http://127.0.0.1:{free_port()}",
        "LANKA_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)


async def test_where_nothing_runs_it_says_how_to_start() -> None:
    code, output = await told()
    assert code == 1
    assert "Start `lanka up`" in output


async def test_all_is_looked_at_though_the_provider_is_away(
    database_url: str, temporal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal)
    code, seen = await found()
    assert code == 1
    assert {name for name, each in seen.items() if each["state"] == "ok"} == HEALTHY
    assert (seen["payment provider"]["state"], seen["webhook secret"]["state"]) == ("failed", "warning")
    assert "LANKA_PAYMENTS_URL" in seen["payment provider"]["mend"]
    _, output = await told()
    assert all(len(line) <= 80 for line in output.splitlines())
    assert output.splitlines()[-1] == "1 to mend"


async def test_what_cannot_be_looked_at_is_said_and_the_rest_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://lanka:secret-word@127.0.0.1:{free_port()}/lanka")
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{free_port()}")
    code, seen = await found()
    assert code == 1
    failed = {name for name, each in seen.items() if each["state"] == "failed"}
    assert failed == {"PostgreSQL", "Temporal", "payment provider"}
    assert {name for name, each in seen.items() if each["state"] == "skipped"} == {
        "migrations", "clock", "privileges", "namespace", "retention", "search attributes", "partitions",
        "Temporal's clock", "disk",
    }  # fmt: skip
    assert all(seen[name]["mend"] for name in failed)
    assert "secret-word" not in str(seen)


async def test_an_unmigrated_database_and_a_wrong_setting_are_named(
    postgres_url: str, temporal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal)
    async with fresh_database(postgres_url, "template0") as url:
        monkeypatch.setenv("DATABASE_URL", url)
        _, seen = await found()
    assert (seen["migrations"]["state"], seen["migrations"]["mend"]) == ("failed", "Run `lanka migrate`.")
    assert seen["privileges"]["state"] == "skipped"
    monkeypatch.setenv("LANKA_CLOCK_SKEW", "5")
    code, output = await told()
    assert (code, "did you mean LANKA_CLOCK_SKEW_SECONDS?" in " ".join(output.split())) == (1, True)


async def test_missing_privileges_are_named(database_url: str) -> None:
    async with asyncpg.create_pool(database_url, min_size=0, max_size=1) as pool:
        assert (await checks.privileges(Health(pool), schemas().values())).state == "ok"
        role = f"clerk_{free_port()}"
        await pool.execute(f"CREATE ROLE {role}")
        await pool.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        await pool.execute(f"REVOKE UPDATE ON subjects FROM {role}")
        try:
            async with asyncpg.create_pool(
                database_url, min_size=0, max_size=1, server_settings={"role": role}
            ) as theirs:
                check = await checks.privileges(Health(theirs), schemas().values())
        finally:
            await pool.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert check.state == "failed"
    assert check.seen == "2 missing: UPDATE on subjects, USAGE on order_numbers"


@pytest.fixture
async def as_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A Temporal that nobody has set up for Lanka, with a namespace that forgets soon."""
    port = free_port()
    command = (embedded.BINARY, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port))
    async with process(*command, "--log-level", "warn", cwd=tmp_path):
        address = f"127.0.0.1:{port}"
        await until(lambda: temporal_answers(address), HANGS_AFTER, "Temporal")
        request = RegisterNamespaceRequest(namespace="brief")
        request.workflow_execution_retention_period.FromSeconds(3600)
        client = await Client.connect(address)
        await client.workflow_service.register_namespace(request)
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        monkeypatch.setenv("TEMPORAL_NAMESPACE", "brief")
        yield address


async def test_a_temporal_as_it_comes_lacks_what_lanka_needs_and_that_is_said(as_it_comes: str) -> None:
    async def there() -> checks.Reached | None:  # a new namespace is noticed after a moment
        reached = await checks.temporal(await connect_once())
        return reached if reached.namespace else None

    reached = await until(there, HANGS_AFTER, "the namespace")
    seen = {each.name: each for each in await checks.temporal_in_depth(reached, queues(), 10)}
    assert (seen["retention"].state, seen["retention"].seen) == ("warning", "what has ended is kept for 1 h")
    assert (seen["partitions"].state, "payment has 4" in seen["partitions"].seen) == ("warning", True)
    assert seen["search attributes"].state == "failed"
    assert "--name ParkedStages --type KeywordList" in str(seen["search attributes"].mend)
    behind = {each.name: each for each in await checks.temporal_in_depth(reached, queues(), -1)}
    assert (behind["Temporal's clock"].state, seen["Temporal's clock"].state) == ("failed", "ok")


@pytest.mark.parametrize(("of_the_api", "state"), [(SECRET, "ok"), ("whsec_" + "b3RoZXJz" * 4, "failed")])
async def test_the_secret_of_webhooks_is_tried_with_the_api(
    shop: str, temporal: str, monkeypatch: pytest.MonkeyPatch, of_the_api: str, state: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", shop)
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal)
    monkeypatch.setenv("LANKA_WEBHOOK_SECRET", SECRET)
    async with serving(shop, LANKA_WEBHOOK_SECRET=of_the_api) as api:
        monkeypatch.setenv("LANKA_API_PORT", str(api.base_url.port))
        _, seen = await found()
    assert (seen["webhook secret"]["state"], seen["ports"]["state"]) == (state, "ok")
    async with asyncpg.create_pool(shop, min_size=0) as pool:
        assert await pool.fetchval("SELECT count(*) FROM webhooks") == 0


async def test_a_port_of_another_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv("LANKA_API_PORT", str(port))
        monkeypatch.setenv("DATABASE_URL", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{free_port()}")
        code, seen = await found()
    assert (code, seen["ports"]["state"]) == (1, "failed")
    assert f"API {port}" in seen["ports"]["seen"]
