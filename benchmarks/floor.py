"""The floor: a bare workflow of four activities that do nothing, on four queues. No database, no HTTP, no sandbox."""

import asyncio
import os
import signal
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, GrpcCompression
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

QUEUES = ("payment", "cart", "price", "finalize")
WORKFLOW_QUEUE = "floor"


@activity.defn
async def nothing(order: str) -> str:
    return order


@workflow.defn
class Floor:
    @workflow.run
    async def run(self, order: str) -> str:
        for queue in QUEUES:
            order = await workflow.execute_activity(
                nothing, order, task_queue=queue, start_to_close_timeout=timedelta(seconds=30)
            )
        return order


async def main() -> None:
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"], grpc_compression=GrpcCompression.NONE)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    router = Worker(client, task_queue=WORKFLOW_QUEUE, workflows=[Floor], workflow_runner=UnsandboxedWorkflowRunner())
    workers = [router, *(Worker(client, task_queue=queue, activities=[nothing]) for queue in QUEUES)]
    running = asyncio.gather(*(worker.run() for worker in workers))
    print("ready", flush=True)
    await stop.wait()
    await asyncio.gather(*(worker.shutdown() for worker in workers))
    await running


if __name__ == "__main__":
    asyncio.run(main())
