"""payment, going back: gives a refused order's money back."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from temporalio import activity

from activities.consume import Journal, call_then_consume
from chain.batch import Batch, Processed, Work
from chain.event import Event
from chain.failures import UnexpectedAnswer
from orders.events import PaymentArrivedLate, PaymentRefunded, Refund, Refused
from orders.payment import Payment, PaymentStatus
from orders.ports import PaymentProvider

MONEY = (PaymentStatus.PENDING, PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED)  # where there is money, or may yet be


class Payments(Protocol):
    async def of_orders(self, order_ids: Sequence[str]) -> Mapping[str, Payment]: ...
    async def named_by(self, order_ids: Sequence[str]) -> Mapping[str, str]: ...
    async def claim_alone(self, order_id: str, payment: Payment) -> bool: ...
    async def became(self, tx: Any, order_ids: Sequence[str], status: PaymentStatus) -> None: ...


class RefundPayment:
    def __init__(self, journal: Journal, payments: Payments, provider: PaymentProvider) -> None:
        self._journal = journal
        self._payments = payments
        self._provider = provider

    @activity.defn
    async def refund_payment(self, batch: Batch) -> Processed:
        """Any rejection -> PaymentRefunded; nothing where the order holds no money."""
        if batch.unrecorded:
            # So that of two orders taken back at once, each naming the same payment, one sees that the other is.
            await self._journal.append(batch.events)
        subjects = [event.subject for event in batch.events]
        held = await self._payments.of_orders(subjects)
        named = await self._payments.named_by([subject for subject in subjects if subject not in held])

        async def refund(event: Refused, seconds: float) -> Payment | None:
            payment = held.get(event.subject) or await self._unclaimed(event, named.get(event.subject), seconds)
            return await self._refund(event, payment, seconds) if payment else None

        return await call_then_consume(self._journal, batch, Refused, refund, self._decide)

    @activity.defn
    async def refund_late_payment(self, batch: Batch) -> Processed:
        """PaymentArrivedLate -> PaymentRefunded: the order had ended without this money."""

        async def refund(event: PaymentArrivedLate, seconds: float) -> Payment:
            key = f"{event.subject}.late-refund"
            payment = await self._provider.refund(event.data.payment_id, key=key, timeout=seconds)
            if payment.status in MONEY:
                raise UnexpectedAnswer(f"payment {payment.payment_id} was to be refunded and is {payment.status}")
            return payment

        return await call_then_consume(self._journal, batch, PaymentArrivedLate, refund, self._decide)

    async def _unclaimed(self, event: Refused, payment_id: str | None, seconds: float) -> Payment | None:
        """The payment of an order that was taken back before it was checked: paid, and claimed by nobody else."""
        payment = await self._provider.find(payment_id, timeout=seconds) if payment_id else None
        if payment is None or payment.status not in MONEY:
            return None
        return payment if await self._payments.claim_alone(event.subject, payment) else None

    async def _refund(self, event: Refused, held: Payment, seconds: float) -> Payment:
        payment = await self._provider.refund(held.payment_id, key=f"{event.subject}.refund", timeout=seconds)
        if payment.status in (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED):
            raise UnexpectedAnswer(f"payment {payment.payment_id} is {payment.status} after its refund")
        return payment

    async def _decide(
        self, work: Work, events: Sequence[Event[Any]], refunded: Mapping[str, Payment | None]
    ) -> list[Event[Any]]:
        made: list[Event[Any]] = [
            work.made(PaymentRefunded, event, refund_of(payment))
            for event in events
            if (payment := refunded[event.subject]) and payment.status is PaymentStatus.REFUNDED
        ]
        await self._payments.became(work.transaction, [event.subject for event in made], PaymentStatus.REFUNDED)
        return made


def refund_of(payment: Payment) -> Refund:
    """What went back of a payment that is refunded now: of captured money what the provider says, else all."""
    captured = payment.captured_amount > 0
    return Refund(
        payment_id=payment.payment_id,
        amount=payment.refunded_amount if captured else payment.amount,
        currency=payment.currency,
        was=PaymentStatus.CAPTURED if captured else PaymentStatus.AUTHORIZED,
    )
