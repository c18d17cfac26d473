"""Drills from the console: the sandbox provider is broken on purpose, and sample orders are sent through it."""

import asyncio
import random
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.auth import Operator
from api.body import Body
from api.orders import OrderRequest
from api.problems import MAX_DRILL, Code, PerSecond, Problem, raises
from api.sandbox import M, PaymentAnswer, Sandbox
from api.shared import Here
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

Rate = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False), Code.INVALID_FAULTS]


class Faults(BaseModel, frozen=True, extra="forbid"):
    """What is broken at the sandbox provider. A rate is the chance, from 0 to 1, of each call.

    `error_rate`: answers 500 or 429 and does nothing. `timeout_rate`: does the work and never answers.
    `garbage_rate`: does the work and answers with nonsense.
    """

    down: Annotated[bool, Field(strict=True), Code.INVALID_FAULTS] = False
    latency_ms: Annotated[int, Field(strict=True, ge=0, le=600_000), Code.INVALID_FAULTS] = 0
    error_rate: Rate = 0
    timeout_rate: Rate = 0
    garbage_rate: Rate = 0


class DrillRequest(BaseModel, frozen=True, extra="forbid"):
    """Sample orders, paid at the sandbox first and then sent at this rate."""

    orders: Annotated[int, Field(strict=True, ge=1, le=MAX_DRILL), Code.INVALID_NUMBER]
    rate_per_second: PerSecond = 20


class DrillAnswer(BaseModel):
    """`orders` are paid and on their way."""

    orders: int


class Drills:
    def __init__(
        self, sandbox: Sandbox, orders: Orders, catalogue: Catalogue, wakeup: Wakeup, tracing: Tracing
    ) -> None:
        self._sandbox = sandbox
        self._orders = orders
        self._catalogue = catalogue
        self._wakeup = wakeup
        self._tracing = tracing
        self._paying = asyncio.Lock()
        self._sending: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        if self._sending:
            self._sending.cancel()

    async def faults(self) -> Faults:
        """Raises the problems `no_sandbox` and `payments_unavailable`."""
        return await self._ask(Faults, "GET", "/faults")

    async def set_faults(self, faults: Faults) -> Faults:
        """Raises the problems `no_sandbox` and `payments_unavailable`."""
        return await self._ask(Faults, "PUT", "/faults", faults.model_dump())

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
                payment = await self._ask(PaymentAnswer, "POST", "/payments", body)
            return order.model_copy(update={"payment_id": payment.payment_id})

        async with self._paying:
            orders = await asyncio.gather(*(paid(_sample(products)) for _ in range(wanted.orders)))
        self._sending = asyncio.create_task(self._submit(orders, wanted.rate_per_second, owner))

    async def _submit(self, orders: Sequence[OrderRequest], rate: float, owner: str) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        for nth, wanted in enumerate(orders):
            await asyncio.sleep(began + nth / rate - now())
            order, key = wanted.with_id(new_order_id()), f"drill-{uuid.uuid4()}"
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

    async def _ask(self, answer: type[M], method: str, path: str, body: dict[str, Any] | None = None) -> M:
        refused = {404: Code.NO_SANDBOX}  # a provider, but not one that can be broken
        return await self._sandbox.ask(
            answer, method, path, body, within=ANSWERED_WITHIN, missing=Code.NO_SANDBOX, refused=refused
        )


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


@router.get("/faults")
@raises(Code.NO_SANDBOX, Code.PAYMENTS_UNAVAILABLE)
async def read_faults(here: Here, _: Operator) -> Faults:
    """How the sandbox provider is broken now."""
    return await here.drills.faults()


@router.put("/faults")
@raises(Code.NO_SANDBOX, Code.PAYMENTS_UNAVAILABLE)
async def put_faults(
    here: Here, caller: Operator, faults: Annotated[Faults, Depends(Body(Faults, optional=True))]
) -> Faults:
    """Breaks the sandbox provider in this way; `{}` mends it."""
    log.warning("the sandbox provider is told to break", by=caller.name, **faults.model_dump())
    return await here.drills.set_faults(faults)


@router.post("/sample-orders", status_code=202)
@raises(Code.NO_SANDBOX, Code.PAYMENTS_UNAVAILABLE, Code.NOTHING_TO_SELL, Code.DRILL_UNDER_WAY)
async def send_sample_orders(
    here: Here, caller: Operator, wanted: Annotated[DrillRequest, Depends(Body(DrillRequest))]
) -> DrillAnswer:
    """Orders as customers would send them, each with a payment of its own at the sandbox."""
    await here.drills.send(wanted, caller.name)
    return DrillAnswer(orders=wanted.orders)
