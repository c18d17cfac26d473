"""finalize: takes the money, turns reservations into sales and gives the order its number."""

from collections.abc import Sequence
from typing import Any, Protocol

from temporalio import activity

from activities.consume import Journal, call_then_consume
from chain.batch import Batch, Processed, Work
from chain.event import Event
from chain.failures import UnexpectedAnswer
from orders.events import CartConfirmed, OrderConfirmed, PaymentDeclined, Refusal
from orders.payment import Payment, PaymentStatus
from orders.ports import PaymentProvider
from orders.words import Reason


class Orders(Protocol):
    async def number(self, tx: Any, order_ids: Sequence[str]) -> dict[str, str]: ...


class Stock(Protocol):
    async def sell(self, tx: Any, order_ids: Sequence[str]) -> None: ...


class Payments(Protocol):
    async def became(self, tx: Any, order_ids: Sequence[str], status: PaymentStatus) -> None: ...


class Outbox(Protocol):
    async def put(self, tx: Any, events: Sequence[Event[Any]]) -> None: ...


class FinalizeOrder:
    def __init__(
        self,
        journal: Journal,
        orders: Orders,
        stock: Stock,
        payments: Payments,
        outbox: Outbox,
        provider: PaymentProvider,
    ) -> None:
        self._journal = journal
        self._orders = orders
        self._stock = stock
        self._payments = payments
        self._outbox = outbox
        self._provider = provider

    @activity.defn
    async def finalize_order(self, batch: Batch) -> Processed:
        """CartConfirmed -> OrderConfirmed | PaymentDeclined, where the authorisation ran out on the way."""
        return await call_then_consume(self._journal, batch, CartConfirmed, self._capture, self._decide)

    async def _capture(self, event: CartConfirmed, seconds: float) -> Payment:
        payment = event.data.payment
        if payment.status is PaymentStatus.AUTHORIZED:
            payment = await self._provider.capture(payment.payment_id, key=f"{event.subject}.finalize", timeout=seconds)
            if payment.status is PaymentStatus.CAPTURED and payment.captured_amount != event.data.order.total:
                raise UnexpectedAnswer(
                    f"captured {payment.captured_amount} of {event.data.order.total} on {payment.payment_id}"
                )
        if payment.status in (PaymentStatus.PENDING, PaymentStatus.AUTHORIZED):
            raise UnexpectedAnswer(f"payment {payment.payment_id} is {payment.status} after its capture")
        return payment

    async def _decide(
        self, work: Work, events: Sequence[CartConfirmed], captured: dict[str, Payment]
    ) -> list[Event[Any]]:
        paid = [e.subject for e in events if captured[e.subject].status is PaymentStatus.CAPTURED]
        await self._stock.sell(work.transaction, paid)
        await self._payments.became(work.transaction, paid, PaymentStatus.CAPTURED)
        numbers = await self._orders.number(work.transaction, paid)
        made: list[Event[Any]] = [
            self._confirmed(work, event, numbers[event.subject])
            if event.subject in numbers
            else work.made(PaymentDeclined, event, refusal(captured[event.subject]))
            for event in events
        ]
        await self._outbox.put(work.transaction, [event for event in made if isinstance(event, OrderConfirmed)])
        return made

    def _confirmed(self, work: Work, event: CartConfirmed, number: str) -> OrderConfirmed:
        taken_over = event.data.order.model_dump(include={"customer_id", "payment_id", "total", "currency"})
        return work.made(OrderConfirmed, event, {"order_number": number, **taken_over})


def refusal(payment: Payment) -> Refusal:
    """Why the authorised money could not be taken after all."""
    expired = payment.status is PaymentStatus.EXPIRED
    return Refusal(
        reason=Reason.PAYMENT_EXPIRED if expired else Reason.PAYMENT_DECLINED,
        detail=f"payment {payment.payment_id} was {payment.status} when it was to be captured",
    )
