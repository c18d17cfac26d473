"""The routing table: which consumer takes which event, on which task queue. The whole chain can be read here."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from activities.check_cart import CheckCart
from activities.check_payment import CheckPayment
from activities.check_price import CheckPrice
from activities.finalize_order import FinalizeOrder
from activities.note_events import NoteEvents
from activities.refund_payment import RefundPayment
from activities.reject_order import RejectOrder
from activities.release_stock import ReleaseStock
from orders.batch import Processed
from orders.envelope import AnyEvent, Event, source_of, type_of
from orders.events import (
    CartConfirmed,
    CartUnavailable,
    OrderCancelled,
    OrderConfirmed,
    OrderParked,
    OrderReceived,
    OrderRejected,
    OrderReleased,
    OrderWithdrawn,
    PaymentArrivedLate,
    PaymentConfirmed,
    PaymentDeclined,
    PaymentPending,
    PaymentRefunded,
    PriceChanged,
    PriceConfirmed,
    StockReleased,
    StockReserved,
)
from orders.subject import Parked, Released, Withdrawn


@dataclass(frozen=True)
class Link:
    """One consumer at one place of the chain. `name` makes the idempotency keys, so it never changes.

    `makes`: the events that may come of it, one for each subject.
    `closes`: links that must not work on the subject any more once this one has: an attempt of theirs that was thought
    dead may come to life again.
    `asks_again`: what the consumer leaves out is brought to it again after this long, or when the event's
    `deadline` comes, whichever is first; without it, at once.
    """

    name: str
    consumer: Callable[..., Awaitable[Processed]]
    queue: str
    makes: tuple[type[Event[Any]], ...]
    start_to_close: timedelta = timedelta(seconds=30)  # above the longest external call and its transaction
    asks_again: timedelta | None = None
    closes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Join:
    """When the links side by side have all confirmed, the router makes `into` of the event that they were given."""

    name: str
    of: tuple[type[Event[Any]], ...]
    into: type[Event[Any]]


@dataclass(frozen=True)
class Route:
    """Links side by side; then, if there are any, those that come after all of them, given the same event.

    What the last of them make goes on along the table. With a `join` either all have confirmed, or the first that
    has not, in the order of the links, goes on.

    `too_late`: from here on the customer can no longer cancel. `back`: the way back, from which nobody withdraws.
    """

    links: tuple[Link, ...]
    then: tuple[Link, ...] = ()
    join: Join | None = None
    too_late: bool = False
    back: bool = False


@dataclass(frozen=True)
class Table:
    """The routes by event type, and the events that the router itself tells through the consumer of `note`."""

    routes: Mapping[str, Route]
    note: Link
    parked: type[Event[Any]] = Parked
    released: type[Event[Any]] = Released
    withdrawn: type[Event[Any]] = Withdrawn

    @property
    def links(self) -> Sequence[Link]:
        """Every link of the chain, in the order of the table."""
        return [*(link for route in self.routes.values() for link in (*route.links, *route.then)), self.note]

    @property
    def own(self) -> set[str]:
        """Types of the events that the router makes and routes: the next consumer journals them."""
        return {type_of(route.join.into) for route in self.routes.values() if route.join} | {type_of(self.withdrawn)}


def in_order(table: Table, events: Sequence[AnyEvent]) -> list[AnyEvent]:
    """The journal of a subject with what links side by side have made in the order of the links.

    They commit in whichever order they please; a reader should not see the same story told in two ways.
    """
    told = list(events)
    for route in table.routes.values():
        ranks = {source_of(link.name): rank for rank, link in enumerate(route.links)}
        places = [place for place, event in enumerate(told) if event.source in ranks]
        sorted_events = sorted((told[place] for place in places), key=lambda event: ranks[event.source])
        for place, event in zip(places, sorted_events, strict=True):
            told[place] = event
    return told


# ---- the chain of an order ---------------------------------------------------------------------------------------

PAYMENT = Link(
    "payment",
    CheckPayment.check_payment,
    queue="payment",
    makes=(PaymentConfirmed, PaymentPending, PaymentDeclined),
)
SETTLEMENT = Link(
    "settlement",
    CheckPayment.settle_payment,
    queue="payment",
    makes=(PaymentConfirmed, PaymentDeclined),
    asks_again=timedelta(seconds=15),
)
CART = Link("cart", CheckCart.check_cart, queue="cart", makes=(StockReserved, CartUnavailable))
PRICE = Link("price", CheckPrice.check_price, queue="price", makes=(PriceConfirmed, PriceChanged))
FINALIZE = Link("finalize", FinalizeOrder.finalize_order, queue="finalize", makes=(OrderConfirmed, PaymentDeclined))

FORWARD = tuple(link.name for link in (PAYMENT, SETTLEMENT, CART, PRICE, FINALIZE))

RELEASE = Link("release", ReleaseStock.release_stock, queue="cart", makes=(StockReleased,), closes=FORWARD)
REFUND = Link("refund", RefundPayment.refund_payment, queue="payment", makes=(PaymentRefunded,), closes=FORWARD)
REJECT = Link("reject", RejectOrder.reject_order, queue="finalize", makes=(OrderRejected, OrderCancelled))
LATE_REFUND = Link("late-refund", RefundPayment.refund_late_payment, queue="payment", makes=(PaymentRefunded,))
NOTE = Link("note", NoteEvents.note_events, queue="finalize", makes=())

CHECKED = Join("checks", of=(StockReserved, PriceConfirmed), into=CartConfirmed)
BACK = Route(links=(RELEASE, REFUND), then=(REJECT,), too_late=True, back=True)

ORDER_ROUTES: Mapping[str, Route] = {
    type_of(OrderReceived): Route(links=(PAYMENT,)),
    type_of(PaymentPending): Route(links=(SETTLEMENT,)),
    type_of(PaymentConfirmed): Route(links=(CART, PRICE), join=CHECKED),
    type_of(CartConfirmed): Route(links=(FINALIZE,), too_late=True),
    type_of(PaymentDeclined): BACK,
    type_of(CartUnavailable): BACK,
    type_of(PriceChanged): BACK,
    type_of(OrderWithdrawn): BACK,
    type_of(PaymentArrivedLate): Route(links=(LATE_REFUND,), too_late=True, back=True),
}

ORDER_TABLE = Table(
    routes=ORDER_ROUTES, note=NOTE, parked=OrderParked, released=OrderReleased, withdrawn=OrderWithdrawn
)
