"""What the shop's page asks of the payment provider: a payment for a basket, and what its bank says of a transfer.

The provider here is the sandbox, which is told beforehand how each payment ends; that is what its test cards are.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from api.auth import Anybody, Caller
from api.body import Body
from api.orders import VisibleOrder, idempotency_key
from api.problems import Code, Problem, raises
from api.sandbox import PaymentAnswer, Sandbox
from api.shared import Here
from orders.money import CurrencyCode
from orders.payment import PaymentStatus
from store.api_keys import Scope

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


class PaymentRequest(BaseModel, frozen=True, extra="forbid"):
    """`amount` is in minor units."""

    amount: Annotated[int, Field(strict=True, ge=1, le=2**53)]
    currency: CurrencyCode
    method: Method


class BankDecision(BaseModel, frozen=True, extra="forbid"):
    """What the customer's bank says of a transfer that is on its way."""

    accepted: Annotated[bool, Field(strict=True)]


@raises(Code.CUSTOMER_SESSION_REQUIRED)
async def customer_only(caller: Anybody) -> Caller:
    """A person at our page. An operator may do whatever a customer may."""
    if caller.scope is Scope.SHOP:
        raise Problem(Code.CUSTOMER_SESSION_REQUIRED)
    return caller


Customer = Annotated[Caller, Depends(customer_only)]

router = APIRouter(prefix="/shop", tags=["shop"])


@router.post("/payments", status_code=201)
@raises(Code.IDEMPOTENCY_KEY_REUSED, Code.NO_SANDBOX, Code.PAYMENTS_NOT_CONFIGURED, Code.PAYMENTS_UNAVAILABLE)
async def pay(
    here: Here,
    caller: Customer,
    key: Annotated[str, Depends(idempotency_key)],
    wanted: Annotated[PaymentRequest, Depends(Body(PaymentRequest))],
) -> PaymentAnswer:
    """Authorises the amount at the provider. The same `Idempotency-Key` gives the same payment again."""
    body = {"amount": wanted.amount, "currency": wanted.currency, "outcome": OUTCOMES[wanted.method]}
    refused = {422: Code.IDEMPOTENCY_KEY_REUSED}
    return await _post(here.sandbox, "/payments", body, refused, f"{caller.name}.{key}")


@router.post("/orders/{order_id}/bank")
@raises(Code.ORDER_NOT_FOUND, Code.PAYMENT_UNKNOWN, Code.PAYMENT_DECIDED, Code.NO_SANDBOX)
@raises(Code.PAYMENTS_NOT_CONFIGURED, Code.PAYMENTS_UNAVAILABLE)
async def hear_from_the_bank(
    here: Here, _: Customer, order_id: VisibleOrder, decision: Annotated[BankDecision, Depends(Body(BankDecision))]
) -> PaymentAnswer:
    """Plays the bank of a transfer that is on its way."""
    order = await here.orders.find(order_id)
    if order is None:
        raise Problem(Code.ORDER_NOT_FOUND)
    outcome = PaymentStatus.AUTHORIZED if decision.accepted else PaymentStatus.DECLINED
    path = f"/payments/{quote(order.payment_id, safe='')}/settle"
    refused = {404: Code.PAYMENT_UNKNOWN, 409: Code.PAYMENT_DECIDED}
    return await _post(here.sandbox, path, {"outcome": outcome}, refused)


async def _post(
    sandbox: Sandbox, path: str, body: dict[str, Any], refused: Mapping[int, Code], key: str | None = None
) -> PaymentAnswer:
    return await sandbox.ask(
        PaymentAnswer,
        "POST",
        path,
        body,
        within=ANSWERED_WITHIN,
        missing=Code.PAYMENTS_NOT_CONFIGURED,
        refused=refused,
        key=key,
    )
