"""What `GET /metrics` says: what this process has counted, where everything stands, and what Temporal's SDK measures.

Where everything stands is read from PostgreSQL, so every process says the same. It is read when somebody asks, and then
not again for a while, however many ask.
"""

import asyncio
import socket
import time
from collections import Counter as Tally
from collections.abc import Iterable, Iterator

import httpx
import structlog
from prometheus_client import REGISTRY, CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from chain.event import type_of
from chain.failures import Outage
from chain.table import LATE_REFUND, REFUND
from store.database import Pool
from store.operations import Operations, OwedRefund, ParkedOrder
from store.standing import NOT_DISPATCHED, Reconciled, Standing, Step, Waiting
from workflows.chains import CHAINS

log = structlog.get_logger()

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each that there is, and nobody looks at them

FRESH = 2.0
"""Seconds for which what was read is good enough."""

SHARE = 20
"""Reading takes at most one part in so many of the time: with a long backlog it is read less often."""

MOST_PARKED = 2_000
"""Parked orders that are counted by reason; the rest are not told apart from these."""


def steps() -> list[Step]:
    """From the routing tables: what follows each event, by links side by side and then those after them."""
    told: list[Step] = []
    for name, chain in CHAINS.items():
        routes = chain.workflow.table.routes
        for kind, route in routes.items():
            joined = routes[type_of(route.join.into)].links if route.join else ()
            for rank, links in enumerate((route.links, (*route.then, *joined))):
                told.extend(Step(name, kind, rank, link.name, link.queue) for link in links)
    return told


class Exposition:
    """`sdk`: where Temporal's SDK tells of itself, if it does."""

    def __init__(self, pool: Pool, sdk: str | None = None) -> None:
        self._standing = Standing(pool, steps())
        self._operations = Operations(pool, refund=REFUND.name, late_refund=LATE_REFUND.name)
        self._sdk = sdk
        self._reading = asyncio.Lock()
        self._read: bytes = b""
        self._good_until = 0.0

    async def text(self) -> bytes:
        return generate_latest(REGISTRY) + await self._gauges() + await self._of_the_sdk()

    async def _gauges(self) -> bytes:
        async with self._reading:
            if time.monotonic() >= self._good_until:
                began = time.monotonic()
                self._read = _written(await self._gather())
                took = time.monotonic() - began
                self._good_until = time.monotonic() + max(FRESH, took * SHARE)
            return self._read

    async def _gather(self) -> list[Metric]:
        try:
            waiting = await self._standing.waiting()
            parked = await self._operations.parked(limit=MOST_PARKED)
            owed = await self._operations.refunds()
            dispatched = await self._standing.dispatched()
            reconciled = await self._standing.reconciled()
        except Outage as outage:
            # Nothing rather than what was true a while ago.
            log.warning("nobody knows where everything stands", error=str(outage))
            return [_gauge("lanka_postgresql_up", UP, 0)]
        return [
            _gauge("lanka_postgresql_up", UP, 1),
            _gauge("lanka_dispatcher_leads", "Whether some process dispatches: 1 or 0.", int(dispatched)),
            *_waiting(waiting),
            *_parked(waiting, parked),
            *_owed(owed),
            *_reconciled(reconciled),
        ]

    async def _of_the_sdk(self) -> bytes:
        if self._sdk is None:
            return b""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
                return (await client.get(self._sdk)).content
        except httpx.HTTPError as error:
            log.warning("Temporal's SDK does not tell its metrics", error=repr(error))
            return b""


UP = "Whether PostgreSQL answered when it was last asked where everything stands."


def _waiting(told: Iterable[Waiting]) -> Iterator[Metric]:
    labels = ["chain", "stage", "status"]
    number = GaugeMetricFamily(
        "lanka_waiting", "What stands at a stage and has not been processed there, by status.", labels=labels
    )
    oldest = GaugeMetricFamily("lanka_oldest_seconds", "For how long the oldest of them has been there.", labels=labels)
    lag = 0.0
    for each in told:
        number.add_metric([each.chain, each.stage, each.status], each.number)
        oldest.add_metric([each.chain, each.stage, each.status], each.seconds)
        if each.stage == NOT_DISPATCHED:
            lag = max(lag, each.seconds)
    yield number
    yield oldest
    yield _gauge("lanka_dispatch_lag_seconds", "For how long the oldest accepted order waits to be dispatched.", lag)


def _parked(waiting: Iterable[Waiting], orders: Iterable[ParkedOrder]) -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "lanka_parked",
        "What waits for a person, by the reason that it failed for.",
        labels=["chain", "stage", "reason"],
    )
    for (stage, reason), number in Tally((each.stage, each.reason) for each in orders).items():
        family.add_metric(["orders", stage, reason], number)
    for each in waiting:
        if each.status == "parked" and each.chain != "orders":
            family.add_metric([each.chain, each.stage, ""], each.number)
    yield family


def _owed(refunds: list[OwedRefund]) -> Iterator[Metric]:
    number = GaugeMetricFamily("lanka_refunds_owed", "Refunds that have not succeeded yet.", labels=["currency"])
    amount = GaugeMetricFamily("lanka_refunds_owed_minor_units", "The money in them.", labels=["currency"])
    amounts: Tally[str] = Tally()
    for each in refunds:
        amounts[each.currency] += each.amount
    for currency, count in Tally(each.currency for each in refunds).items():
        number.add_metric([currency], count)
        amount.add_metric([currency], amounts[currency])
    oldest = max((time.time() - each.since.timestamp() for each in refunds), default=0.0)
    yield number
    yield amount
    yield _gauge("lanka_refund_owed_oldest_seconds", "For how long the oldest of them is owed.", max(oldest, 0))


def _reconciled(last: Reconciled | None) -> Iterator[Metric]:
    found, at = (last.discrepancies, last.at.timestamp()) if last else (None, None)
    yield _gauge("lanka_reconciliation_discrepancies", "What the last reconciliation has found.", found)
    yield _gauge("lanka_reconciliation_timestamp_seconds", "When the last reconciliation ended.", at)


def _gauge(name: str, documentation: str, value: float | None) -> Metric:
    """Without a value it is named and has none."""
    return GaugeMetricFamily(name, documentation, value=value)


def _written(metrics: list[Metric]) -> bytes:
    class Told(Collector):
        def collect(self) -> Iterable[Metric]:
            return metrics

    registry = CollectorRegistry()
    registry.register(Told())
    return generate_latest(registry)


def metrics_of_the_sdk() -> str:
    """Has Temporal's SDK measure itself, for all clients made later; the URL where it tells."""
    while True:
        with socket.socket() as probe:  # the SDK does not say which port it took, so it is told one
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        metrics = PrometheusConfig(address, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True)
        try:
            Runtime.set_default(Runtime(telemetry=TelemetryConfig(metrics=metrics)))
        except ValueError as error:  # somebody else has taken it in between
            log.warning("Temporal's SDK gets another port for its metrics", error=str(error))
        else:
            return f"http://{address}/metrics"
