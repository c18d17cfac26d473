"""Looks whether Temporal still has the workflows of open orders, and has those that it lost brought again.

Temporal's store may be lost or restored from a backup, a workflow terminated by hand or by the server at its limit of
history. PostgreSQL holds the truth: the same events start the workflow anew, and what was done is not done twice.
"""

import asyncio
from datetime import timedelta

import structlog
from prometheus_client import Counter
from pydantic_settings import BaseSettings, SettingsConfigDict
from temporalio.api.errordetails.v1 import NotFoundFailure
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from orders.errors import Outage
from store.database import Pool, connected, transaction
from store.lost_workflows import let_go, long_under_way
from workflows.chains import CHAINS
from workflows.connect import connect
from workflows.routing import LATE_REFUND

log = structlog.get_logger()

brought_again = Counter("lanka_workflows_lost_total", "Workflows of open orders that Temporal did not have any more.")

AT_ONCE = 10
LOOKED_AT = 100
"""Workflows that one look asks Temporal for; the next look goes on behind them."""

LOST = {
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT,
    WorkflowExecutionStatus.CANCELED,
}


class LostSettings(BaseSettings):
    """`lost_after_seconds`: how long a workflow is under way before it is looked at, and between two looks."""

    model_config = SettingsConfigDict(env_prefix="LANKA_")

    lost_after_seconds: float = 30.0


async def bring_back_lost(pool: Pool) -> None:
    """Until cancelled. One process does it: where the dispatcher leads."""
    pause = LostSettings().lost_after_seconds
    client = await connect()
    after = ""
    while True:
        found = 0
        try:
            workflow_ids, found = await _look(pool, client, since=timedelta(seconds=pause), after=after)
            after = workflow_ids[-1] if len(workflow_ids) == LOOKED_AT else ""
        except (Outage, RPCError) as error:
            log.warning("nobody could look for lost workflows", error=str(error))
        except Exception:
            log.exception("the look for lost workflows failed, it is repeated")
        # Where some are lost there are probably more: Temporal may have lost all.
        await asyncio.sleep(0 if found and after else pause)


async def _look(pool: Pool, client: Client, *, since: timedelta, after: str) -> tuple[list[str], int]:
    """The workflows that were looked at, and how many of them were lost."""
    async with connected(pool) as connection:
        workflow_ids = await long_under_way(
            connection, chains=[*CHAINS], late_refund=LATE_REFUND.name, since=since, after=after, limit=LOOKED_AT
        )
    limit = asyncio.Semaphore(AT_ONCE)

    async def why_lost(workflow_id: str) -> str | None:
        async with limit:
            return await _why_lost(client, workflow_id)

    found = 0
    answers = await asyncio.gather(*(why_lost(workflow_id) for workflow_id in workflow_ids))
    for workflow_id, why in zip(workflow_ids, answers, strict=True):
        if why is None:
            continue
        async with transaction(pool) as tx:  # after Temporal's answer: what has ended meanwhile is not open any more
            subjects = await let_go(tx, workflow_id)
        if subjects:
            found += 1
            brought_again.inc()
            log.warning("a workflow is lost, it is started again", workflow_id=workflow_id, why=why, subjects=subjects)
    return workflow_ids, found


async def _why_lost(client: Client, workflow_id: str) -> str | None:
    """None for one that Temporal still has, and for one that has come to its own end."""
    try:
        status = (await client.get_workflow_handle(workflow_id).describe()).status
    except RPCError as error:
        if not any(detail.Is(NotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details):
            raise  # also where the namespace is not found: then nobody knows
        return "not_found"
    return status.name.lower() if status in LOST else None
