"""What `GET /metrics` says: what this process has counted, where everything stands, and what Temporal's SDK measures.

Where everything stands is read from PostgreSQL, so every process says the same. It is read when somebody asks, and then
not again for a while, however many ask.
"""

import asyncio
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import structlog
from prometheus_client import REGISTRY, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from chain.event import Kind
from chain.failures import Outage
from chain.steps import State, states_at
from chain.subject import NOT_DISPATCHED, PARKED, PROCESSING, RECEIVED
from chain.table import Table
from store.database import Pool
from store.operations import Compensation, Operations, OwedRefund, Reconciled
from store.overview import Group, Overview
from workflows.chains import CHAINS

log = structlog.get_logger()

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each that there is, and nobody looks at them

FRESH = 2.0
"""Seconds for which what was read is good enough."""

SHARE = 20
"""Reading takes at most one part in so many of the time: with a long backlog it is read less often."""


@dataclass
class _Read(Collector):
    metrics: list[Metric]

    def collect(self) -> list[Metric]:
        return self.metrics


class Exposition:
    """`sdk`: where Temporal's SDK tells of itself, if it does."""

    def __init__(self, pool: Pool, sdk: str | None = None) -> None:
        self._overview = Overview(pool, moves_within=timedelta(), compensation=compensation())
        self._operations = Operations(pool, compensation())
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
                self._read = generate_latest(_Read(await self._gather()))
                took = time.monotonic() - began
                self._good_until = time.monotonic() + max(FRESH, took * SHARE)
            return self._read

    async def _gather(self) -> list[Metric]:
        try:
            groups = await self._overview.groups(since=True)
            owed = await self._operations.refunds()
            leads = await self._operations.dispatcher_leads()
            reconciled = await self._operations.reconciled()
            now = await self._operations.now()
        except Outage as outage:
            # Nothing rather than what was true a while ago.
            log.warning("nobody knows where everything stands", error=str(outage))
            return [_gauge("lanka_postgresql_up", UP, 0)]
        return [
            _gauge("lanka_postgresql_up", UP, 1),
            _gauge("lanka_dispatcher_leads", "Whether some process dispatches: 1 or 0.", int(leads)),
            *_waiting(groups, now),
            _parked(groups),
            *_owed(owed, now),
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


def compensation() -> Compensation:
    """Which links give money back: money is taken for orders only."""
    table = CHAINS["orders"].table
    back = table.answering(Kind.REFUSAL, Kind.WITHDRAWAL, refunds=True)
    return Compensation("orders", back, table.answering(Kind.LATE, refunds=True))


def _waiting(groups: Sequence[Group], now: datetime) -> Iterator[Metric]:
    labels = ("chain", "stage", "status")
    standing: Tally[tuple[str, str, str]] = Tally()
    since: dict[tuple[str, str, str], datetime] = {}
    for group in groups:
        for place in _places(group):
            standing[place] += group.subjects
            then = group.since or group.oldest
            since[place] = min(since.get(place, then), then)
    ages = {place: max((now - then).total_seconds(), 0) for place, then in since.items()}
    lag = max((age for (_, stage, _), age in ages.items() if stage == NOT_DISPATCHED), default=0)
    yield _gauges(
        "lanka_waiting", "What stands at a stage and has not been processed there, by status.", labels, standing
    )
    yield _gauges("lanka_oldest_seconds", "For how long the oldest of them has been there.", labels, ages)
    yield _gauge("lanka_dispatch_lag_seconds", "For how long the oldest accepted order waits to be dispatched.", lag)


def _places(group: Group) -> set[tuple[str, str, str]]:
    """Chain, stage and status: everywhere that open subjects of the group stand. A stage is a task queue."""
    if group.ended or group.chain not in CHAINS:
        return set()
    table = CHAINS[group.chain].table
    return {
        (group.chain, NOT_DISPATCHED, RECEIVED)
        if link == RECEIVED
        else (group.chain, table.by_name[link].queue, PARKED if state is State.PARKED else _status(table, link))
        for link, state in states_at(table, group).items()
    }


def _status(table: Table, link: str) -> str:
    """Of those that wait there for somebody outside, what their event says."""
    brought_by = (table.types[event] for event in table.inputs[link])
    return next((event.status for event in brought_by if event.kind is Kind.PENDING and event.status), PROCESSING)


def _parked(groups: Sequence[Group]) -> Metric:
    parked: Tally[tuple[str, str, str]] = Tally()
    for group in groups:
        if group.chain in CHAINS:
            links = CHAINS[group.chain].table.by_name
            for link, reason in group.parked:
                if link in links:
                    parked[group.chain, links[link].queue, reason] += group.subjects
    labels = ("chain", "stage", "reason")
    return _gauges("lanka_parked", "What waits for a person, by the reason that it failed for.", labels, parked)


def _owed(refunds: list[OwedRefund], now: datetime) -> Iterator[Metric]:
    number: Tally[tuple[str]] = Tally((each.currency,) for each in refunds)
    amount: Tally[tuple[str]] = Tally()
    for each in refunds:
        amount[each.currency,] += each.amount
    oldest = max(((now - each.since).total_seconds() for each in refunds), default=0.0)
    yield _gauges("lanka_refunds_owed", "Refunds that have not succeeded yet.", ("currency",), number)
    yield _gauges("lanka_refunds_owed_minor_units", "The money in them.", ("currency",), amount)
    yield _gauge("lanka_refund_owed_oldest_seconds", "For how long the oldest of them is owed.", max(oldest, 0))


def _reconciled(last: Reconciled | None) -> Iterator[Metric]:
    found, at = (last.discrepancies, last.at.timestamp()) if last else (None, None)
    yield _gauge("lanka_reconciliation_discrepancies", "What the last reconciliation has found.", found)
    yield _gauge("lanka_reconciliation_timestamp_seconds", "When the last reconciliation ended.", at)


def _gauge(name: str, documentation: str, value: float | None) -> Metric:
    """Without a value it is named and has none."""
    return GaugeMetricFamily(name, documentation, value=value)


def _gauges(name: str, documentation: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def metrics_of_the_sdk(free_port: Callable[[], int]) -> str:
    """Has Temporal's SDK measure itself, for all clients made later; the URL where it tells."""
    while True:
        address = f"127.0.0.1:{free_port()}"  # the SDK does not say which port it took, so it is told one
        metrics = PrometheusConfig(address, counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True)
        try:
            Runtime.set_default(Runtime(telemetry=TelemetryConfig(metrics=metrics)))
        except ValueError as error:  # somebody else has taken it in between
            log.warning("Temporal's SDK gets another port for its metrics", error=str(error))
        else:
            return f"http://{address}/metrics"
