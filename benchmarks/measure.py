"""What a stretch of work has cost: CPU and memory by part, PostgreSQL's transactions, statements and WAL, Temporal's
histories.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecution

from benchmarks.machine import Bench, Servers

SAMPLED = 25
"""Histories that are read event by event; of the others the server's own figures are enough."""


@dataclass(frozen=True)
class Reading:
    """Counters at one moment. `transactions` are those that wrote, `statements` are all round trips with SQL."""

    cpu: dict[str, float]
    memory: dict[str, int]
    transactions: int
    statements: int
    wal: int


class Meter:
    def __init__(self, servers: Servers, bench: Bench, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._servers = servers
        self._bench = bench
        self._connection = connection

    async def read(self) -> Reading:
        row = await self._connection.fetchrow(
            """
            SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS transactions,
                   pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS wal,
                   (
                       SELECT coalesce(sum(calls), 0) FROM pg_stat_statements JOIN pg_database ON oid = dbid
                       WHERE datname <> 'postgres' AND query NOT LIKE '%/* watching */%'
                   ) AS statements
            """
        )
        assert row
        costs = {name: self._bench.parts.cost(name) for name in self._bench.parts.names}
        costs |= {name: self._servers.parts.cost(name) for name in self._servers.parts.names}
        return Reading(
            cpu={name: cost.cpu for name, cost in costs.items()},
            memory={name: cost.memory for name, cost in costs.items()},
            transactions=row["transactions"],
            statements=int(row["statements"]),
            wal=int(row["wal"]),
        )

    async def forget_statements(self) -> None:
        await self._connection.execute("SELECT pg_stat_statements_reset()")

    async def statements(self) -> list[tuple[str, int, float]]:
        """Those that have taken most time since they were forgotten: the text, how often, milliseconds in all."""
        rows = await self._connection.fetch(
            r"""
            SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 200) AS text, calls, total_exec_time
            FROM pg_stat_statements JOIN pg_database ON oid = dbid
            WHERE datname <> 'postgres' AND query NOT LIKE '%/* watching */%' ORDER BY total_exec_time DESC LIMIT 8
            """
        )
        return [(row["text"], row["calls"], round(row["total_exec_time"], 1)) for row in rows]

    async def checkpoint(self) -> None:
        """So that nobody writes another's pages, and all begin with the same full-page images."""
        await self._connection.execute("CHECKPOINT")


@dataclass
class Histories:
    """Of all workflows of a stretch of work."""

    workflows: int = 0
    events: int = 0
    size: int = 0
    actions: float = 0.0
    kinds: dict[str, float] = field(default_factory=dict)


BILLED: Mapping[int, str] = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED: "activities",
    EventType.EVENT_TYPE_TIMER_STARTED: "timers",
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: "upserts",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: "updates",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: "signals",
}


async def histories(client: Client, began: datetime) -> Histories:
    """Of the workflows that were started since `began`. Billable actions are Temporal Cloud's: a start, a signal, a
    timer, an upsert, an update and every activity attempt are one each; a start with its signal is one.
    """
    found = Histories()
    executions: list[WorkflowExecution] = []
    async for execution in client.list_workflows(f"StartTime >= '{began.isoformat()}'"):
        executions.append(execution)
        found.workflows += 1
        found.events += execution.history_length
        found.size += execution.raw_info.history_size_bytes
    sample = executions[:: max(1, len(executions) // SAMPLED)]
    kinds: Counter[str] = Counter()
    for execution in sample:
        kinds += await _kinds(client, execution)
    share = len(executions) / len(sample) if sample else 0.0
    found.kinds = {kind: number * share for kind, number in kinds.items()}
    found.actions = sum(found.kinds.values())
    return found


async def _kinds(client: Client, execution: WorkflowExecution) -> Counter[str]:
    handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
    return billed([event async for event in handle.fetch_history_events()])


def billed(history: Sequence[HistoryEvent]) -> Counter[str]:
    """What of a history is a billable action, by kind."""
    kinds = Counter({"starts": 1})
    for event in history:
        if kind := BILLED.get(event.event_type):
            # Of an activity that was retried only the last attempt is noted, with its number.
            kinds[kind] += event.activity_task_started_event_attributes.attempt if kind == "activities" else 1
    if [event.event_type for event in history[1:2]] == [EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED]:
        kinds["signals"] -= 1  # it came with the start
    return kinds
