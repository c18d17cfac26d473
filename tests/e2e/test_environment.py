"""What other programs have left in the environment misleads nobody."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from lanka.home import Connection, Home
from lanka.readiness import http_answers
from tests.conftest import fresh_database
from tests.e2e.machine import LANKA, a_machine
from tests.servers import HANGS_AFTER, Said, free_port, one_who_says, process, until

NOWHERE = "http://127.0.0.1:9"

LEFT: Mapping[str, Mapping[str, str]] = {
    "a proxy": dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
    "a socks proxy": {"ALL_PROXY": "socks5://127.0.0.1:9", "all_proxy": "socks5://127.0.0.1:9"},
    "a proxy for all but the intranet": {"HTTP_PROXY": NOWHERE, "http_proxy": NOWHERE, "NO_PROXY": "intranet"},
    "certificates": dict.fromkeys(("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"), "/nowhere"),
    "a web server's": {
        "WEB_CONCURRENCY": "4",
        "UVICORN_PORT": "1",
        "UVICORN_WORKERS": "3",
        "FORWARDED_ALLOW_IPS": "*",
    },
    "another PostgreSQL": {
        "PGSSLMODE": "require",
        "PGHOST": "nowhere",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGPASSWORD": "none",
        "PGDATABASE": "nothing",
        "PGOPTIONS": "-c search_path=nowhere",
        "PGSERVICE": "nowhere",
        "PGPASSFILE": "/nowhere",
        "PGTARGETSESSIONATTRS": "standby",
        "PGDATA": "/nowhere",
        "PGTZ": "Europe/Kyiv",
    },
    "another Temporal": {"TEMPORAL_NAMESPACE": "other", "TEMPORAL_PROFILE": "other", "TEMPORAL_TLS": "true"},
    "a language": {"LANG": "C", "LC_ALL": "C"},
    "no language": {"LANG": "nonsense", "LC_ALL": "nonsense"},
    "a time zone": {"TZ": "Nowhere/Land"},
    "Python's": {"PYTHONPATH": "/nowhere", "PYTHONSTARTUP": "/nowhere", "PYTHONWARNINGS": "error"},
    "a place for temporary files": {"TMPDIR": "/nowhere"},
    "traces": {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "nonsense"},
    "what is empty": dict.fromkeys(
        ("DATABASE_URL", "TEMPORAL_ADDRESS", "TEMPORAL_API_KEY", "LANKA_BATCH_SIZE", "SANDBOX_WEBHOOK_URL"), ""
    ),
    "Kubernetes": {"LANKA_API_PORT": "tcp://10.0.0.1:8000", "LANKA_API_SERVICE_HOST": "10.0.0.1"},
}


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Somebody whose own profile of Temporal is broken."""
    home = tmp_path_factory.mktemp("person")
    profile = home / ".config" / "temporalio" / "temporal.toml"
    profile.parent.mkdir(parents=True)
    profile.write_text("broken = [")
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}


@pytest.fixture
async def somewhere() -> AsyncIterator[str]:
    """An API that answers every call with an empty list."""
    async with one_who_says(lambda: Said(200, b"[]", {"Content-Type": "application/json"})) as url:
        yield url


async def said(*args: str | Path, env: Mapping[str, str]) -> str:
    async with process(*args, env=env) as started:
        await until(lambda: started.exit_code is not None, HANGS_AFTER, f"the end of {args}")
        assert started.exit_code == 0, started.printed()
        return started.printed()


@pytest.mark.parametrize("left", LEFT)
async def test_what_is_left_misleads_no_command(
    left: str, person: dict[str, str], somewhere: str, database_url: str, tmp_path: Path
) -> None:
    """The three ways in which a command meets others: as a web server, as a client of one, and of PostgreSQL."""
    env = {**person, **LEFT[left]}
    home, port = Home(tmp_path), free_port()
    connection = Connection(
        api=somewhere,
        temporal="",
        temporal_ui=None,
        database_url=database_url,
        payments="",
        keys={"operator": "key"},
        pids={},
    )
    sandbox = {"SANDBOX_PORT": str(port), "SANDBOX_DATABASE": "payments.db"}
    async with process(sys.executable, "-m", "sandbox", env={**env, **sandbox}, cwd=home.directory) as provider:
        home.announce(connection.model_copy(update={"pids": {"postgres": provider.pid}}))
        parked, migrated = await asyncio.gather(
            said(LANKA, "parked", "list", "--home", home.directory, "--json", env=env),
            said(LANKA, "migrate", "--home", home.directory, env=env),
        )
        await until(lambda: http_answers(f"http://127.0.0.1:{port}/livez"), HANGS_AFTER, "the provider")
        assert provider.exit_code is None, provider.printed()
    assert parked.strip() == "[]"
    assert migrated == "nothing to do: the database has the newest schema\n"


async def test_lanka_up_runs_with_all_of_it_at_once(person: dict[str, str]) -> None:
    env = {**person, **{name: value for each in LEFT.values() for name, value in each.items()}}
    async with a_machine() as machine:
        await machine.ready(env=env)
        shown = await said(LANKA, "order", "--home", machine.home.directory, env=env)
        assert "OrderConfirmed" in shown
        reconciled = await said(LANKA, "reconcile", "--home", machine.home.directory, "--grace", "0", env=env)
        assert "nothing to report" in reconciled
        await said(LANKA, "doctor", "--home", machine.home.directory, env=env)
        assert "died" not in machine.up.printed()


@pytest.mark.parametrize("form", ["?sslmode=disable", "?application_name=x&sslmode=prefer"])
async def test_the_database_is_named_in_every_form_that_its_clients_know(
    form: str, postgres_url: str, tmp_path: Path
) -> None:
    port, bank = free_port(), free_port()
    sandbox = {"SANDBOX_PORT": str(bank), "SANDBOX_DATABASE": str(tmp_path / "payments.db")}
    async with fresh_database(postgres_url, "template0") as url, process(sys.executable, "-m", "sandbox", env=sandbox):
        env = {
            "DATABASE_URL": url.replace("postgresql://", "postgres://") + form,
            "TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}",
            "LANKA_PAYMENTS_URL": f"http://127.0.0.1:{bank}",
            "LANKA_HOME": str(tmp_path),
            "LANKA_API_PORT": str(port),
            "LANKA_WORKER_PORT": str(port + 1),
        }
        assert await said(LANKA, "migrate", env=env) == "migrated the database: baseline_1, support\n"
        assert await said(LANKA, "migrate", env=env) == "nothing to do: the database has the newest schema\n"
        await said(LANKA, "seed", env=env)
        await until(lambda: http_answers(f"http://127.0.0.1:{bank}/livez"), HANGS_AFTER, "the provider")
        assert "20 skus, 0 events, 0 orders" in await said(LANKA, "reconcile", env=env)
        async with process(LANKA, "api", env=env), process(sys.executable, "worker.py", env=env):
            await until(lambda: http_answers(f"http://127.0.0.1:{port}/readyz"), HANGS_AFTER, "the API")
            await until(lambda: http_answers(f"http://127.0.0.1:{port + 1}/livez"), HANGS_AFTER, "the worker")


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (("-m", "sandbox"), {"SANDBOX_PORT": "abc", "SANDBOX_DATABASE": "x"}),
        (("worker.py",), {}),
        (("-m", "uvicorn", "--factory", "api.app:create_app"), {}),
        (("-m", "lanka", "api"), {}),
        (("-m", "lanka", "worker"), {}),
        (("-m", "lanka", "up"), {}),
        (("-m", "lanka", "migrate"), {}),
        (("-m", "lanka", "seed"), {}),
        (("-m", "lanka", "reconcile"), {}),
    ],
    ids=" ".join,
)
async def test_what_is_wrong_ends_every_start_with_a_line_each(
    command: tuple[str, ...], env: dict[str, str], tmp_path: Path
) -> None:
    wrong = {"DATABASE_URL": "nonsense", "LANKA_BATCHSIZE": "5", "LANKA_HOME": str(tmp_path)} | env
    async with process(sys.executable, *command, env=wrong) as started:
        await until(lambda: started.exit_code is not None, HANGS_AFTER, f"the end of {command}")
        lines = started.printed().splitlines()
        assert started.exit_code == 2, lines
    if env:
        assert len(lines) == 1
        assert lines[0].startswith("sandbox: SANDBOX_PORT=abc: Input should be a valid integer")
    else:
        assert lines == [
            "lanka: DATABASE_URL: an address such as postgresql://user:password@host:5432/database is needed",
            "lanka: LANKA_BATCHSIZE: there is no such setting; did you mean LANKA_BATCH_SIZE?",
        ]
    assert not os.listdir(tmp_path)  # noqa: PTH208
