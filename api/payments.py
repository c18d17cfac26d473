"""What the shop's page asks of the payment provider: a payment for a basket, and what its bank says of a transfer.

The provider here is the sandbox, which is told beforehand how each payment ends; that is what its test cards are.
"""

import asyncio
from enum import StrEnum
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from api.auth import Anybody, Caller
from api.body import Body, takes
from api.orders import VisibleOrder, idempotency_key
from api.problems import WITH_KEY, Code, Problem
from orders.money import CurrencyCode
from orders.payment import PaymentStatus
from store.api_keys import Scope
from store.orders import Orders

ANSWERED_WITHIN = 5.0
"""Seconds that the provider gets, while a person waits."""


class Method(StrEnum):
    """How the customer pays."""

    CARD = "card"
    CARD_DECLINED = "card_declined"
    BANK_TRANSFER = "bank_transfer"


OUTCOMES = {
    Method.CARD: PaymentStatus.AUTHORIZED,
    Method.CARD_DECLINED: PaymentStatus.DECLINED,
    Method.BANK_TRANSFER: PaymentStatus.PENDING,
}


class PaymentRequest(BaseModel):
    """`amount` is in minor units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: Annotated[int, Field(strict=True, ge=1, le=2**53)]
    currency: CurrencyCode
    method: Method


class BankDecision(BaseModel):
    """What the customer's bank says of a transfer that is on its way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accepted: Annotated[bool, Field(strict=True)]


class PaymentAnswer(BaseModel):
    payment_id: str
    status: PaymentStatus


class ShopPayments:
    """The sandbox provider at `base_url`; without one there is nobody to pay at."""

    def __init__(self, base_url: str | None) -> None:
        self._base_url = base_url
        # The sandbox is a neighbour: no proxy from the environment may come between.
        self._client = httpx.AsyncClient(trust_env=False)

    async def aclose(self) -> None:
        await self._client.aclose()

    async def create(self, wanted: PaymentRequest, key: str) -> PaymentAnswer:
        """The same key gives the same payment. Raises problems."""
        body = {"amount": wanted.amount, "currency": wanted.currency, "outcome": OUTCOMES[wanted.method]}
        return await self._post("/payments", body, {"Idempotency-Key": key})

    async def settle(self, payment_id: str, *, accepted: bool) -> PaymentAnswer:
        """Raises problems; `payment_decided` where the payment is not pending."""
        outcome = PaymentStatus.AUTHORIZED if accepted else PaymentStatus.DECLINED
        return await self._post(f"/payments/{payment_id}/settle", {"outcome": outcome}, {})

    async def _post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> PaymentAnswer:
        if self._base_url is None:
            raise Problem(Code.PAYMENTS_NOT_CONFIGURED)
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                url = self._base_url.rstrip("/") + path
                answer = await self._client.post(url, json=body, headers=headers, timeout=None)
            if answer.status_code == httpx.codes.CONFLICT:
                raise Problem(Code.PAYMENT_DECIDED)
            if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and b"idempotency_key_reused" in answer.content:
                raise Problem(Code.IDEMPOTENCY_KEY_REUSED)
            told = answer.raise_for_status().json()
            return PaymentAnswer(payment_id=told["id"], status=told["status"])
        except (TimeoutError, httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Problem(Code.PAYMENTS_UNAVAILABLE, headers={"Retry-After": "2"}) from error


async def customer_only(caller: Anybody) -> Caller:
    """A person at our page. An operator may do whatever a customer may."""
    if caller.scope is Scope.SHOP:
        raise Problem(Code.CUSTOMER_SESSION_REQUIRED)
    return caller


Customer = Annotated[Caller, Depends(customer_only)]

router = APIRouter(prefix="/shop", tags=["shop"])

_ANY = (
    *WITH_KEY,
    Code.CUSTOMER_SESSION_REQUIRED,
    Code.OTHER_ORIGIN,
    Code.PAYMENTS_NOT_CONFIGURED,
    Code.PAYMENTS_UNAVAILABLE,
)
_KEYED = (Code.IDEMPOTENCY_KEY_MISSING, Code.IDEMPOTENCY_KEY_INVALID, Code.IDEMPOTENCY_KEY_REUSED)


@router.post("/payments", status_code=201, **takes(PaymentRequest, *_ANY, *_KEYED))
async def pay(
    request: Request,
    caller: Customer,
    key: Annotated[str, Depends(idempotency_key)],
    wanted: Annotated[PaymentRequest, Depends(Body(PaymentRequest))],
) -> PaymentAnswer:
    """Authorises the amount at the provider. The same `Idempotency-Key` gives the same payment again."""
    payments: ShopPayments = request.state.payments
    return await payments.create(wanted, f"{caller.name}.{key}")


@router.post(
    "/orders/{order_id}/bank",
    **takes(BankDecision, *_ANY, Code.ORDER_NOT_FOUND, Code.INVALID_ID, Code.PAYMENT_DECIDED),
)
async def hear_from_the_bank(
    request: Request,
    _: Customer,
    order_id: VisibleOrder,
    decision: Annotated[BankDecision, Depends(Body(BankDecision))],
) -> PaymentAnswer:
    """Plays the bank of a transfer that is on its way."""
    orders: Orders = request.state.orders
    payments: ShopPayments = request.state.payments
    order = await orders.find(order_id)
    if order is None:
        raise Problem(Code.ORDER_NOT_FOUND)
    return await payments.settle(order.payment_id, accepted=decision.accepted)
