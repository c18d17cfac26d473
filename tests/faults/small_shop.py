"""Small shops: each has its own database, Temporal namespace, provider, API and worker, on servers that they share.

So several can be broken side by side. Their processes are killed at the end as well: nothing here waits for a drain.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lanka import temporal
from lanka.home import Chosen, Connection, Home
from lanka.parts import Given, Machine, Ports
from lanka.readiness import http_answers, temporal_answers, until
from lanka.supervision import Part
from store.database import connected, open_pool
from store.dispatch import lead
from store.seed import seed
from tests.conftest import fresh_database
from tests.e2e.customer import Customer
from tests.servers import HANGS_AFTER, free_port, home_of_a_server, process

NAMESPACES = 6
"""So many shops can be open at once."""


class Servers:
    """What the shops share."""

    def __init__(self, postgres_url: str, template: str, temporal_address: str) -> None:
        self.postgres_url = postgres_url
        self.template = template
        self.temporal_address = temporal_address
        self.namespaces: asyncio.Queue[str] = asyncio.Queue()
        for name in _namespaces():
            self.namespaces.put_nowait(name)


@asynccontextmanager
async def servers_for_shops(postgres_url: str, template: str) -> AsyncIterator[Servers]:
    port = free_port()
    command = temporal.command(port=port, ui_port=None, database=None)
    command += [word for name in _namespaces() for word in ("--namespace", name)]
    with home_of_a_server() as directory:
        async with process(*command, env=temporal.ENVIRONMENT, cwd=directory):
            address = f"127.0.0.1:{port}"
            await until(lambda: temporal_answers(address), HANGS_AFTER, "Temporal")
            yield Servers(postgres_url, template, address)


@dataclass(frozen=True)
class Shop:
    """`deaths`: the exit codes of the parts that have died so far; `failed` is there once one has at its fail point."""

    machine: Machine
    connection: Connection
    namespace: str
    env: Mapping[str, str]
    deaths: list[int]

    @property
    def failed(self) -> Path:
        return self.machine.home.directory / "failed"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Customer]:
        """Provider, API and worker run, and are started again when they die."""
        async with (
            self._kept_running(self.machine.payments()),
            self._kept_running(self.machine.api()),
            self._kept_running(self.machine.worker(0)),
        ):
            for url in (self.connection.payments, self.connection.api):
                await until(partial(http_answers, f"{url}/livez"), HANGS_AFTER, url)
            customer = Customer(self.connection)
            yield customer
            await customer.close()

    @asynccontextmanager
    async def nobody_dispatches(self) -> AsyncIterator[None]:
        """Orders gather, so that they travel as one batch. To be entered before the shop is opened."""
        async with open_pool(self.connection.database_url, size=1) as pool, connected(pool) as connection:
            assert await lead(connection)
            yield

    @asynccontextmanager
    async def _kept_running(self, part: Part) -> AsyncIterator[None]:
        over = asyncio.Event()

        async def keep() -> None:
            while not over.is_set():
                env = {**part.env, **self.env, "LANKA_FAIL_ONCE": str(self.failed)}
                async with process(*part.command, env=env, cwd=part.cwd, stop_signal=signal.SIGKILL) as started:
                    await until(lambda: over.is_set() or started.exit_code is not None, 600, f"the end of {part.name}")
                    if started.exit_code is not None:
                        self.deaths.append(started.exit_code)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep())
            yield
            over.set()


@asynccontextmanager
async def a_shop(servers: Servers, **env: str) -> AsyncIterator[Shop]:
    """Not opened yet. `env` is for all its parts."""
    async with AsyncExitStack() as stack:
        namespace = await servers.namespaces.get()
        stack.callback(servers.namespaces.put_nowait, namespace)
        directory = Path(stack.enter_context(home_of_a_server()))
        database_url = await stack.enter_async_context(fresh_database(servers.postgres_url, servers.template))
        machine = Machine(
            Home(directory),
            Chosen(),
            Given(database_url=database_url, temporal_address=servers.temporal_address),
            Ports(api=free_port(), temporal=0, temporal_ui=0, payments=free_port()),
        )
        await seed(database_url, skus=1, keys=machine.chosen.keys)
        alone = {"TEMPORAL_NAMESPACE": namespace, "TEMPORAL_CONFIG_FILE": os.devnull, "LANKA_CONNECTIONS": "5"}
        yield Shop(machine, machine.connection, namespace, alone | env, deaths=[])


def _namespaces() -> list[str]:
    return [f"shop-{nth}" for nth in range(NAMESPACES)]
