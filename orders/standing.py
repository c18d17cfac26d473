"""Where an order stands, read from its journal."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict

from chain.event import Event, type_of
from orders.events import (
    CartUnavailable,
    OrderWithdrawn,
    PaymentConfirmed,
    PaymentDeclined,
    PriceChanged,
    PriceConfirmed,
    StockReserved,
)
from orders.order import Line
from orders.words import Reason, Stage, Status


class KnownOrder(BaseModel):
    """An accepted order and where it stands now. `total` is in minor units of `currency`."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    order_number: str | None
    status: Status
    stage: Stage
    reason: Reason | None
    customer_id: str
    payment_id: str
    currency: str
    lines: tuple[Line, ...]
    total: int
    received_at: AwareDatetime
    updated_at: AwareDatetime


class Standing(NamedTuple):
    stage: Stage
    reason: Reason | None


# In the order of the chain: the event that completes a stage, and the one that refuses the order there.
_STAGES: tuple[tuple[Stage, type[Event[Any]], type[Event[Any]]], ...] = (
    (Stage.PAYMENT, PaymentConfirmed, PaymentDeclined),
    (Stage.CART, StockReserved, CartUnavailable),
    (Stage.PRICE, PriceConfirmed, PriceChanged),
)


def standing(told: Mapping[str, str | None]) -> Standing:
    """The stage and the reason that follow from the journal: the type of each event with its reason, if it has one.

    A refused order stands where it was refused; of two refusals the earlier stage counts. One that a person has taken
    back stands where it had come to.
    """
    if type_of(OrderWithdrawn) not in told:
        for stage, _, refused in _STAGES:
            if type_of(refused) in told:
                return Standing(stage, _reason(told, refused))
    for stage, completed, _ in _STAGES:
        if type_of(completed) not in told:
            return Standing(stage, _reason(told, OrderWithdrawn))
    return Standing(Stage.FINALIZE, _reason(told, OrderWithdrawn))


def _reason(told: Mapping[str, str | None], event: type[Event[Any]]) -> Reason | None:
    reason = told.get(type_of(event))
    return Reason(reason) if reason else None
