"""The compose file and the image, without a container engine: their rules hold, and what they say runs."""

import asyncio
import io
import json
import mmap
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
import yaml
from dockerfile_parse import DockerfileParser  # type: ignore[import-untyped]
from dotenv.variables import parse_variables

from lanka import postgres, temporal
from store.seed import CURRENCY, PRODUCTS
from tests.servers import HANGS_AFTER, free_port, process, temporal_server, until
from worker import DRAIN
from workflows.chains import queues

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
OURS = ("api", "worker", "payments")


def interpolated(value: Any) -> Any:
    """As Compose reads what the file holds when no variable is set: an empty one is an empty text."""
    if isinstance(value, dict):
        return {name: interpolated(each) for name, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each) for each in value]
    return "".join(atom.resolve({}) for atom in parse_variables(value)) if isinstance(value, str) else value


COMPOSE: dict[str, Any] = interpolated(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DYNAMIC_CONFIG: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (ROOT / "deploy" / "temporal-dynamic-config.yaml").read_text()
)
DOCKERFILE = DockerfileParser(fileobj=io.BytesIO((ROOT / "Dockerfile").read_bytes())).structure


@dataclass(frozen=True)
class Machine:
    """The services of the compose file on this machine: only hosts, ports and volumes are other ones."""

    places: Mapping[str, str]

    def command(self, service: str) -> list[str]:
        return self._here(SERVICES[service]["command"])

    def health_check(self, service: str) -> list[str]:
        kind, *command = SERVICES[service]["healthcheck"]["test"]
        assert kind == "CMD"
        return self._here(command)

    def environment(self, service: str) -> dict[str, str]:
        named = SERVICES[service]["environment"]
        return {
            "PATH": os.pathsep.join((str(BIN), os.environ["PATH"])),
            **dict(zip(named, self._here(named.values()), strict=True)),
        }

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.places[port]}"

    async def is_healthy(self, service: str) -> bool:
        checked = await asyncio.to_thread(
            subprocess.run,
            self.health_check(service),
            env=self.environment(service),
            capture_output=True,
            check=False,
            timeout=20,
        )
        return checked.returncode == 0

    def _here(self, texts: Any) -> list[str]:
        names = "|".join(re.escape(name) for name in sorted(self.places, key=len, reverse=True))
        return [re.sub(rf"(?<!\d)({names})(?!\d)", lambda found: self.places[found[0]], str(text)) for text in texts]


@pytest.fixture(scope="module")
async def machine(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Machine]:
    """Everything that `docker compose up` starts, running on this machine."""
    await make_database(postgres_url, SERVICES["postgres"]["environment"])
    payments_port = str(free_port())
    async with AsyncExitStack() as running:
        here = Machine(
            {
                "postgres:5432": urlsplit(postgres_url).netloc.rpartition("@")[2],
                "temporal:7233": await running.enter_async_context(
                    temporal_server(tmp_path_factory.mktemp("temporal"))
                ),
                "payments:8090": f"127.0.0.1:{payments_port}",
                "0.0.0.0": "127.0.0.1",
                "8000": str(free_port()),
                "8001": str(free_port()),
                "8090": payments_port,
                "/data": str(tmp_path_factory.mktemp("data")),
            }
        )
        await run_to_the_end(*here.command("migrate"), env=here.environment("migrate"))
        for service in OURS:
            await running.enter_async_context(
                process(*here.command(service), env=here.environment(service), cwd=ROOT, grace=60)
            )
        for service in OURS:
            await until(partial(here.is_healthy, service), HANGS_AFTER, f"a healthy {service}")
        yield here


async def make_database(server: str, environment: Mapping[str, str]) -> None:
    """What the image of PostgreSQL makes from its environment."""
    user, database = environment["POSTGRES_USER"], environment["POSTGRES_DB"]
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{environment['POSTGRES_PASSWORD']}'")
        await connection.execute(f"CREATE DATABASE {database} OWNER {user}")
    finally:
        await connection.close()


async def run_to_the_end(*args: str | Path, env: Mapping[str, str]) -> str:
    async with process(*args, env=env, cwd=ROOT) as started:
        await until(lambda: started.exit_code is not None, 100, f"the end of {args!r}")
        assert started.exit_code == 0, started.printed()
        return started.printed()


def test_the_file_is_valid_by_the_compose_specification() -> None:
    checked = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_every_image_is_pinned_to_a_whole_version(service: str) -> None:
    assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$", SERVICES[service]["image"])


def test_the_servers_are_the_versions_that_the_tests_run() -> None:
    embedded = subprocess.check_output([postgres.BINARIES / "postgres", "--version"], text=True)
    versions = subprocess.check_output([temporal.BINARY, "--version"], text=True)
    image = {name: service["image"].rpartition(":")[2] for name, service in SERVICES.items()}
    assert f"PostgreSQL) {image['postgres'].partition('-')[0]}" in embedded
    assert f"(Server {image['temporal']}, UI {image['temporal-ui']})" in versions
    assert image["temporal-schema"] == image["temporal-namespace"] == image["temporal"]


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_waits_for_can_come_true(service: str) -> None:
    for name, dependency in SERVICES[service].get("depends_on", {}).items():
        if dependency["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[name]
        else:
            assert dependency["condition"] == "service_completed_successfully"
            assert SERVICES[name]["restart"] == "on-failure", "one that is always started again never completes"


@pytest.mark.parametrize("service", SERVICES)
def test_every_mounted_file_is_there_and_every_volume_is_declared(service: str) -> None:
    for volume in SERVICES[service].get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_published_beyond_this_host(service: str) -> None:
    for port in SERVICES[service].get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_a_worker_has_time_to_finish_what_it_has_begun() -> None:
    grace = re.fullmatch(r"(\d+)s", SERVICES["worker"]["stop_grace_period"])
    assert grace
    assert int(grace[1]) >= DRAIN.total_seconds() + 10


def test_temporal_reads_the_settings_that_are_mounted() -> None:
    path = SERVICES["temporal"]["environment"]["DYNAMIC_CONFIG_FILE_PATH"]
    assert f"./deploy/temporal-dynamic-config.yaml:{path}:ro" in SERVICES["temporal"]["volumes"]


@pytest.mark.parametrize("setting", DYNAMIC_CONFIG)
def test_temporal_knows_the_setting(setting: str) -> None:
    # It would only warn of one that it does not know.
    with temporal.BINARY.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        assert binary.find(setting.encode()) != -1


@pytest.mark.parametrize("setting", ["matching.numTaskqueueReadPartitions", "matching.numTaskqueueWritePartitions"])
def test_every_queue_of_the_chain_has_one_partition(setting: str) -> None:
    namespace = SERVICES["temporal-namespace"]["environment"]["TEMPORAL_NAMESPACE"]
    assert all(entry["value"] == 1 for entry in DYNAMIC_CONFIG[setting])
    assert {tuple(entry["constraints"].items()) for entry in DYNAMIC_CONFIG[setting]} == {
        (("namespace", namespace), ("taskQueueName", queue)) for queue in sorted(queues())
    }


async def test_the_schema_job_makes_both_databases_of_temporal(tmp_path: Path) -> None:
    twin = tmp_path / "temporal-sql-tool"
    twin.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    twin.chmod(0o755)
    await run_to_the_end("sh", ROOT / "deploy" / "temporal-schema.sh", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    to = "--plugin postgres12 --ep postgres -p 5432 -u lanka --db"
    tables = "/etc/temporal/schema/postgresql/v12"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"{to} temporal create",
        f"{to} temporal setup-schema -v 0.0",
        f"{to} temporal update-schema -d {tables}/temporal/versioned",
        f"{to} temporal_visibility create",
        f"{to} temporal_visibility setup-schema -v 0.0",
        f"{to} temporal_visibility update-schema -d {tables}/visibility/versioned",
    ]


async def test_the_namespace_job_can_run_at_every_start(machine: Machine) -> None:
    env = machine.environment("temporal-namespace") | {"TEMPORAL_NAMESPACE": "not-there-yet"}
    for _start in range(2):
        await run_to_the_end("sh", ROOT / "deploy" / "temporal-namespace.sh", env=env)
    listed = await run_to_the_end("temporal", "operator", "search-attribute", "list", "--output", "json", env=env)
    assert {"OrderIds", "CustomerIds", "ParkedStages"} <= {
        name for name, kind in json.loads(listed)["customAttributes"].items() if kind.endswith("KEYWORD_LIST")
    }


async def test_the_migrations_can_run_at_every_start(machine: Machine) -> None:
    await run_to_the_end(*machine.command("migrate"), env=machine.environment("migrate"))


@pytest.mark.parametrize("service", OURS)
async def test_a_service_runs_as_written_and_its_health_check_sees_it(machine: Machine, service: str) -> None:
    assert await machine.is_healthy(service)


@pytest.mark.parametrize("service", OURS)
async def test_a_health_check_sees_that_nothing_runs(machine: Machine, service: str) -> None:
    elsewhere = Machine({**machine.places, **{port: str(free_port()) for port in ("8000", "8001", "8090")}})
    assert not await elsewhere.is_healthy(service)


async def test_the_services_together_confirm_an_order(machine: Machine) -> None:
    key = SERVICES["migrate"]["environment"]["LANKA_SHOP_KEY"]
    sku, _, price = PRODUCTS[0]
    async with (
        httpx.AsyncClient(base_url=machine.url("8090")) as provider,
        httpx.AsyncClient(base_url=machine.url("8000"), headers={"Authorization": f"Bearer {key}"}) as shop,
    ):
        paid = await provider.post("/payments", json={"amount": price, "currency": CURRENCY, "outcome": "authorized"})
        accepted = await shop.post(
            "/orders",
            headers={"Idempotency-Key": "compose"},
            json={
                "customer_id": "cus_compose",
                "payment_id": paid.raise_for_status().json()["id"],
                "currency": CURRENCY,
                "lines": [{"sku": sku, "quantity": 1, "unit_price": price}],
            },
        )
        order = accepted.raise_for_status().json()["order_id"]

        async def is_confirmed() -> bool:
            return bool((await shop.get(f"/orders/{order}")).json()["status"] == "confirmed")

        await until(is_confirmed, HANGS_AFTER, "a confirmed order")


def test_the_base_image_is_pinned_to_a_whole_version() -> None:
    assert all(re.search(r":\d+\.\d+\.\d+-", line["value"]) for line in instructions("FROM"))


def test_the_image_runs_as_a_user_without_rights_that_owns_the_data() -> None:
    user = instructions("USER")[-1]
    assert user["value"].isdigit()
    assert int(user["value"]) >= 1000
    assert user["startline"] > max(line["startline"] for line in instructions("RUN") + instructions("COPY"))
    made = " ".join(line["value"] for line in instructions("RUN"))
    assert f"useradd --uid {user['value']}" in made
    for service in OURS:
        for volume in SERVICES[service].get("volumes", []):
            assert f"--owner lanka --group lanka {volume.split(':')[1]}" in made


def test_signals_reach_the_process_itself() -> None:
    (command,) = instructions("CMD")
    assert json.loads(command["value"]) == SERVICES["api"]["command"]
    assert not instructions("ENTRYPOINT")
    assert [line["value"] for line in instructions("STOPSIGNAL")] == ["SIGTERM"]


def test_everything_that_is_copied_and_built_comes_along() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    modules = project["tool"]["setuptools"]
    needed = {"pyproject.toml", project["project"]["readme"]}
    needed |= {f"{name}.py" for name in modules["py-modules"]}
    needed |= {f"{name}/" for name in modules["packages"] if "." not in name}
    for line in instructions("COPY"):
        needed |= {source for source in line["value"].split()[:-1] if source != "."}
    everything, *named = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert everything == "*"
    assert {line[1:] for line in named if line.startswith("!")} == needed
    assert all((ROOT / name).exists() for name in needed)


def instructions(name: str) -> list[dict[str, Any]]:
    return [line for line in DOCKERFILE if line["instruction"] == name]
