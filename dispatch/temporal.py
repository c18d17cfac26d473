"""The one connection of this process to Temporal, which may be away now and later."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Self

import structlog
from temporalio.client import Client, Interceptor
from temporalio.common import TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from store.dispatch import DispatchBatch
from workflows.chains import CHAINS
from workflows.connect import connect

log = structlog.get_logger()


def start_of(batch: DispatchBatch) -> dict[str, Any]:
    """How the workflow of a batch is started, whoever starts it."""
    chain = CHAINS[batch.chain]
    # One that was terminated or has failed left its orders open; one that has completed is run again only where it is
    # known that it did not bring them to an end.
    policy = WorkflowIDReusePolicy
    return {
        "args": [batch.version],
        "id": batch.workflow_id,
        "task_queue": chain.queue,
        # A worker that is killed in the middle of a workflow task holds it for this long; by default 10 s.
        "task_timeout": timedelta(seconds=5),
        "id_reuse_policy": policy.ALLOW_DUPLICATE if batch.again else policy.ALLOW_DUPLICATE_FAILED_ONLY,
        "search_attributes": chain.attributes(batch.events),
        "static_summary": chain.summary(batch.events),
        "static_details": chain.details(batch.events),
    }


async def signal_with_start(client: Client, batch: DispatchBatch, **otherwise: Any) -> None:
    """Brings events to their workflow, which begins with them if it does not run. Raises what Temporal answers."""
    signal = partial(
        client.start_workflow,
        CHAINS[batch.chain].workflow.run,
        start_signal="received",
        start_signal_args=[list(batch.events)],
    )
    start = {**start_of(batch), **otherwise}
    try:
        await signal(**start)
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        # Perhaps they were never registered. That orders go on matters more than by what they are found.
        log.warning("Temporal refuses the search attributes", workflow_id=start["id"], error=str(error))
        await signal(**start | {"search_attributes": TypedSearchAttributes.empty})


class Temporal:
    def __init__(self, interceptors: Sequence[Interceptor] = ()) -> None:
        self._interceptors = interceptors
        self._connecting: asyncio.Task[Client] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connecting is not None:
            self._connecting.cancel()

    async def client(self) -> Client:
        """Waits for the server. Whoever stops waiting leaves the connecting to go on."""
        return await asyncio.shield(self.begin())

    def begin(self) -> asyncio.Task[Client]:
        """Begins to connect, where nobody has."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(connect(self._interceptors))
        return self._connecting

    @property
    def connected(self) -> Client | None:
        """The client, once there is one."""
        task = self._connecting
        return task.result() if task and task.done() and not task.cancelled() and not task.exception() else None
