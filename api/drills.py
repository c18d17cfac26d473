"""Drills from the console: the sandbox provider is broken on purpose, and sample orders are sent through it."""

import asyncio
import random
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import structlog
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from api.auth import Operator
from api.body import Body, takes
from api.orders import OrderRequest
from api.problems import AS_OPERATOR, MAX_DRILL, MAX_RATE, MIN_RATE, Code, Problem, documented
from chain.failures import Outage
from dispatch.dispatcher import Wakeup
from orders.order import Line, new_order_id
from store.catalogue import Catalogue, Product
from store.orders import Orders
from telemetry.switch import Tracing

ANSWERED_WITHIN = 2.0
"""Seconds that the sandbox gets for one call."""

PAYMENTS_AT_ONCE = 10
CUSTOMERS = 40
LINES = 3

log = structlog.get_logger()


class Faults(BaseModel):
    """What is broken at the sandbox provider. A rate is the chance, from 0 to 1, of each call.

    `error_rate`: answers 500 or 429 and does nothing. `timeout_rate`: does the work and never answers.
    `garbage_rate`: does the work and answers with nonsense.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    down: Annotated[bool, Field(strict=True)] = False
    latency_ms: Annotated[int, Field(strict=True, ge=0, le=600_000)] = 0
    error_rate: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = 0
    timeout_rate: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = 0
    garbage_rate: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = 0


class DrillRequest(BaseModel):
    """Sample orders, paid at the sandbox first and then sent at this rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    orders: Annotated[int, Field(strict=True, ge=1, le=MAX_DRILL)]
    rate_per_second: Annotated[float, Field(strict=True, ge=MIN_RATE, le=MAX_RATE, allow_inf_nan=False)] = 20


class DrillAnswer(BaseModel):
    """`orders` are paid and on their way."""

    orders: int


class Drills:
    """Without `payments_url` there is no sandbox, and no drill."""

    def __init__(
        self, payments_url: str | None, orders: Orders, catalogue: Catalogue, wakeup: Wakeup, tracing: Tracing
    ) -> None:
        # The sandbox is a neighbour: no proxy from the environment may come between.
        self._sandbox = (
            httpx.AsyncClient(base_url=payments_url, timeout=ANSWERED_WITHIN, trust_env=False) if payments_url else None
        )
        self._orders = orders
        self._catalogue = catalogue
        self._wakeup = wakeup
        self._tracing = tracing
        self._paying = asyncio.Lock()
        self._sending: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        if self._sending:
            self._sending.cancel()
        if self._sandbox:
            await self._sandbox.aclose()

    async def faults(self) -> Faults:
        """Raises the problems `no_sandbox` and `payments_unavailable`."""
        return Faults.model_validate(await self._ask("GET", "/faults"))

    async def set_faults(self, faults: Faults) -> Faults:
        """Raises the problems `no_sandbox` and `payments_unavailable`."""
        return Faults.model_validate(await self._ask("PUT", "/faults", faults.model_dump()))

    async def send(self, wanted: DrillRequest, owner: str) -> None:
        """Returns when all is paid; the orders follow at their rate.

        Raises the problems `drill_under_way`, `nothing_to_sell`, `no_sandbox` and `payments_unavailable`.
        """
        if self._paying.locked() or (self._sending and not self._sending.done()):
            raise Problem(Code.DRILL_UNDER_WAY)
        products = [product for product in await self._catalogue.products() if product.available > 0]
        if not products:
            raise Problem(Code.NOTHING_TO_SELL)
        limit = asyncio.Semaphore(PAYMENTS_AT_ONCE)

        async def paid(order: OrderRequest) -> OrderRequest:
            amount = sum(line.quantity * line.unit_price for line in order.lines)
            async with limit:
                body = {"amount": amount, "currency": order.currency, "outcome": "authorized"}
                payment = await self._ask("POST", "/payments", body)
            return order.model_copy(update={"payment_id": payment["id"]})

        async with self._paying:
            orders = await asyncio.gather(*(paid(_sample(products)) for _ in range(wanted.orders)))
        self._sending = asyncio.create_task(self._submit(orders, wanted.rate_per_second, owner))

    async def _submit(self, orders: Sequence[OrderRequest], rate: float, owner: str) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        for nth, wanted in enumerate(orders):
            await asyncio.sleep(began + nth / rate - now())
            order, key = wanted.received(new_order_id(), datetime.now(UTC)), f"drill-{uuid.uuid4()}"
            while True:
                try:
                    with self._tracing.apart("drill"):
                        await self._orders.accept(
                            order,
                            owner=owner,
                            key=key,
                            fingerprint=wanted.fingerprint(),
                            traceparent=self._tracing.traceparent(),
                        )
                except Outage as outage:
                    log.warning("a drill waits for PostgreSQL", error=str(outage))
                    await asyncio.sleep(1)
                else:
                    break
            self._wakeup.wake()

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        if self._sandbox is None:
            raise Problem(Code.NO_SANDBOX)
        try:
            answer = await self._sandbox.request(method, path, json=body)
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise Problem(Code.NO_SANDBOX)  # a provider, but not one that can be broken
            return answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise Problem(Code.PAYMENTS_UNAVAILABLE, headers={"Retry-After": "1"}) from error


def _sample(products: Sequence[Product]) -> OrderRequest:
    """An order of a few different things of one currency, not paid yet."""
    first = random.choice(products)  # noqa: S311, no secret
    others = [each for each in products if each.currency == first.currency and each.sku != first.sku]
    chosen = [first, *random.sample(others, min(random.randrange(LINES), len(others)))]  # noqa: S311
    return OrderRequest(
        customer_id=f"cus_sample_{random.randrange(CUSTOMERS) + 1:02}",  # noqa: S311
        payment_id="unpaid",
        currency=first.currency,
        lines=[Line(sku=each.sku, quantity=1, unit_price=each.unit_price) for each in chosen],
    )


router = APIRouter(prefix="/operations", tags=["operations"])

_ANY = (*AS_OPERATOR, Code.NO_SANDBOX, Code.PAYMENTS_UNAVAILABLE)


@router.get("/faults", responses=documented(*_ANY))
async def read_faults(request: Request, _: Operator) -> Faults:
    """How the sandbox provider is broken now."""
    drills: Drills = request.state.drills
    return await drills.faults()


@router.put("/faults", **takes(Faults, *_ANY, optional=True))
async def put_faults(
    request: Request, caller: Operator, faults: Annotated[Faults, Depends(Body(Faults, optional=True))]
) -> Faults:
    """Breaks the sandbox provider in this way; `{}` mends it."""
    drills: Drills = request.state.drills
    log.warning("the sandbox provider is told to break", by=caller.name, **faults.model_dump())
    return await drills.set_faults(faults)


@router.post(
    "/sample-orders",
    status_code=202,
    **takes(DrillRequest, *_ANY, Code.NOTHING_TO_SELL, Code.DRILL_UNDER_WAY),
)
async def send_sample_orders(
    request: Request, caller: Operator, wanted: Annotated[DrillRequest, Depends(Body(DrillRequest))]
) -> DrillAnswer:
    """Orders as customers would send them, each with a payment of its own at the sandbox."""
    drills: Drills = request.state.drills
    await drills.send(wanted, caller.name)
    return DrillAnswer(orders=wanted.orders)
