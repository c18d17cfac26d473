"""A payment as its provider describes it."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class PaymentStatus(StrEnum):
    """`pending` may still become any of the others; `authorized` is money reserved, `captured` money taken."""

    PENDING = "pending"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    DECLINED = "declined"
    EXPIRED = "expired"
    REFUNDED = "refunded"


class Payment(BaseModel):
    """What the provider says of one payment. Amounts in minor units of `currency`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    payment_id: str
    status: PaymentStatus
    amount: int
    currency: str
    captured_amount: int = 0
    refunded_amount: int = 0
