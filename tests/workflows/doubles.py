"""Doubles of all consumers, with their names, on their queues: they play a script and note what they were asked."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.failures import OUTAGE
from chain.batch import Batch, Processed
from chain.event import AnyEvent, Event, Kind
from orders.events import (
    OrderCancelled,
    OrderConfirmed,
    OrderRejected,
    PaymentConfirmed,
    PaymentPending,
    PaymentRefunded,
    PriceConfirmed,
    StockReleased,
    StockReserved,
)
from orders.order import Order
from orders.words import Reason
from tests.shop import an_order, paid, untyped

Answer = Callable[[str, AnyEvent], Awaitable[Event[Any] | None]]
"""What a link makes of an event."""


@dataclass(frozen=True)
class Asked:
    consumer: str
    queue: str
    batch: Batch
    time: datetime

    @property
    def subjects(self) -> list[str]:
        return [event.subject for event in self.batch.events]


class Consumers:
    """Everybody agrees, unless the script says otherwise.

    `script`: what a consumer answers about an order, one answer for each time it is asked; afterwards it agrees.
    `outcome`: the type of the event that ended each order, in the order of their ends.
    """

    def __init__(self) -> None:
        self.script: dict[tuple[str, str], list[Answer]] = {}
        self.asked: list[Asked] = []
        self.outcome: dict[str, str] = {}

    @activity.defn
    async def check_payment(self, batch: Batch) -> Processed:
        return await self._play(batch)

    @activity.defn
    async def settle_payment(self, batch: Batch) -> Processed:
        return await self._play(batch)

    @activity.defn
    async def check_cart(self, batch: Batch) -> Processed:
        return await self._play(batch)

    @activity.defn
    async def check_price(self, batch: Batch) -> Processed:
        return await self._play(batch)

    @activity.defn
    async def finalize_order(self, batch: Batch) -> Processed:
        return await self._play(batch)

    @activity.defn
    async def release_stock(self, batch: Batch) -> Processed:
        return await self._play(batch)

    @activity.defn
    async def refund_payment(self, batch: Batch) -> Processed:
        return await self._play(batch)

    @activity.defn
    async def refund_late_payment(self, batch: Batch) -> Processed:
        return await self._play(batch)

    @activity.defn
    async def note_events(self, batch: Batch) -> Processed:
        return await self._play(batch)

    @activity.defn
    async def reject_order(self, batch: Batch) -> Processed:
        return await self._play(batch)

    async def _play(self, batch: Batch) -> Processed:
        info = activity.info()
        self.asked.append(Asked(info.activity_type, info.task_queue, batch, datetime.now(UTC)))
        made: list[AnyEvent] = []
        left_out: list[str] = []
        for event in batch.events:
            script = self.script.get((info.activity_type, event.subject))
            answer = script.pop(0) if script else agrees
            try:
                follows = await answer(batch.link, event)
            except LeftOut:
                left_out.append(event.subject)
                continue
            if follows:
                made.append(untyped(follows))
            if follows and follows.kind is Kind.END:
                self.outcome[follows.subject] = follows.type
        return Processed(events=made, left_out=left_out)

    def requests(self, *orders: Order) -> list[Asked]:
        """Every time that a consumer was asked about any of the orders."""
        subjects = {order.order_id for order in orders}
        return [asked for asked in self.asked if subjects & set(asked.subjects)]

    def asked_about(self, order: Order) -> list[str]:
        """Which consumers were asked about the order, in the order of asking."""
        return [asked.consumer for asked in self.requests(order)]

    def given(self, consumer: str, order: Order) -> AnyEvent:
        """The event of the order that this consumer was given, the last time."""
        *_, last = (asked for asked in self.requests(order) if asked.consumer == consumer)
        return next(event for event in last.batch.events if event.subject == order.order_id)


# ---- answers -----------------------------------------------------------------------------------------------------


class LeftOut(Exception):
    """The event is not among those that were processed."""


async def agrees(link: str, event: AnyEvent) -> Event[Any] | None:
    return await _AGREEMENTS[link](link, event)


def refuses(kind: type[Event[Any]], reason: Reason) -> Answer:
    return _makes(kind, lambda _: {"reason": reason, "detail": "the script says so"})


def waits_for_payment(patience: timedelta) -> Answer:
    return _makes(
        PaymentPending, lambda event: {"order": event.data["order"], "deadline": datetime.now(UTC) + patience}
    )


def after(condition: Callable[[], Awaitable[Any]], answer: Answer) -> Answer:
    """The same answer, but not before `condition` was awaited."""

    async def later(link: str, event: AnyEvent) -> Event[Any] | None:
        await condition()
        return await answer(link, event)

    return later


async def leaves_out(link: str, event: AnyEvent) -> None:
    raise LeftOut


async def has_nothing_to_say(link: str, event: AnyEvent) -> None:
    """Done, but nothing follows: a refund where nothing was paid."""


async def fails_unexpectedly(link: str, event: AnyEvent) -> None:
    raise ZeroDivisionError("a bug, says the script")


async def is_away(link: str, event: AnyEvent) -> None:
    raise ApplicationError("away, says the script", type=OUTAGE, next_retry_delay=timedelta(milliseconds=10))


def _makes(kind: type[Event[Any]], data: Callable[[AnyEvent], Any]) -> Answer:
    async def answer(link: str, event: AnyEvent) -> Event[Any]:
        return kind.made_by(link, event.subject, datetime.now(UTC), data(event))

    return answer


def _payment(event: AnyEvent) -> dict[str, Any]:
    return {"order": event.data["order"], "payment": paid(Order.model_validate(event.data["order"]))}


def _confirmation(event: AnyEvent) -> dict[str, Any]:
    given = {key: event.data["order"][key] for key in ("customer_id", "payment_id", "total", "currency")}
    return {"order_number": "L-1", **given}


async def _closes(link: str, event: AnyEvent) -> Event[Any]:
    why = {key: event.data[key] for key in ("reason", "detail")}
    kind = OrderCancelled if why["reason"] == Reason.CANCELLED_BY_CUSTOMER else OrderRejected
    return kind.made_by(link, event.subject, datetime.now(UTC), why)


_AGREEMENTS: dict[str, Answer] = {
    "payment": _makes(PaymentConfirmed, _payment),
    "settlement": _makes(PaymentConfirmed, _payment),
    "cart": _makes(StockReserved, lambda _: {"reservations": [{"sku": "cup", "quantity": 1}]}),
    "price": _makes(PriceConfirmed, lambda _: {"total": 250, "currency": "EUR"}),
    "finalize": _makes(OrderConfirmed, _confirmation),
    "release": _makes(StockReleased, lambda _: {"reservations": [{"sku": "cup", "quantity": 1}]}),
    "refund": _makes(PaymentRefunded, lambda _: {"payment_id": "pay-1", "amount": 250, "currency": "EUR"}),
    "late-refund": _makes(PaymentRefunded, lambda _: {"payment_id": "pay-1", "amount": 250, "currency": "EUR"}),
    "note": has_nothing_to_say,
    "reject": _closes,
}


# ---- orders ------------------------------------------------------------------------------------------------------


def order(name: str) -> Order:
    """An order with an id that stays the same from run to run, as recorded histories should."""
    return an_order(f"pay-{name}", cup=1).model_copy(update={"order_id": name})


def orders(name: str, number: int) -> list[Order]:
    return [order(f"{name}-{nth}") for nth in range(1, number + 1)]


def names(orders: Iterable[Order]) -> list[str]:
    return [order.order_id for order in orders]
