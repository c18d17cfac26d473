"""What Lanka needs of PostgreSQL and Temporal, looked at one by one, each with how to mend it.

`lanka doctor` and the `/readyz` of API and worker ask these, so that they tell the same truth. Nothing here raises.
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta
from enum import StrEnum

import asyncpg
from pydantic import BaseModel
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeNamespaceResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from chain.commands import printable
from chain.failures import Outage
from store.health import HEAD, Health, Server
from workflows.connect import connect_once

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


def clock(name: str, whose: str, ahead: float, allowed: float) -> Check:
    """`ahead`: by how many seconds the other clock is before that of this host."""
    side = "behind" if ahead > 0 else "ahead of"
    if abs(ahead) > allowed:
        seen = f"this host's clock is {abs(ahead):.1f} s {side} {whose} (LANKA_CLOCK_SKEW_SECONDS allows {allowed:g} s)"
        return failed(name, seen, "Set both by NTP (`timedatectl set-ntp true`, chrony).")
    return ok(name, f"agrees with {whose} within {max(abs(ahead), 0.1):.1f} s")


# ---- Temporal ------------------------------------------------------------------------------------------------------

TEMPORAL, NAMESPACE = "Temporal", "namespace"


async def temporal(client: Client | None) -> tuple[list[Check], DescribeNamespaceResponse | None]:
    """Whether it answers and has the namespace. Without a client one is made for this, so that its error is seen."""
    namespace = "default"
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            client = client or await connect_once()
            namespace = client.namespace
            asked = DescribeNamespaceRequest(namespace=namespace)
            described = await client.workflow_service.describe_namespace(asked, timeout=ANSWERS)
    except TimeoutError:
        return _away(f"no answer within {ANSWERS_WITHIN:g} s"), None
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            return _away(error), None
        mend = f"Make it: `temporal operator namespace create --namespace {namespace} --retention 72h`."
        return [ok(TEMPORAL, "answers"), failed(NAMESPACE, f"{namespace} is missing", mend)], None
    except (RuntimeError, OSError, ValueError) as error:  # RuntimeError: the SDK's own, with what TLS says
        return _away(error), None
    return [ok(TEMPORAL, "answers"), ok(NAMESPACE, namespace)], described


def _away(seen: object) -> list[Check]:
    text = shown(seen)
    lowered = text.lower()
    mend = "Start it, and look whether TEMPORAL_ADDRESS names it."
    if "certificate" in lowered or "tls" in lowered:
        mend = "Renew the certificates, and look at TEMPORAL_TLS_*."
    elif "permission" in lowered or "unauth" in lowered or "jwt" in lowered:
        mend = "Renew what lets Lanka in: TEMPORAL_API_KEY, or the client's certificate."
    return [failed(TEMPORAL, text, mend), skipped(NAMESPACE, "Temporal does not answer")]
