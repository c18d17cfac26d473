"""What Lanka needs of PostgreSQL and Temporal, looked at one by one, each with how to mend it.

`lanka doctor` and the `/readyz` of API and worker ask these, so that they tell the same truth. Nothing here raises.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

import asyncpg
from pydantic import BaseModel
from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest,
    PollActivityTaskQueueRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from chain.commands import printable
from chain.failures import Outage
from store.health import HEAD, Health, Server
from workflows.connect import connect_once
from workflows.search_attributes import NAMES

OLDEST = 150_000
"""PostgreSQL 15, as `server_version_num` says it."""

ANSWERS_WITHIN = 1.0
"""Seconds that Temporal gets to say that it is well."""

ANSWERS = timedelta(seconds=ANSWERS_WITHIN)
DATABASE_WITHIN = 3.0
"""Seconds for all that PostgreSQL is asked; a probe waits four."""

LONGEST = 300
"""Characters of an error that are shown."""


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Check(BaseModel, frozen=True):
    """`seen`: what there is; `mend`: what to do, in a sentence, unless all is well."""

    name: str
    state: State
    seen: str
    mend: str | None = None

    @property
    def sentence(self) -> str:
        return f"{self.name}: {self.seen}" + (f". {self.mend}" if self.mend else "")


def ok(name: str, seen: str) -> Check:
    return Check(name=name, state=State.OK, seen=seen)


def warning(name: str, seen: str, mend: str) -> Check:
    return Check(name=name, state=State.WARNING, seen=seen, mend=mend)


def failed(name: str, seen: object, mend: str) -> Check:
    return Check(name=name, state=State.FAILED, seen=shown(seen), mend=mend)


def skipped(name: str, because: str) -> Check:
    return Check(name=name, state=State.SKIPPED, seen=f"not looked at, as {because}")


def first_failed(checks: Sequence[Check]) -> Check | None:
    return next((check for check in checks if check.state is State.FAILED), None)


def shown(error: object) -> str:
    """On one line, and no longer than a person reads."""
    said = printable(" ".join((str(error) or repr(error)).split()))
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}..."


# ---- PostgreSQL ----------------------------------------------------------------------------------------------------

POSTGRESQL, MIGRATIONS, CLOCK = "PostgreSQL", "migrations", "clock"


async def postgresql(health: Health, schemas: Collection[str], skew: float) -> list[Check]:
    """`schemas`: the chains that have tables of their own; `skew`: by how many seconds the clocks may differ."""
    try:
        async with asyncio.timeout(DATABASE_WITHIN):
            server = await health.server()
    except TimeoutError:
        found = f"no answer within {DATABASE_WITHIN:g} s"
    except (Outage, asyncpg.PostgresError, ValueError) as error:
        found = shown(error)
    else:
        return [_version(server), _migrations(server, schemas), clock(CLOCK, "PostgreSQL's", server.ahead, skew)]
    return [
        failed(POSTGRESQL, found, "Start it, and look whether DATABASE_URL names it."),
        *(skipped(name, "PostgreSQL does not answer") for name in (MIGRATIONS, CLOCK)),
    ]


def _version(server: Server) -> Check:
    if server.number < OLDEST:
        return failed(POSTGRESQL, f"version {server.version}", "Upgrade it to version 15 or newer.")
    if server.standby:
        seen = f"version {server.version}, which takes no writes"
        return failed(POSTGRESQL, seen, "Let DATABASE_URL name the primary, or promote this standby.")
    return ok(POSTGRESQL, f"version {server.version}")


def _migrations(server: Server, schemas: Collection[str]) -> Check:
    at = ", ".join(server.revisions)
    migrate = "Run `lanka migrate`."
    if any(revision.isdigit() for revision in server.revisions):
        mend = "Finish its orders with that version, then run `lanka migrate` on a new database."
        return failed(MIGRATIONS, "made by an earlier version of Lanka that this one cannot read", mend)
    if server.revisions and not server.ours:
        mend = "Give Lanka a database of its own, then run `lanka migrate`."
        return failed(MIGRATIONS, f"another program's, at {at}", mend)
    if not server.ours:
        return failed(MIGRATIONS, "none of Lanka's tables is there", migrate)
    if missing := sorted(set(schemas) - server.chains):
        return failed(MIGRATIONS, f"the tables of {', '.join(missing)} are missing", migrate)
    if HEAD not in server.revisions:
        mend = "Run the Lanka that has migrated it, or a newer one."
        return warning(MIGRATIONS, f"at {at or 'nothing that can be read'}, which this version does not know", mend)
    return ok(MIGRATIONS, f"at {at}, the newest")


PRIVILEGES = "privileges"


async def privileges(health: Health, schemas: Iterable[str]) -> Check:
    """`schemas`: the SQL of the chains that have tables of their own."""
    try:
        async with asyncio.timeout(DATABASE_WITHIN):
            lacking = await health.lacking(schemas)
    except (TimeoutError, Outage, asyncpg.PostgresError) as error:
        return failed(PRIVILEGES, error, "Look at the log of PostgreSQL.")
    if lacking:
        return failed(
            PRIVILEGES, f"{len(lacking)} missing: {', '.join(lacking)}", "GRANT them to the user of DATABASE_URL."
        )
    return ok(PRIVILEGES, "may read and write what Lanka needs")


def clock(name: str, whose: str, ahead: float, allowed: float) -> Check:
    """`ahead`: by how many seconds the other clock is before that of this host."""
    side = "behind" if ahead > 0 else "ahead of"
    if abs(ahead) > allowed:
        seen = f"this host's clock is {abs(ahead):.1f} s {side} {whose} (LANKA_CLOCK_SKEW_SECONDS allows {allowed:g} s)"
        return failed(name, seen, "Set both by NTP (`timedatectl set-ntp true`, chrony).")
    return ok(name, f"agrees with {whose} within {max(abs(ahead), 0.1):.1f} s")


# ---- Temporal ------------------------------------------------------------------------------------------------------

TEMPORAL, NAMESPACE = "Temporal", "namespace"
RETENTION, ATTRIBUTES, PARTITIONS, ITS_CLOCK = "retention", "search attributes", "partitions", "Temporal's clock"

SHORTEST_RETENTION = timedelta(hours=24)
ASKED_BY = "lanka-doctor"
"""A task queue on which nobody ever works: who polls it is told with the time of Temporal."""


class Reached(NamedTuple):
    """What was found on the way to a namespace, and what there is if it was reached."""

    checks: list[Check]
    client: Client | None = None
    namespace: DescribeNamespaceResponse | None = None


async def temporal(client: Client | None, connecting: Callable[[], Awaitable[Client]] = connect_once) -> Reached:
    """Whether it answers and has the namespace. Without a client one is made for this, so that its error is seen."""
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            client = client or await connecting()
            asked = DescribeNamespaceRequest(namespace=client.namespace)
            described = await client.workflow_service.describe_namespace(asked, timeout=ANSWERS)
    except TimeoutError:
        return _away(f"no answer within {ANSWERS_WITHIN:g} s")
    except RPCError as error:
        if client is None or error.status is not RPCStatusCode.NOT_FOUND:
            return _away(error)
        mend = f"Make it: `temporal operator namespace create --namespace {client.namespace} --retention 72h`."
        return Reached([ok(TEMPORAL, "answers"), failed(NAMESPACE, f"{client.namespace} is missing", mend)])
    except (RuntimeError, OSError, ValueError) as error:  # RuntimeError: the SDK's own, with what TLS says
        return _away(error)
    return Reached([ok(TEMPORAL, "answers"), ok(NAMESPACE, client.namespace)], client, described)


def _away(seen: object) -> Reached:
    text = shown(seen)
    lowered = text.lower()
    mend = "Start it, and look whether TEMPORAL_ADDRESS names it."
    if "certificate" in lowered or "tls" in lowered:
        mend = "Renew the certificates, and look at TEMPORAL_TLS_*."
    elif "permission" in lowered or "unauth" in lowered or "jwt" in lowered:
        mend = "Renew what lets Lanka in: TEMPORAL_API_KEY, or the client's certificate."
    return Reached([failed(TEMPORAL, text, mend), skipped(NAMESPACE, "Temporal does not answer")])


async def temporal_in_depth(reached: Reached, queues: Collection[str], skew: float) -> list[Check]:
    """How the namespace is set up. `queues`: the task queues of all chains."""
    client, namespace = reached.client, reached.namespace
    if client is None or namespace is None:
        names = (RETENTION, ATTRIBUTES, PARTITIONS, ITS_CLOCK)
        return [skipped(name, "Temporal or its namespace is away") for name in names]
    return [
        _retention(namespace),
        await _unless_refused(ATTRIBUTES, _attributes(client)),
        await _unless_refused(PARTITIONS, _partitions(client, queues)),
        await _unless_refused(ITS_CLOCK, _clock(client, skew)),
    ]


async def _unless_refused(name: str, looking: Awaitable[Check]) -> Check:
    try:
        async with asyncio.timeout(5 * ANSWERS_WITHIN):
            return await looking
    except (RPCError, TimeoutError) as error:
        return warning(name, f"Temporal does not tell: {shown(error)}", "Ask those who run it.")


def _retention(namespace: DescribeNamespaceResponse) -> Check:
    kept = namespace.config.workflow_execution_retention_ttl.ToTimedelta()
    seen = f"what has ended is kept for {kept.total_seconds() / 3600:g} h"
    if kept and kept < SHORTEST_RETENTION:
        mend = "People look for yesterday's orders: `temporal operator namespace update --retention 72h`."
        return warning(RETENTION, seen, mend)
    return ok(RETENTION, seen)


async def _attributes(client: Client) -> Check:
    asked = ListSearchAttributesRequest(namespace=client.namespace)
    known = (await client.operator_service.list_search_attributes(asked)).custom_attributes
    wrong = [name for name in NAMES if known.get(name) != IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST]
    if wrong:
        each = " ".join(f"--name {name} --type KeywordList" for name in wrong)
        mend = f"Start a worker, or run `temporal operator search-attribute create {each}`."
        return failed(ATTRIBUTES, f"{', '.join(wrong)} missing, or no KeywordList", mend)
    return ok(ATTRIBUTES, ", ".join(NAMES))


async def _partitions(client: Client, queues: Collection[str]) -> Check:
    several = []
    for name in sorted(queues):
        asked = ListTaskQueuePartitionsRequest(namespace=client.namespace, task_queue=TaskQueue(name=name))
        found = await client.workflow_service.list_task_queue_partitions(asked, timeout=ANSWERS)
        number = max(len(found.activity_task_queue_partitions), len(found.workflow_task_queue_partitions))
        several += [f"{name} has {number}"] if number > 1 else []
    if several:
        mend = "Set matching.numTaskqueueReadPartitions and ...WritePartitions to 1, or older orders are overtaken."
        return warning(PARTITIONS, ", ".join(several), mend)
    return ok(PARTITIONS, f"one for each of {len(queues)} task queues")


async def _clock(client: Client, skew: float) -> Check:
    queue, kind = TaskQueue(name=ASKED_BY), TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    poll = PollActivityTaskQueueRequest(namespace=client.namespace, task_queue=queue, identity=f"{uuid.uuid4()}")
    asked = DescribeTaskQueueRequest(namespace=client.namespace, task_queue=queue, task_queue_type=kind)
    before = time.time()
    waiting = asyncio.ensure_future(
        client.workflow_service.poll_activity_task_queue(poll, timeout=timedelta(seconds=10))
    )
    try:
        while True:
            answer = await client.workflow_service.describe_task_queue(asked, timeout=ANSWERS)
            after = time.time()
            for poller in answer.pollers:
                if poller.identity == poll.identity:
                    at = poller.last_access_time.ToNanoseconds() / 1e9
                    return clock(ITS_CLOCK, "Temporal's", max(at - after, 0.0) or min(at - before, 0.0), skew)
            await asyncio.sleep(0.05)
    finally:
        waiting.cancel()
        await asyncio.wait([waiting])
