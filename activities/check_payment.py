"""payment: asks the provider, not the client, whether the order is paid, and takes the payment for this order."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

from temporalio import activity

from activities.consume import Journal, NotYet, call_then_consume
from chain.batch import Batch, Processed, Work
from chain.event import Event
from orders.events import OrderReceived, PaymentConfirmed, PaymentDeclined, PaymentPending, Refusal
from orders.money import written
from orders.order import Order
from orders.payment import Payment, PaymentStatus
from orders.ports import PaymentProvider
from orders.words import Reason

PAID = (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED)


class Payments(Protocol):
    async def claim(self, tx: Any, wanted: Mapping[str, Payment]) -> set[str]: ...


class CheckPayment:
    """`deadline` is how long an order waits for a pending payment before it is refused."""

    def __init__(self, journal: Journal, payments: Payments, provider: PaymentProvider, deadline: timedelta) -> None:
        self._journal = journal
        self._payments = payments
        self._provider = provider
        self._deadline = deadline

    @activity.defn
    async def check_payment(self, batch: Batch) -> Processed:
        """OrderReceived -> PaymentConfirmed | PaymentPending | PaymentDeclined."""
        return await call_then_consume(self._journal, batch, OrderReceived, self._ask, self._decide)

    @activity.defn
    async def settle_payment(self, batch: Batch) -> Processed:
        """PaymentPending -> PaymentConfirmed | PaymentDeclined; left out while the provider has not decided."""
        return await call_then_consume(self._journal, batch, PaymentPending, self._ask_pending, self._decide)

    async def _ask(self, event: OrderReceived, seconds: float) -> Payment | None:
        return await self._provider.find(event.data.order.payment_id, timeout=seconds)

    async def _ask_pending(self, event: PaymentPending, seconds: float) -> Payment | None:
        payment = await self._provider.find(event.data.order.payment_id, timeout=seconds)
        if payment and payment.status is PaymentStatus.PENDING and await self._journal.now() < event.data.deadline:
            raise NotYet(f"payment {payment.payment_id} is still pending")
        return payment

    async def _decide(
        self, work: Work, events: Sequence[OrderReceived | PaymentPending], answers: dict[str, Payment | None]
    ) -> list[Event[Any]]:
        refusals = {e.subject: no for e in events if (no := unusable(e.data.order, answers[e.subject]))}
        usable = {e.subject: p for e in events if e.subject not in refusals and (p := answers[e.subject])}
        mine = await self._payments.claim(work.transaction, usable)
        return [
            work.made(PaymentDeclined, event, refusals[event.subject])
            if event.subject in refusals
            else self._verdict(work, event, usable[event.subject], mine=event.subject in mine)
            for event in events
        ]

    def _verdict(
        self, work: Work, event: OrderReceived | PaymentPending, payment: Payment, *, mine: bool
    ) -> Event[Any]:
        order = event.data.order
        if not mine:
            refusal = _no(Reason.PAYMENT_ALREADY_USED, f"payment {payment.payment_id} serves another order")
        elif payment.currency != order.currency:
            said = f"paid in {payment.currency}, the order is in {order.currency}"
            refusal = _no(Reason.PAYMENT_CURRENCY_MISMATCH, said)
        elif payment.amount != order.total:
            paid, total = written(payment.amount, order.currency), written(order.total, order.currency)
            refusal = _no(Reason.PAYMENT_AMOUNT_MISMATCH, f"paid {paid}, the order comes to {total}")
        elif payment.status in PAID:
            return work.made(PaymentConfirmed, event, {"order": order, "payment": payment})
        elif isinstance(event, PaymentPending):
            refusal = _no(Reason.PAYMENT_TIMEOUT, f"not paid by {event.data.deadline.isoformat()}")
        else:
            return work.made(PaymentPending, event, {"order": order, "deadline": work.time + self._deadline})
        return work.made(PaymentDeclined, event, refusal)


def unusable(order: Order, payment: Payment | None) -> Refusal | None:
    """Why there is no money in this payment; None if there is, or may yet be."""
    if payment is None:
        return _no(Reason.PAYMENT_NOT_FOUND, f"the provider does not know payment {order.payment_id}")
    if payment.status is PaymentStatus.EXPIRED:
        return _no(Reason.PAYMENT_EXPIRED, f"payment {order.payment_id} has expired")
    if payment.status in (PaymentStatus.DECLINED, PaymentStatus.REFUNDED):
        return _no(Reason.PAYMENT_DECLINED, f"payment {order.payment_id} is {payment.status}")
    return None


def _no(reason: Reason, detail: str) -> Refusal:
    return Refusal(reason=reason, detail=detail)
