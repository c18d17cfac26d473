"""The worker: the router and the consumers, one Temporal worker for each task queue, until SIGTERM; then it drains.

`python worker.py` serves all queues, `python worker.py --queue payment --queue cart` those named.
It is a small web server (`/livez`, `/readyz`, `/metrics`) whose lifespan holds the workers, and signals are its affair.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from typing import Annotated, Any

import structlog
import typer
import uvicorn
from fastapi import FastAPI, Response
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

from activities.failures import Failures, Told
from activities.note_events import NoteEvents
from activities.parts import Parts
from activities.reconcile import Reconcile
from chain.table import Link
from dispatch import checks
from dispatch.checks import Check, State
from edge.bounds import Bounds
from edge.protocol import Edge
from gateways.choice import PaymentGateway, PaymentSettings, payment_provider
from lanka.ports import free_port
from lanka.settings import WorkerSettings, load_settings
from store.catalogue import Catalogue
from store.database import Pool, open_pool
from store.health import Health
from store.link_failures import LinkFailures
from store.orders import Orders
from store.outbox import Outbox
from store.payments import Payments
from store.reconciliation import GRACE, Reconciliations
from store.stock import Stock
from telemetry.activity_log import ActivityLog
from telemetry.exposition import CONTENT_TYPE, Exposition, metrics_of_the_sdk
from telemetry.logs import set_up_logs
from telemetry.metrics import CountedJournal
from telemetry.switch import Tracing, tracing_of
from workflows.chains import CHAINS, TYPES, module_of, schemas
from workflows.chains import queues as known_queues
from workflows.connect import connect
from workflows.order_confirmation import TABLE
from workflows.reconciliation import Reconciliation, schedule_reconciliation
from workflows.search_attributes import register_search_attributes

RECONCILIATION_ON, RECONCILE_ON = "order-confirmation", "finalize"
"""Task queues of the one workflow, with its one activity, that is no chain's. See workflows/reconciliation.py."""

REGISTER_AGAIN = 600.0
"""Seconds until the worker looks again whether Temporal has its search attributes and its schedule."""

LOOK_AGAIN = 1.0
"""Seconds between two looks for what the worker waits for before it begins."""

POLLING = "task queues"

DRAIN = timedelta(seconds=35)
"""How long a stopping worker lets its consumers finish: above the longest start_to_close of a link."""

log = structlog.get_logger()


def parts_of(pool: Pool, provider: PaymentGateway, settings: WorkerSettings, tracing: Tracing) -> Parts:
    return Parts(
        journal=CountedJournal(pool, TYPES, tracing.about),
        pool=pool,
        settings=settings,
        orders=Orders(pool, TABLE),
        stock=Stock(),
        payments=Payments(pool),
        catalogue=Catalogue(pool),
        outbox=Outbox(),
        provider=provider,
        payment_deadline=timedelta(seconds=settings.payment_deadline_seconds),
        price_tolerance=settings.price_tolerance_basis_points,
    )


@dataclass
class Queue:
    """`consumers`: by the function that the table names, so that one which several chains share is there once."""

    workflows: list[type[Any]] = field(default_factory=list)
    consumers: dict[Callable[..., Any], Callable[..., Any]] = field(default_factory=dict)
    per_second: float | None = None


def queues(parts: Parts) -> Mapping[str, Queue]:
    """Every task queue with what works on it, each consumer with its collaborators."""
    found = {name: Queue() for name in sorted(known_queues())}
    reconcile = Reconcile(Reconciliations(parts.pool, TABLE.types), parts.provider, GRACE)
    found[RECONCILE_ON].consumers[Reconcile.reconcile] = reconcile.reconcile
    found[RECONCILIATION_ON].workflows.append(Reconciliation)
    for name, chain in CHAINS.items():
        found[chain.queue].workflows.append(chain.workflow)
        working = [*import_module(module_of(name)).consumers(parts), NoteEvents(parts.journal)]
        for link in chain.table.links:
            queue = found[link.queue]
            queue.consumers.setdefault(link.consumer, _bound(link, working))
            if link.calls_out:
                queue.per_second = parts.settings.provider_batches_per_second
    return found


def _bound(link: Link, working: Sequence[object]) -> Callable[..., Any]:
    """The consumer of the link, as a method of the object that has it."""
    name = link.consumer.__name__
    for each in working:
        if getattr(type(each), name, None) is link.consumer:
            consumer: Callable[..., Any] = getattr(each, name)
            return consumer
    raise LookupError(f"nobody brings {link.consumer.__qualname__}, which the link {link.name} needs")


@dataclass
class Crew:
    """The Temporal workers of this process. `names`: the queues that they serve; all, where there are none."""

    settings: WorkerSettings
    names: Sequence[str]
    tracing: Tracing
    failed: bool = False
    exposition: Exposition | None = None
    health: Health | None = None
    client: Client | None = None
    workers: list[Worker] = field(default_factory=list)

    async def work(self) -> None:
        """Waits for Temporal, then works until cancelled; then takes nothing new and lets what runs finish."""
        async with (
            self.tracing.running(),  # before what it traces is made
            open_pool(self.settings.database_url, size=self.settings.connections) as pool,
        ):
            provider = payment_provider(self.settings.of(PaymentSettings))
            self.health = Health(pool)
            self.exposition = Exposition(pool, metrics_of_the_sdk(free_port))
            try:
                self.client = await connect(self.tracing.interceptors)
                await self._namespace(self.client)
                served = queues(parts_of(pool, provider, self.settings, self.tracing))
                told = LinkFailures(pool, {chain.workflow.__name__: name for name, chain in CHAINS.items()})
                self.workers = [_worker(self.client, name, served[name], told) for name in self.names or served]
                log.info("worker works", queues=[worker.task_queue for worker in self.workers])
                await asyncio.gather(
                    *(worker.run() for worker in self.workers),
                    told.run(),
                    self._register(register_search_attributes, self.client),
                    self._register(schedule_reconciliation, self.client),
                )
            finally:
                log.info("worker drains")
                await asyncio.gather(*(worker.shutdown() for worker in self.workers))
                await provider.close()
                log.info("worker is done")

    async def _namespace(self, client: Client) -> None:
        """Waits for it: the workers of the SDK would die without."""
        told = None
        while missing := checks.first_failed((await checks.temporal(client)).checks):
            if missing.sentence != told:
                log.warning("worker waits", reason=missing.sentence)
                told = missing.sentence
            await asyncio.sleep(LOOK_AGAIN)

    async def _register(self, what: Callable[[Client], Awaitable[None]], client: Client) -> None:
        """Beside the work, which does not wait for it; and again, as Temporal may have lost all that it knew."""
        while not self.names or RECONCILIATION_ON in self.names:
            await what(client)
            await asyncio.sleep(REGISTER_AGAIN)

    def note_failure(self, working: asyncio.Task[None]) -> None:
        """Ends the process, with an exit code that says so, if the work has ended by itself."""
        if not working.cancelled() and (error := working.exception()):
            log.error("worker failed", exc_info=error)
            self.failed = True
            signal.raise_signal(signal.SIGTERM)

    async def checks(self) -> list[Check]:
        """What the work needs, and whether it is done."""
        if self.health is None:
            return [checks.failed(POLLING, "the worker is about to start", "Wait a moment.")]
        needed, (temporal, *_) = await asyncio.gather(
            checks.postgresql(self.health, schemas().keys(), self.settings.clock_skew_seconds),
            checks.temporal(self.client),
        )
        return [*needed, *temporal, self._polling()]

    def _polling(self) -> Check:
        if self.workers and all(worker.is_running for worker in self.workers):
            return checks.ok(POLLING, ", ".join(worker.task_queue for worker in self.workers))
        return checks.failed(POLLING, "no task queue is polled", "Mend what else is said; its log tells more.")


def _worker(client: Client, name: str, queue: Queue, told: Told | None = None) -> Worker:
    return Worker(
        client,
        task_queue=name,
        workflows=queue.workflows,
        # Tests and replays run in the sandbox; see docs/decisions/0012.
        workflow_runner=UnsandboxedWorkflowRunner(),
        activities=[*queue.consumers.values()],
        interceptors=[ActivityLog(), Failures(told)],
        max_concurrent_activities=10,
        max_task_queue_activities_per_second=queue.per_second,
        graceful_shutdown_timeout=DRAIN,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=3),
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
    )


def create_app(crew: Crew) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        working = asyncio.create_task(crew.work())
        working.add_done_callback(crew.note_failure)
        yield
        working.cancel()
        await asyncio.wait([working])

    app = FastAPI(title="Lanka worker", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz(response: Response) -> dict[str, Any]:
        found = await crew.checks()
        not_ready = [check.sentence for check in found if check.state is State.FAILED]
        response.status_code = 503 if not_ready else 200
        status = f"not ready: {' '.join(not_ready)}" if not_ready else "ready"
        return {"status": status, "checks": [check.model_dump() for check in found]}

    @app.get("/metrics")
    async def metrics() -> Response:
        if crew.exposition is None:
            return Response(status_code=503)
        return Response(await crew.exposition.text(), media_type=CONTENT_TYPE)

    return app


def main(
    queue: Annotated[list[str] | None, typer.Option(help="A task queue to serve; all if none is named.")] = None,
) -> None:
    """Runs the router and the consumers until SIGTERM."""
    settings = load_settings(WorkerSettings)
    tracing = tracing_of("lanka-worker", settings.database_url)
    set_up_logs(*tracing.processors)
    if unknown := set(queue or []) - known_queues():
        known = ", ".join(sorted(known_queues()))
        raise typer.BadParameter(f"no such queue: {', '.join(sorted(unknown))}; there are {known}")
    for received in (signal.SIGINT, signal.SIGTERM):
        signal.signal(received, signal.SIG_IGN)  # uvicorn handles them while it runs, and would raise them again after
    crew = Crew(settings, queue or [], tracing)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(crew),
            host=settings.worker_host,
            port=settings.worker_port,
            http=Edge(Bounds()).protocol,
            ws="none",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=5,
        )
    )
    server.run()
    # The SDK's threads may abort the interpreter's own exit (sdk-python issue 300).
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if crew.failed or not server.started else 0)


if __name__ == "__main__":
    typer.run(main)
