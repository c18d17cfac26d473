"""Looks whether Temporal still has the workflows of open orders, and has those that it lost brought again.

Temporal's store may be lost or restored from a backup, a workflow terminated by hand or by the server at its limit of
history. PostgreSQL holds the truth: the same events start the workflow anew, and what was done is not done twice.
"""

import asyncio
from datetime import timedelta

import structlog
from prometheus_client import Counter
from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.client import Client
from temporalio.service import RPCError

from chain.event import Kind, type_of
from chain.failures import Outage
from store.database import Pool, Transaction, connected, transaction
from store.failpoints import reach
from store.lost_workflows import Carrier, come_to_rest, let_go, long_under_way
from store.orders import CHAIN
from workflows.chains import CHAINS, TYPES

log = structlog.get_logger()

brought_again = Counter("lanka_workflows_lost_total", "Workflows of open orders that Temporal did not have any more.")

RELEASED = {type_of(chain.table.parked): chain.table.released for chain in CHAINS.values()}

LATE_LINKS = CHAIN, CHAINS[CHAIN].table.answering(Kind.LATE)

AT_ONCE = 10
LOOKED_AT = 100  # workflows that one look asks Temporal for; the next look goes on behind them
COMPLETED = "completed"
GONE = ("failed", "terminated", "timed_out", "canceled", COMPLETED)


async def bring_back_lost(pool: Pool, client: Client, pause: float) -> None:
    """Until cancelled, every `pause` seconds. One process does it: where the dispatcher leads."""
    after = ""
    while True:
        found = 0
        try:
            seen, found = await _look(pool, client, since=timedelta(seconds=pause), after=after)
            after = seen[-1].workflow_id if len(seen) == LOOKED_AT else ""
        except (Outage, RPCError) as error:
            log.warning("nobody could look for lost workflows", error=str(error))
        except Exception:
            log.exception("the look for lost workflows failed, it is repeated")
        # Where some are lost there are probably more: Temporal may have lost all.
        await asyncio.sleep(0 if found and after else pause)


async def _look(pool: Pool, client: Client, *, since: timedelta, after: str) -> tuple[list[Carrier], int]:
    """The workflows that were looked at, and how many of them were lost."""
    async with connected(pool) as connection:
        carriers = await long_under_way(
            connection, chains=[*CHAINS], late=LATE_LINKS, since=since, after=after, limit=LOOKED_AT
        )
    limit = asyncio.Semaphore(AT_ONCE)

    async def ask(carrier: Carrier) -> str | None:
        async with limit:
            return await why_gone(client, carrier.workflow_id)

    found = 0
    for carrier, why in zip(carriers, await asyncio.gather(*map(ask, carriers)), strict=True):
        if why is None:
            continue
        async with transaction(pool) as tx:  # after Temporal's answer: what has ended meanwhile is not open any more
            if why == COMPLETED and not CHAINS[carrier.chain].always_ends:
                await come_to_rest(tx, carrier.workflow_id, carrier.seen)
            else:
                found += await give_up(tx, carrier.workflow_id, why)
                reach("lost.before_commit")
        reach("lost.after_commit")
    return carriers, found


async def give_up(tx: Transaction, workflow_id: str, why: str) -> bool:
    """Has what a lost workflow carried brought again, if there is anything."""
    subjects = await let_go(tx, workflow_id, TYPES, RELEASED)
    if subjects:
        brought_again.inc()
        log.warning("a workflow is lost, it is started again", workflow_id=workflow_id, why=why, subjects=subjects)
    return bool(subjects)


async def why_gone(client: Client, workflow_id: str) -> str | None:
    """None for a workflow that Temporal has and that runs."""
    try:
        status = (await client.get_workflow_handle(workflow_id).describe()).status
    except RPCError as error:
        if not any(detail.Is(NotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details):
            raise  # also where the namespace is not found: then nobody knows
        return "not_found"
    said = status.name.lower() if status else ""
    return said if said in GONE else None
