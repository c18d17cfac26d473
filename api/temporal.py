"""The one connection of this process to Temporal, which may be away now and later."""

import asyncio
from typing import Self

from temporalio.client import Client
from temporalio.service import RPCError

from workflows.connect import connect

PATIENCE = 1.0
"""Seconds that a part gets to say that it is well."""


class Temporal:
    def __init__(self) -> None:
        self._connecting: asyncio.Task[Client] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connecting is not None:
            self._connecting.cancel()

    async def client(self) -> Client:
        """Waits for the server. Whoever stops waiting leaves the connecting to go on."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(connect())
        return await asyncio.shield(self._connecting)

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                client = await self.client()
                return await client.service_client.check_health()
        except (TimeoutError, RPCError):
            return False
