"""Bounded waits that say what they wait for."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import httpx
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

POLL = 0.05


async def until(condition: Callable[[], Any], timeout: float, what: str) -> Any:
    """Asks `condition`, a function or a coroutine function, until it gives something true, and returns that.

    An exception counts as "not yet". After `timeout` seconds: TimeoutError with `what` and the last answer.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer = condition()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return answer
        except Exception as error:  # noqa: BLE001
            answer = error
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}; the last answer was: {answer!r}")
        await asyncio.sleep(POLL)


async def postgres_answers(url: str) -> bool:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        return bool(await connection.fetchval("SELECT true"))
    finally:
        await connection.close()


async def temporal_answers(address: str) -> bool:
    client = await Client.connect(address)
    await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    return True


async def http_answers(url: str) -> bool:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        return (await client.get(url)).is_success
