"""DBOS Transact on the same PostgreSQL: a workflow of two steps and four transactions, started by a FastAPI handler."""

import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from dbos import DBOS, AsyncSQLAlchemyDatasource, SetWorkflowID
from fastapi import Depends, FastAPI, Header
from sqlalchemy.ext.asyncio import AsyncSession

from api.orders import OrderRequest
from benchmarks import steps
from benchmarks.served import serve, shop_only
from gateways.sandbox import SandboxPayments
from orders.order import Order
from orders.payment import Payment

PATIENCE = 10.0

_NUMBERED = re.compile(r"\$(\d+)")


class OverSession:
    """The steps' statements in the transaction that DBOS has opened."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def fetch(self, query: str, /, *values: Any) -> Sequence[Any]:
        connection = await self._session.connection()
        named = {f"p{nth}": value for nth, value in enumerate(values, start=1)}
        result = await connection.exec_driver_sql(_NUMBERED.sub(r"%(p\1)s", query), named)
        return result.mappings().all() if result.returns_rows else ()

    async def fetchrow(self, query: str, /, *values: Any) -> Any:
        rows = await self.fetch(query, *values)
        return rows[0] if rows else None

    async def fetchval(self, query: str, /, *values: Any) -> Any:
        row = await self.fetchrow(query, *values)
        return next(iter(row.values())) if row else None


async def define(provider: SandboxPayments) -> Any:
    """The workflow. What it passes on is JSON, as DBOS keeps it."""
    database = await AsyncSQLAlchemyDatasource.create(os.environ["DATABASE_URL"])
    transaction = database.transaction(isolation_level="READ COMMITTED")

    @DBOS.step()
    async def look_up(payment_id: str) -> dict[str, Any] | None:
        payment = await provider.find(payment_id, timeout=PATIENCE)
        return payment.model_dump(mode="json") if payment else None

    @DBOS.step()
    async def capture(payment_id: str, key: str) -> dict[str, Any]:
        return (await provider.capture(payment_id, key=key, timeout=PATIENCE)).model_dump(mode="json")

    @transaction
    async def take_payment(order: dict[str, Any], key: str, fingerprint: str, payment: dict[str, Any] | None) -> None:
        tx = OverSession(database.sql_session())
        if await steps.accept(tx, _order(order), key, bytes.fromhex(fingerprint)) is None:
            await steps.claim_payment(tx, _order(order), Payment.model_validate(payment) if payment else None)

    @transaction
    async def reserve_stock(order: dict[str, Any]) -> None:
        await steps.reserve_stock(OverSession(database.sql_session()), _order(order))

    @transaction
    async def check_prices(order: dict[str, Any]) -> None:
        await steps.check_prices(OverSession(database.sql_session()), _order(order))

    @transaction
    async def finalise(order: dict[str, Any], captured: dict[str, Any]) -> str:
        tx = OverSession(database.sql_session())
        return await steps.finalise(tx, _order(order), Payment.model_validate(captured))

    @DBOS.workflow()
    async def confirm(order: dict[str, Any], key: str, fingerprint: str) -> str:
        payment = await look_up(order["payment_id"])
        await take_payment(order, key, fingerprint, payment)
        await reserve_stock(order)
        await check_prices(order)
        captured = await capture(order["payment_id"], order["order_id"])
        return str(await finalise(order, captured))

    return confirm


def _order(told: dict[str, Any]) -> Order:
    return Order.model_validate(told)


def create_app() -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        DBOS(config={"name": "bench", "system_database_url": os.environ["DATABASE_URL"], "log_level": "WARNING"})
        provider = SandboxPayments(os.environ["LANKA_PAYMENTS_URL"])
        app.state.confirm = await define(provider)
        DBOS.launch()
        yield
        DBOS.destroy()
        await provider.close()

    app = FastAPI(lifespan=lifespan)

    @app.post("/orders", status_code=202, dependencies=[Depends(shop_only)])
    async def submit(wanted: OrderRequest, idempotency_key: Annotated[str, Header()]) -> dict[str, str]:
        order = steps.received(wanted)
        with SetWorkflowID(idempotency_key):
            await DBOS.start_workflow_async(
                app.state.confirm, order.model_dump(mode="json"), idempotency_key, wanted.fingerprint().hex()
            )
        return {"order_id": order.order_id, "status": "received"}

    return app


if __name__ == "__main__":
    serve(create_app())
