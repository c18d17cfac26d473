"""The monolith: one handler that does every step in the request and answers when the order is confirmed.

`BENCH_TRANSACTIONS`: `each` commits after each step, `one` commits once.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Request

from api.orders import OrderRequest
from benchmarks import steps
from benchmarks.served import serve, shop_only
from gateways.sandbox import SandboxPayments
from orders.order import Order
from orders.ports import PaymentProvider
from store.database import Pool, connected, open_pool, transaction

CONNECTIONS = 20
PATIENCE = 10.0

Confirm = Callable[[Pool, PaymentProvider, Order, str, bytes], Awaitable[str]]


async def with_a_transaction_for_each(
    pool: Pool, provider: PaymentProvider, order: Order, key: str, fingerprint: bytes
) -> str:
    payment = await provider.find(order.payment_id, timeout=PATIENCE)
    async with transaction(pool) as tx:
        if earlier := await steps.accept(tx, order, key, fingerprint):
            return earlier
        await steps.claim_payment(tx, order, payment)
    async with connected(pool) as connection:  # one statement is one transaction
        await steps.reserve_stock(connection, order)
    async with connected(pool) as connection:
        await steps.check_prices(connection, order)
    captured = await provider.capture(order.payment_id, key=order.order_id, timeout=PATIENCE)
    async with transaction(pool) as tx:
        await steps.finalise(tx, order, captured)
    return order.order_id


async def with_one_for_all(pool: Pool, provider: PaymentProvider, order: Order, key: str, fingerprint: bytes) -> str:
    payment = await provider.find(order.payment_id, timeout=PATIENCE)
    async with transaction(pool) as tx:
        if earlier := await steps.accept(tx, order, key, fingerprint):
            return earlier
        await steps.claim_payment(tx, order, payment)
        await steps.check_prices(tx, order)
        await steps.reserve_stock(tx, order)  # late, as it locks
        captured = await provider.capture(order.payment_id, key=order.order_id, timeout=PATIENCE)
        await steps.finalise(tx, order, captured)
    return order.order_id


def create_app(confirm: Confirm) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        provider = SandboxPayments(os.environ["LANKA_PAYMENTS_URL"])
        async with open_pool(os.environ["DATABASE_URL"], size=CONNECTIONS) as pool:
            yield {"pool": pool, "provider": provider}
        await provider.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders", status_code=201, dependencies=[Depends(shop_only)])
    async def submit(
        request: Request, wanted: OrderRequest, idempotency_key: Annotated[str, Header()]
    ) -> dict[str, str]:
        order = steps.received(wanted)
        try:
            order_id = await confirm(
                request.state.pool, request.state.provider, order, idempotency_key, wanted.fingerprint()
            )
        except steps.RefusedError as refused:
            raise HTTPException(409, str(refused)) from None
        return {"order_id": order_id, "status": "confirmed"}

    return app


if __name__ == "__main__":
    ways: dict[str, Confirm] = {"each": with_a_transaction_for_each, "one": with_one_for_all}
    serve(create_app(ways[os.environ["BENCH_TRANSACTIONS"]]))
