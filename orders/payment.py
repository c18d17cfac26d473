"""A payment as its provider describes it."""

from enum import StrEnum

from pydantic import BaseModel


class PaymentStatus(StrEnum):
    """`pending` may still become any of the others; `authorized` is money reserved, `captured` money taken."""

    PENDING = "pending"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    DECLINED = "declined"
    EXPIRED = "expired"
    REFUNDED = "refunded"


class Payment(BaseModel, frozen=True, extra="forbid"):
    """What the provider says of one payment. Amounts in minor units of `currency`."""

    provider: str
    payment_id: str
    status: PaymentStatus
    amount: int
    currency: str
    captured_amount: int = 0
    refunded_amount: int = 0
