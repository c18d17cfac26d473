"""The systems that are measured: how each is started, and what it is asked to do."""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from shutil import which

from benchmarks.machine import Bench
from lanka.ports import free_port
from lanka.readiness import http_answers
from lanka.supervision import Part


@dataclass(frozen=True)
class Running:
    """Where customers go, and what does the work: `own` are the processes that a user would run, `worker` is the one
    that is killed.
    """

    urls: Sequence[str]
    own: Sequence[str]
    worker: str


@dataclass(frozen=True)
class System:
    """`answers_at_the_end`: the answer is the confirmation. A `slow` system gets a shorter burst. Not `killed` is
    what would show the same as its neighbour, half a minute later.
    """

    name: str
    what: str
    start: Callable[[Bench], Awaitable[Running]]
    temporal: str | None = None
    slow: bool = False
    killed: bool = True
    answers_at_the_end: bool = False
    needs: tuple[str, ...] = ()
    """Packages and programs, beyond what Lanka itself needs."""

    @property
    def over_http(self) -> bool:
        return self.name != "floor"

    @property
    def missing(self) -> list[str]:
        return [each for each in self.needs if which(each) is None and find_spec(each) is None]


# ---- how they are started ----------------------------------------------------------------------------------------


async def _served(bench: Bench, name: str, module: str, **env: str) -> str:
    """Starts a program that serves HTTP and returns its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    await bench.parts.start(bench.program(name, module, BENCH_PORT=str(port), **env), _answers(f"{url}/readyz"))
    return url


def _answers(url: str) -> Callable[[], Awaitable[bool]]:
    return lambda: http_answers(url)


async def _floor(bench: Bench) -> Running:
    await bench.parts.start(bench.program("worker", "benchmarks.floor"))
    return Running([], ["worker", "client"], "worker")


def _monolith(transactions: str, processes: int = 1) -> Callable[[Bench], Awaitable[Running]]:
    async def start(bench: Bench) -> Running:
        names = [f"api-{nth + 1}" if nth else "api" for nth in range(processes)]
        urls = [await _served(bench, name, "benchmarks.monolith", BENCH_TRANSACTIONS=transactions) for name in names]
        return Running(urls, names, "api")

    return start


async def _samples(bench: Bench) -> Running:
    await bench.parts.start(bench.program("worker", "benchmarks.samples", "worker"))
    url = await _served(bench, "api", "benchmarks.samples")
    return Running([url], ["api", "worker"], "worker")


async def _dbos(bench: Bench) -> Running:
    return Running([await _served(bench, "api", "benchmarks.dbos")], ["api"], "api")


async def _celery(bench: Bench) -> Running:
    port = free_port()
    redis = {"BENCH_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    await bench.parts.start(_redis(bench, port))
    await bench.parts.start(bench.program("worker", "benchmarks.celery", "worker", **redis))
    url = await _served(bench, "api", "benchmarks.celery", **redis)
    return Running([url], ["api", "worker"], "worker")


def _redis(bench: Bench, port: int) -> Part:
    """Its file is written at once and synced every second, as Redis advises."""
    words = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(bench.machine.home.directory)]
    return Part("redis", [*words, "--appendonly", "yes"], env=dict(os.environ), cwd=bench.machine.home.directory)


def lanka(*, processes: int = 1, **env: str) -> Callable[[Bench], Awaitable[Running]]:
    """With the command lines and the environment of `lanka up`."""

    async def start(bench: Bench) -> Running:
        machine, parts = bench.machine, bench.parts
        apis, workers = [], []
        for nth in range(processes):
            own = machine.api()
            port = free_port()
            api = Part(
                f"api-{nth + 1}" if nth else "api",
                own.command,
                env={**own.env, "LANKA_API_PORT": str(port), **env},
                cwd=own.cwd,
                grace=own.grace,
            )
            url = f"http://127.0.0.1:{port}"
            await parts.start(api, _answers(f"{url}/readyz"))
            apis.append((api.name, url))
            worker = machine.worker(nth)
            await parts.start(replace(worker, env={**worker.env, **env}), worker.ready)
            workers.append(worker.name)
        return Running([url for _, url in apis], [*(name for name, _ in apis), *workers], workers[0])

    return start


# ---- the table ---------------------------------------------------------------------------------------------------

# In the order in which they are measured, those that are compared side by side: the machine changes with the minutes.
SYSTEMS: Sequence[System] = (
    System(
        "samples-stock",
        "as Temporal's samples are written, on the stock server",
        _samples,
        "stock",
        slow=True,
        killed=False,
    ),
    System("samples", "the same on the tuned server", _samples, "tuned", slow=True),
    System("dbos", "DBOS Transact", _dbos, slow=True, needs=("dbos",)),
    System("celery", "Celery with Redis", _celery, slow=True, needs=("celery", "redis-server")),
    System("lanka-single", "`LANKA_BATCH_SIZE=1`", lanka(LANKA_BATCH_SIZE="1"), "tuned", slow=True),
    System(
        "floor", "a bare Temporal workflow, four activities that do nothing", _floor, "tuned", slow=True, killed=False
    ),
    System("lanka", "batches, as `lanka up` starts it", lanka(), "tuned"),
    System("monolith", "one handler, a transaction for each step", _monolith("each"), answers_at_the_end=True),
    System("monolith-one", "one handler, one transaction", _monolith("one"), answers_at_the_end=True),
    System("lanka-more", "two API and two worker processes", lanka(processes=2), "tuned"),
)
