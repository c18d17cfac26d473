"""`lanka doctor`: everything that Lanka needs, looked at in turn, each with how to mend it."""

import asyncio
import resource
import shutil
import textwrap
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import typer
from standardwebhooks import Webhook

from chain.failures import LankaError
from dispatch import checks
from dispatch.checks import Check, State, failed, ok, skipped, warning
from gateways.choice import PaymentSettings, payment_provider, payment_webhooks
from lanka.home import Connection, Home, is_over
from lanka.output import printable, say, width
from lanka.ports import HOST, is_free
from lanka.settings import Edge, Payments, Servers, Work, forget_other_servers, what_is_wrong
from store.database import open_pool
from store.health import Health
from workflows.chains import queues, schemas
from workflows.connect import connect_once

WITHIN = 3.0
"""Seconds that each of the neighbours gets to answer."""

LITTLE, TOO_LITTLE = 2 * 2**30, 256 * 2**20
"""Bytes of free disk: a day of orders, and what PostgreSQL needs to go on at all."""

FEW, TOO_FEW = 4096, 512
"""Open files: each caller and each stream takes one."""

SHADES = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red", State.SKIPPED: None}
PROVIDER, SECRET, PORTS, DISK, FILES, LANKA = "payment provider", "webhook secret", "ports", "disk", "files", "lanka"


class _Environment(Servers, Payments, Edge, Work):
    """What is set where no `lanka up` runs."""


@dataclass(frozen=True)
class Place:
    """Where to look. `ports`: what should listen there, or is to; `pids`: of a `lanka up`, by part."""

    database_url: str | None
    temporal: str | None
    payments: PaymentSettings
    api: str
    skew: float
    ports: Mapping[str, int]
    pids: Mapping[str, int]
    home: Path | None


def doctor(directory: Path) -> list[Check]:
    """Looks at the `lanka up` of this home if one runs, else at what the environment names."""
    if lines := what_is_wrong(_Environment):
        return [failed("settings", line, "See docs/settings.md.") for line in lines]
    home, found = Home(directory), []
    connection = home.connection()
    if connection and all(is_over(each) for each in _processes(connection.pids)):
        found.append(failed(LANKA, "a `lanka up` was killed here", "Start it again: it continues every order."))
        connection = None
    place = _beside(home, connection) if connection else _named()
    if place is None:
        if not found:
            seen = f"nothing runs in {home.directory}, and DATABASE_URL is not set"
            found = [failed(LANKA, seen, "Start `lanka up`, or set DATABASE_URL and TEMPORAL_ADDRESS.")]
        ports = {"API": 8000, "Temporal": 7233, "Temporal Web UI": 8233, "payments": 8090}
        return [*found, _ports(ports, {}), _disk(home.directory), _files({})]
    return [*found, *asyncio.run(_look(place))]


def _processes(pids: Mapping[str, int]) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in pids.values() if psutil.pid_exists(pid)]


def _beside(home: Home, connection: Connection) -> Place:
    chosen, environment = home.chosen_before(), _Environment()
    if "postgres" in connection.pids:
        forget_other_servers()
    payments = environment.of(PaymentSettings)
    secret = chosen.webhook_secret if chosen else None
    own = {"api": connection.api, "temporal": f"//{connection.temporal}", "payments": connection.payments}
    return Place(
        database_url=connection.database_url,
        temporal=connection.temporal if "temporal" in connection.pids else None,
        payments=replace(payments, payments_url=connection.payments, webhook_secret=secret),
        api=connection.api,
        skew=environment.clock_skew_seconds,
        ports={name: port for name, url in own.items() if name in connection.pids and (port := urlsplit(url).port)},
        pids=connection.pids,
        home=home.directory,
    )


def _named() -> Place | None:
    environment = _Environment()
    if environment.database_url is None:
        return None
    return Place(
        database_url=environment.database_url,
        temporal=None,
        payments=environment.of(PaymentSettings),
        api=f"http://{HOST}:{environment.api_port}",
        skew=environment.clock_skew_seconds,
        ports={"API": environment.api_port, "worker": environment.worker_port},
        pids={},
        home=None,
    )


async def _look(place: Place) -> list[Check]:
    assert place.database_url
    async with open_pool(place.database_url, size=1) as pool:
        health, brought = Health(pool), schemas()
        found = await checks.postgresql(health, brought.keys(), place.skew)
        found.append(
            skipped(checks.PRIVILEGES, "PostgreSQL or its tables are not there")
            if checks.first_failed(found[:2])
            else await checks.privileges(health, brought.values())
        )
    reached = await checks.temporal(None, partial(connect_once, address=place.temporal))
    found += [*reached.checks, *await checks.temporal_in_depth(reached, queues(), place.skew)]
    found += [await _provider(place.payments), await _secret(place)]
    return [*found, _ports(place.ports, place.pids), _disk(place.home), _files(place.pids)]


# ---- the neighbours ------------------------------------------------------------------------------------------------


async def _provider(settings: PaymentSettings) -> Check:
    """It is asked for a payment that nobody has."""
    provider = payment_provider(settings)
    try:
        await provider.find(f"doctor-{uuid.uuid4().hex[:12]}", timeout=WITHIN)
    except (LankaError, ValueError, OSError) as error:
        mend = "Start it, and look whether its address and key are right (LANKA_PAYMENTS_URL for the sandbox)."
        return failed(PROVIDER, error, mend)
    finally:
        await provider.close()
    return ok(PROVIDER, f"{provider.name} answers")


async def _secret(place: Place) -> Check:
    """A webhook that names no payment is signed with it: who knows the secret calls that unreadable, not forged."""
    name, secret = place.payments.payments[0], place.payments.webhook_secret
    if not payment_webhooks(place.payments).get(name):
        mend = "Set it to the secret with which the provider signs, or payments are noticed late."
        return warning(SECRET, f"none is set for {name}: its webhooks are refused", mend)
    if name != "sandbox" or secret is None:
        return ok(SECRET, f"one is set for {name}")
    webhook_id, now, body = f"msg_doctor_{uuid.uuid4().hex}", datetime.now(UTC), '{"type": "doctor"}'
    headers = {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, now, body),
    }
    try:
        async with httpx.AsyncClient(timeout=WITHIN, trust_env=False) as client:
            answer = await client.post(f"{place.api}/webhooks/{name}", content=body, headers=headers)
    except httpx.HTTPError:
        return ok(SECRET, "well-formed; no API is here to try it with")
    code = answer.json().get("code") if "json" in answer.headers.get("content-type", "") else answer.status_code
    if code == "webhook_unreadable":  # what was signed is believed, and stored is nothing
        return ok(SECRET, "the API believes what is signed with it")
    if code == "webhook_signature_invalid":
        mend = "Give the API and the provider the same, and look at their clocks."
        return failed(SECRET, "the API does not believe what is signed with it", mend)
    return warning(SECRET, f"well-formed; the API answered {code} when it was tried", "See what else is said here.")


# ---- this machine --------------------------------------------------------------------------------------------------


def _ports(ports: Mapping[str, int], pids: Mapping[str, int]) -> Check:
    told: list[str] = []
    foreign: list[str] = []
    for name, port in ports.items():
        if name in pids:
            (told if _listens(pids[name], port) else foreign).append(f"{name} {port}")
        elif is_free(port):
            told.append(f"{name} {port} (free)")
        else:
            (told if _is_ours(port) else foreign).append(f"{name} {port}")
    if foreign:
        mend = "Choose other ports, or end the program that listens there (`ss -ltnp`)."
        return failed(PORTS, f"another program has the port of: {', '.join(foreign)}", mend)
    return ok(PORTS, ", ".join(told) or "none is needed")


def _listens(pid: int, port: int) -> bool:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return any(
            each.laddr and each.laddr.port == port and each.status == psutil.CONN_LISTEN
            for member in family
            for each in member.net_connections("tcp")
        )
    except psutil.AccessDenied:  # it is another user's
        return not is_free(port)
    except psutil.NoSuchProcess:
        return False


def _is_ours(port: int) -> bool:
    try:
        answer = httpx.get(f"http://{HOST}:{port}/livez", timeout=WITHIN, trust_env=False)
        return bool(answer.json() == {"status": "alive"})
    except (httpx.HTTPError, ValueError):
        return False


def _disk(home: Path | None) -> Check:
    if home is None:
        return skipped(DISK, "the servers have theirs elsewhere")
    there = next(each for each in (home, *home.parents) if each.exists())
    free = shutil.disk_usage(there).free
    seen = f"{free / 2**30:.1f} GiB free at {there}"
    if free < LITTLE:
        mend = "Make room before PostgreSQL stops, or give LANKA_HOME another disk."
        return (failed if free < TOO_LITTLE else warning)(DISK, seen, mend)
    return ok(DISK, seen)


def _files(pids: Mapping[str, int]) -> Check:
    """Of the API, or of what would be started from here."""
    try:
        limit, _ = psutil.Process(pids.get("api")).rlimit(psutil.RLIMIT_NOFILE)
    except (psutil.Error, AttributeError):  # not told, or not on this system
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return ok(FILES, "no limit")
    seen = f"{limit} may be open at once"
    if limit < FEW:
        mend = "Start it with more: `ulimit -n 65536`, or LimitNOFILE= of its service."
        return (failed if limit < TOO_FEW else warning)(FILES, seen, mend)
    return ok(FILES, seen)


# ---- what is told --------------------------------------------------------------------------------------------------


def show_checks(found: Sequence[Check]) -> None:
    """A line each, and what to do below; within 80 columns, also into a pipe."""
    states, names = (max(map(len, words)) for words in ([each.value for each in State], [each.name for each in found]))
    columns = min(width() or 80, 100)
    for check in found:
        state = typer.style(f"{check.state:<{states}}", fg=SHADES[check.state])
        margin = " " * (states + names + 4)
        lines = textwrap.wrap(printable(check.seen), columns - len(margin)) or [""]
        lines += textwrap.wrap(f"-> {check.mend}", columns - len(margin)) if check.mend else []
        say(f"{state}  {check.name:<{names}}  " + f"\n{margin}".join(lines))
    number = {state: sum(check.state is state for check in found) for state in State}
    if to_mend := number[State.FAILED]:
        say(f"{to_mend} to mend")
    else:
        say("all is well" if not number[State.WARNING] else f"it works; {number[State.WARNING]} to look at")
