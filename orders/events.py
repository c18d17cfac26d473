"""The events of the order chain: everything that can happen to an order, in the past tense."""

from typing import ClassVar, Literal

from pydantic import AwareDatetime

from chain.event import Event, Kind
from chain.subject import Data, Parked, Released
from chain.subject import Refusal as AnyRefusal
from orders.order import Order
from orders.payment import Payment, PaymentStatus
from orders.words import Reason, Status

# ---- what the events carry ---------------------------------------------------------------------------------------


class ReceivedOrder(Data):
    order: Order


class AwaitedPayment(Data):
    """The payment is not decided yet; after `deadline` the order is refused."""

    order: Order
    deadline: AwareDatetime


class PaidOrder(Data):
    order: Order
    payment: Payment


class Refusal(AnyRefusal):
    """A "no" with one of the shop's reasons."""

    reason: Reason


class Withdrawal(Refusal):
    """Who has taken the order back: the customer who cancelled it, or the operator who rejected it."""

    by: str


class Why(Refusal, extra="allow"):
    """What every refusal carries, and whatever else it carries: it may be journalled as it was read here."""


class LatePayment(Data):
    payment_id: str


class Reservation(Data):
    sku: str
    quantity: int


class ReservedStock(Data):
    """SKUs in alphabetical order, lines of one SKU summed."""

    reservations: tuple[Reservation, ...]


class CheckedTotal(Data):
    total: int
    currency: str


class ConfirmedOrder(Data):
    order_number: str
    customer_id: str
    payment_id: str
    total: int
    currency: str


class Refund(Data):
    """What went back of the payment, by its provider. `was` it captured, or only authorized: then nobody was charged.

    None in older events.
    """

    payment_id: str
    amount: int
    currency: str
    was: Literal[PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURED] | None = None


# ---- the events --------------------------------------------------------------------------------------------------


class OrderReceived(Event[ReceivedOrder]):
    kind: ClassVar = Kind.START
    status: ClassVar = Status.RECEIVED
    type: Literal["lanka.OrderReceived"] = "lanka.OrderReceived"


class PaymentPending(Event[AwaitedPayment]):
    kind: ClassVar = Kind.PENDING
    status: ClassVar = Status.AWAITING_PAYMENT
    type: Literal["lanka.PaymentPending"] = "lanka.PaymentPending"


class PaymentConfirmed(Event[PaidOrder]):
    status: ClassVar = Status.PROCESSING
    type: Literal["lanka.PaymentConfirmed"] = "lanka.PaymentConfirmed"


class PaymentDeclined(Event[Refusal]):
    kind: ClassVar = Kind.REFUSAL
    status: ClassVar = Status.PROCESSING
    type: Literal["lanka.PaymentDeclined"] = "lanka.PaymentDeclined"


class StockReserved(Event[ReservedStock]):
    type: Literal["lanka.StockReserved"] = "lanka.StockReserved"


class CartUnavailable(Event[Refusal]):
    kind: ClassVar = Kind.REFUSAL
    type: Literal["lanka.CartUnavailable"] = "lanka.CartUnavailable"


class PriceConfirmed(Event[CheckedTotal]):
    type: Literal["lanka.PriceConfirmed"] = "lanka.PriceConfirmed"


class PriceChanged(Event[Refusal]):
    kind: ClassVar = Kind.REFUSAL
    type: Literal["lanka.PriceChanged"] = "lanka.PriceChanged"


class CartConfirmed(Event[PaidOrder]):
    """Stock reserved and price confirmed. Made by the router, which has waited for both."""

    type: Literal["lanka.CartConfirmed"] = "lanka.CartConfirmed"


class OrderConfirmed(Event[ConfirmedOrder]):
    kind: ClassVar = Kind.END
    status: ClassVar = Status.CONFIRMED
    type: Literal["lanka.OrderConfirmed"] = "lanka.OrderConfirmed"


class StockReleased(Event[ReservedStock]):
    type: Literal["lanka.StockReleased"] = "lanka.StockReleased"


class PaymentRefunded(Event[Refund]):
    type: Literal["lanka.PaymentRefunded"] = "lanka.PaymentRefunded"


class OrderRejected(Event[Refusal]):
    kind: ClassVar = Kind.END
    status: ClassVar = Status.REJECTED
    type: Literal["lanka.OrderRejected"] = "lanka.OrderRejected"


class OrderWithdrawn(Event[Withdrawal]):
    """Somebody with the right to it has taken the order back. What was done for it is undone next."""

    kind: ClassVar = Kind.WITHDRAWAL
    status: ClassVar = Status.PROCESSING
    type: Literal["lanka.OrderWithdrawn"] = "lanka.OrderWithdrawn"


class OrderCancelled(Event[Refusal]):
    kind: ClassVar = Kind.END
    status: ClassVar = Status.CANCELLED
    type: Literal["lanka.OrderCancelled"] = "lanka.OrderCancelled"


class OrderParked(Parked):
    type: Literal["lanka.OrderParked"] = "lanka.OrderParked"  # type: ignore[assignment]


class OrderReleased(Released):
    type: Literal["lanka.OrderReleased"] = "lanka.OrderReleased"  # type: ignore[assignment]


class PaymentArrivedLate(Event[LatePayment]):
    """Money for an order that had ended without it; it is given back."""

    kind: ClassVar = Kind.LATE
    type: Literal["lanka.PaymentArrivedLate"] = "lanka.PaymentArrivedLate"


class Refused(Event[Why]):
    """Any rejection, for those who only want to know why: the consumers on the way back."""
