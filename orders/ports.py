"""What a shop brings of its own: the ports through which Lanka asks others."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from pydantic import AwareDatetime

from chain.failures import LankaError
from orders.payment import Payment, PaymentStatus


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


class PaymentNews(NamedTuple):
    """A provider's webhook: a hint that there is news of a payment. `webhook_id` is the same where it is sent again.

    Both ids can be stored (see `chain.subject.Identifier`). `status`: of the payment, if the webhook names one of ours.
    """

    webhook_id: str
    payment_id: str
    status: PaymentStatus | None


class NotGenuineError(LankaError):
    """The webhook is not signed by its provider, or was signed too long ago."""


class UnreadableNewsError(LankaError):
    """The webhook is genuine, and names no payment."""


class PaymentWebhooks(Protocol):
    """How a provider's webhooks are told from anybody else's."""

    def verify(self, headers: Mapping[str, str], body: bytes) -> PaymentNews:
        """Raises `NotGenuineError` and `UnreadableNewsError`."""
        ...
