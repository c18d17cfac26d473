"""Celery with Redis: the API stores the order and sends a chain of four tasks. With `worker` this is the worker."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any

from celery import Celery, chain, signals
from fastapi import Depends, FastAPI, Header, Request

from api.orders import OrderRequest
from benchmarks import steps
from benchmarks.served import serve, shop_only
from gateways.sandbox import SandboxPayments
from orders.order import Order
from store.database import Pool, open_pool, transaction

PATIENCE = 10.0
PROCESSES = 4

tasks = Celery("bench", broker=os.environ.get("BENCH_REDIS_URL"))
tasks.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)


class Hands:
    """What each worker process holds: a loop for the steps, which are coroutines, and its connections."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.pool, self.provider = self.do(_opened())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)


async def _opened() -> tuple[Pool, SandboxPayments]:
    pool = await open_pool(os.environ["DATABASE_URL"], size=1)
    return pool, SandboxPayments(os.environ["LANKA_PAYMENTS_URL"])


_hands: list[Hands] = []


@signals.worker_process_init.connect
def take_hands(**_: Any) -> None:
    _hands.append(Hands())


@signals.worker_ready.connect
def tell(**_: Any) -> None:
    print("ready", flush=True)


@tasks.task
def check_payment(order: dict[str, Any]) -> dict[str, Any]:
    _hands[-1].do(_check_payment(_hands[-1], Order.model_validate(order)))
    return order


@tasks.task
def reserve_stock(order: dict[str, Any]) -> dict[str, Any]:
    _hands[-1].do(_reserve_stock(_hands[-1], Order.model_validate(order)))
    return order


@tasks.task
def check_prices(order: dict[str, Any]) -> dict[str, Any]:
    _hands[-1].do(_check_prices(_hands[-1], Order.model_validate(order)))
    return order


@tasks.task
def finalise(order: dict[str, Any]) -> None:
    _hands[-1].do(_finalise(_hands[-1], Order.model_validate(order)))


async def _check_payment(hands: Hands, order: Order) -> None:
    payment = await hands.provider.find(order.payment_id, timeout=PATIENCE)
    async with transaction(hands.pool) as tx:
        if await steps.first_time(tx, order, "payment"):
            await steps.claim_payment(tx, order, payment)


async def _reserve_stock(hands: Hands, order: Order) -> None:
    async with transaction(hands.pool) as tx:
        if await steps.first_time(tx, order, "stock"):
            await steps.reserve_stock(tx, order)


async def _check_prices(hands: Hands, order: Order) -> None:
    async with transaction(hands.pool) as tx:
        await steps.check_prices(tx, order)


async def _finalise(hands: Hands, order: Order) -> None:
    captured = await hands.provider.capture(order.payment_id, key=order.order_id, timeout=PATIENCE)
    async with transaction(hands.pool) as tx:
        if await steps.first_time(tx, order, "finalise"):
            await steps.finalise(tx, order, captured)


def create_app() -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Pool]]:
        async with open_pool(os.environ["DATABASE_URL"], size=20) as pool:
            yield {"pool": pool}

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders", status_code=202, dependencies=[Depends(shop_only)])
    async def submit(
        request: Request, wanted: OrderRequest, idempotency_key: Annotated[str, Header()]
    ) -> dict[str, str]:
        order = steps.received(wanted)
        async with transaction(request.state.pool) as tx:
            earlier = await steps.accept(tx, order, idempotency_key, wanted.fingerprint())
        if earlier is None:
            # Between the commit and this an order can be lost: that is what an outbox is for.
            steps_in_turn = chain(
                check_payment.s(order.model_dump(mode="json")), reserve_stock.s(), check_prices.s(), finalise.s()
            )
            await asyncio.to_thread(steps_in_turn.apply_async)
        return {"order_id": earlier or order.order_id, "status": "received"}

    return app


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        tasks.worker_main(["worker", "--loglevel", "WARNING", "--concurrency", str(PROCESSES)])
    else:
        serve(create_app())
