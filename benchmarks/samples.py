"""The way Temporal's samples are written: one worker, the workflow in the sandbox, four activities one after the other.

The API signals with start and answers; the order is in the database when the first activity has run. With
the argument `worker` this is the worker, otherwise the API.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from fastapi import Depends, FastAPI, Header, Request

    from api.orders import OrderRequest
    from benchmarks import steps
    from benchmarks.served import serve, shop_only
    from gateways.sandbox import SandboxPayments
    from orders.order import Order
    from orders.payment import Payment
    from orders.ports import PaymentProvider
    from store.database import Pool, open_pool, transaction
    from workflows.connect import connect

QUEUE = "samples"
CONNECTIONS = 20
PATIENCE = 10.0


class Activities:
    def __init__(self, pool: Pool, provider: PaymentProvider) -> None:
        self._pool = pool
        self._provider = provider

    @activity.defn
    async def check_payment(self, order: Order, key: str, fingerprint: str) -> None:
        payment = await self._provider.find(order.payment_id, timeout=PATIENCE)
        async with transaction(self._pool) as tx:
            if await steps.accept(tx, order, key, bytes.fromhex(fingerprint)) is None:
                await steps.claim_payment(tx, order, payment)

    @activity.defn
    async def reserve_stock(self, order: Order) -> None:
        async with transaction(self._pool) as tx:
            if await steps.first_time(tx, order, "stock"):
                await steps.reserve_stock(tx, order)

    @activity.defn
    async def check_prices(self, order: Order) -> None:
        async with transaction(self._pool) as tx:
            await steps.check_prices(tx, order)

    @activity.defn
    async def finalise(self, order: Order) -> None:
        captured: Payment = await self._provider.capture(order.payment_id, key=order.order_id, timeout=PATIENCE)
        async with transaction(self._pool) as tx:
            if await steps.first_time(tx, order, "finalise"):
                await steps.finalise(tx, order, captured)


@workflow.defn
class ConfirmOrder:
    def __init__(self) -> None:
        self._submitted: list[Any] = []

    @workflow.signal
    def submit(self, order: Order, key: str, fingerprint: str) -> None:
        self._submitted = [order, key, fingerprint]

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: bool(self._submitted))
        order = self._submitted[0]
        limit = timedelta(seconds=30)
        await workflow.execute_activity_method(
            Activities.check_payment, args=self._submitted, start_to_close_timeout=limit
        )
        await workflow.execute_activity_method(Activities.reserve_stock, order, start_to_close_timeout=limit)
        await workflow.execute_activity_method(Activities.check_prices, order, start_to_close_timeout=limit)
        await workflow.execute_activity_method(Activities.finalise, order, start_to_close_timeout=limit)


def create_app() -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Client]]:
        yield {"temporal": await connect()}

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders", status_code=202, dependencies=[Depends(shop_only)])
    async def submit(
        request: Request, wanted: OrderRequest, idempotency_key: Annotated[str, Header()]
    ) -> dict[str, str]:
        order = steps.received(wanted)
        temporal: Client = request.state.temporal
        await temporal.start_workflow(
            ConfirmOrder.run,
            id=f"order-{idempotency_key}",
            task_queue=QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            start_signal="submit",
            start_signal_args=[order, idempotency_key, wanted.fingerprint().hex()],
        )
        return {"order_id": order.order_id, "status": "received"}

    return app


async def work() -> None:
    client = await connect()
    provider = SandboxPayments(os.environ["LANKA_PAYMENTS_URL"])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_pool(os.environ["DATABASE_URL"], size=CONNECTIONS) as pool:
        does = Activities(pool, provider)
        async with Worker(
            client,
            task_queue=QUEUE,
            workflows=[ConfirmOrder],
            activities=[does.check_payment, does.reserve_stock, does.check_prices, does.finalise],
        ):
            print("ready", flush=True)
            await stop.wait()
    await provider.close()


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        asyncio.run(work())
    else:
        serve(create_app())
