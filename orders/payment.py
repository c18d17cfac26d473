"""A payment as its provider tells it, and the port through which providers are asked."""

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict


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


class PaymentProvider(Protocol):
    """The payment port. Each call raises `Outage` when the provider is away, slow or overloaded
    and `Fault` when its answer makes no sense. `timeout` is in seconds.

    `key` makes a call repeatable: the provider does the work once for each key and answers the same again.
    """

    name: str

    async def find(self, payment_id: str, *, timeout: float) -> Payment | None:
        """The payment, or None where the provider does not know it."""
        ...

    async def capture(self, payment_id: str, *, key: str, timeout: float) -> Payment:
        """Takes the authorised money. The returned payment tells what became of it, captured or not."""
        ...

    async def refund(self, payment_id: str, *, key: str, timeout: float) -> Payment:
        """Gives all captured money back, or lets the authorisation go."""
        ...


class ListedPayment(NamedTuple):
    """`since`: when the payment came to where it is, as far as the provider tells."""

    payment: Payment
    since: AwareDatetime


class PaymentBooks(Protocol):
    """All payments that a provider knows, for reconciliation."""

    name: str

    def payments(self, *, timeout: float) -> AsyncIterator[Sequence[ListedPayment]]:
        """Page by page, the oldest payment first. `timeout` is in seconds for each page; raises as the calls above."""
        ...
