"""The servers of a run: one PostgreSQL; for each session a fresh database, a fresh Temporal and a fresh provider."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from benchmarks.parts import Parts
from benchmarks.shop import Shop, furnish
from lanka import postgres, temporal
from lanka.home import Chosen, Home
from lanka.parts import Given, Machine, Ports
from lanka.ports import HOST, free_port
from lanka.supervision import Part

WATCHED = {"track_commit_timestamp": "on", "shared_preload_libraries": "pg_stat_statements"}
"""On top of the embedded server's own settings: when each order was committed, and how many statements it took."""

TEMPLATE = "furnished"

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Bench:
    """What one session of one system stands on. `temporal` is None where the system needs none."""

    machine: Machine
    parts: Parts
    shop: Shop
    postgres_url: str
    temporal: str | None

    @property
    def database_url(self) -> str:
        return self.machine.connection.database_url

    def program(self, name: str, module: str, *args: str, **env: str) -> Part:
        """A Python program of the benchmark, told what Lanka's own programs are told."""
        api = self.machine.api()
        command = [sys.executable, "-P", "-m", module, *args]
        return Part(name, command, env={**api.env, "PYTHONPATH": str(ROOT), **env}, cwd=api.cwd, grace=5)


class Servers:
    """The PostgreSQL of the run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sessions = 0
        self._prices: dict[str, int] = {}
        self._chosen = Chosen()
        self.url = postgres.url(self._chosen.postgres_port, self._chosen.postgres_password)
        self.parts = Parts(directory)

    async def start(self) -> None:
        machine = Machine(Home(self._directory), self._chosen, Given(database_url=self.url), Ports(0, 0, 0, 0))
        data, port = machine.home.postgres_data, self._chosen.postgres_port
        postgres.prepare(data, self._chosen.postgres_password)
        part = replace(machine.postgres(), command=postgres.command(data, port, **WATCHED))
        await self.parts.start(part, part.ready)
        await self._run("CREATE EXTENSION pg_stat_statements", f"CREATE DATABASE {TEMPLATE}")
        self._prices = await furnish(_database(self.url, TEMPLATE))

    async def stop(self) -> None:
        await self.parts.stop()

    @asynccontextmanager
    async def bench(self, temporal: str | None) -> AsyncIterator[Bench]:
        """`temporal`: "tuned" as the product starts it, "stock" as its own command line does, or None."""
        self._sessions += 1
        name = f"session_{self._sessions}"
        directory = self._directory / name
        directory.mkdir()
        await self._run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY", "CHECKPOINT")
        ports = Ports(api=free_port(), temporal=free_port(), temporal_ui=free_port(), payments=free_port())
        machine = Machine(Home(directory), self._chosen, Given(database_url=_database(self.url, name)), ports)
        parts = Parts(directory)
        shop = Shop(self._prices, machine.home.payments_database)
        try:
            payments = machine.payments()
            await parts.start(payments, payments.ready)
            if temporal:
                part = machine.temporal() if temporal == "tuned" else _stock(machine)
                await parts.start(part, part.ready)
            yield Bench(machine, parts, shop, self.url, machine.connection.temporal if temporal else None)
        except Exception as error:
            error.add_note(parts.printed())
            raise
        finally:
            await parts.stop()
            await self._run(f"DROP DATABASE {name} WITH (FORCE)")

    async def _run(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


def _database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _stock(machine: Machine) -> Part:
    """Temporal's dev server without any of our settings, but with a file as well."""
    words = [str(temporal.BINARY), "server", "start-dev", "--log-level", "warn", "--ip", HOST]
    words += ["--port", str(machine.ports.temporal), "--ui-port", str(machine.ports.temporal_ui)]
    words += ["--db-filename", str(machine.home.temporal_database)]
    return replace(machine.temporal(), command=words, env=dict(os.environ))
