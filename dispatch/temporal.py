"""The one connection of this process to Temporal, which may be away now and later."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import structlog
from temporalio.client import Client, Interceptor
from temporalio.common import TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from chain.event import AnyEvent
from workflows.chain import Chain
from workflows.connect import connect

ANSWERS_WITHIN = 1.0
"""Seconds that a part gets to say that it is well."""

log = structlog.get_logger()


async def signal_with_start(client: Client, chain: Chain, events: Sequence[AnyEvent], **start: Any) -> None:
    """Brings events to their workflow, which begins with them if it does not run. Raises what Temporal answers."""
    signal = partial(
        client.start_workflow, chain.workflow.run, start_signal="received", start_signal_args=[list(events)]
    )
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
        if self._connecting is None:
            self._connecting = asyncio.create_task(connect(self._interceptors))
        return await asyncio.shield(self._connecting)

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                client = await self.client()
                return await client.service_client.check_health()
        except (TimeoutError, RPCError):
            return False
