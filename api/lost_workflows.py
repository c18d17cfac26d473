"""Looks whether Temporal still has the workflows of open orders, and has those that it lost brought again.

Temporal's store may be lost or restored from a backup, a workflow terminated by hand or by the server at its limit of
history. PostgreSQL holds the truth: the same events start the workflow anew, and what was done is not done twice.
"""

import asyncio
from datetime import timedelta

import structlog
from prometheus_client import Counter
from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from orders.errors import Outage
from store.database import Pool, connected, transaction
from store.lost_workflows import come_to_rest, let_go, long_under_way
from workflows.chains import CHAINS
from workflows.connect import connect
from workflows.routing import LATE_REFUND

log = structlog.get_logger()

brought_again = Counter("lanka_workflows_lost_total", "Workflows of open orders that Temporal did not have any more.")

AT_ONCE = 10
LOOKED_AT = 100
"""Workflows that one look asks Temporal for; the next look goes on behind them."""

COMPLETED = "completed"
GONE = {
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.TIMED_OUT: "timed_out",
    WorkflowExecutionStatus.CANCELED: "canceled",
    WorkflowExecutionStatus.COMPLETED: COMPLETED,
}


async def bring_back_lost(pool: Pool, pause: float) -> None:
    """Until cancelled, every `pause` seconds. One process does it: where the dispatcher leads."""
    after = ""
    while True:
        found = 0
        try:
            client = await connect()
            while True:
                workflow_ids, found = await _look(pool, client, since=timedelta(seconds=pause), after=after)
                after = workflow_ids[-1] if len(workflow_ids) == LOOKED_AT else ""
                # Where some are lost there are probably more: Temporal may have lost all.
                await asyncio.sleep(0 if found and after else pause)
        except (Outage, RPCError) as error:
            log.warning("nobody could look for lost workflows", error=str(error))
        except Exception:
            log.exception("the look for lost workflows failed, it is repeated")
        await asyncio.sleep(pause)


async def _look(pool: Pool, client: Client, *, since: timedelta, after: str) -> tuple[list[str], int]:
    """The workflows that were looked at, and how many of them were lost."""
    async with connected(pool) as connection:
        carriers = await long_under_way(
            connection, chains=[*CHAINS], late_refund=LATE_REFUND.name, since=since, after=after, limit=LOOKED_AT
        )
    limit = asyncio.Semaphore(AT_ONCE)

    async def ask(workflow_id: str) -> str | None:
        async with limit:
            return await why_gone(client, workflow_id)

    found = 0
    answers = await asyncio.gather(*(ask(each.workflow_id) for each in carriers))
    for (workflow_id, chain), why in zip(carriers, answers, strict=True):
        if why is None:
            continue
        async with transaction(pool) as tx:  # after Temporal's answer: what has ended meanwhile is not open any more
            if why == COMPLETED and not CHAINS[chain].always_ends:
                await come_to_rest(tx, workflow_id)
                continue
            subjects = await let_go(tx, workflow_id)
        if subjects:
            found += 1
            brought_again.inc()
            log.warning("a workflow is lost, it is started again", workflow_id=workflow_id, why=why, subjects=subjects)
    return [each.workflow_id for each in carriers], found


async def why_gone(client: Client, workflow_id: str) -> str | None:
    """None for a workflow that Temporal has and that runs."""
    try:
        status = (await client.get_workflow_handle(workflow_id).describe()).status
    except RPCError as error:
        if not any(detail.Is(NotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details):
            raise  # also where the namespace is not found: then nobody knows
        return "not_found"
    return GONE.get(status) if status else None
