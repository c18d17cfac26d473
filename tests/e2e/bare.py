"""What Temporal itself costs: a workflow of four activities that do nothing, on four queues, sandboxed as usual."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

QUEUES = ("bare-1", "bare-2", "bare-3", "bare-4")


@activity.defn
async def do_nothing() -> None:
    return


@workflow.defn
class Bare:
    @workflow.run
    async def run(self) -> None:
        for queue in QUEUES:
            await workflow.execute_activity(do_nothing, task_queue=queue, start_to_close_timeout=timedelta(seconds=10))


@asynccontextmanager
async def bare_worker(client: Client) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(Worker(client, task_queue="bare", workflows=[Bare]))
        for queue in QUEUES:
            await stack.enter_async_context(Worker(client, task_queue=queue, activities=[do_nothing]))
        yield
