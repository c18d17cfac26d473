"""What the Temporal Web UI shows of orders, and by what their workflow is found there."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from temporalio.common import TypedSearchAttributes

from chain.event import AnyEvent, in_words, type_of
from orders.events import OrderReceived
from orders.order import Order
from workflows.ui_details import NAMED, ORDER_IDS, fitting, of_customers


def order_summary(events: Sequence[AnyEvent]) -> str:
    """`3 items · EUR 41.50 · cus_42`, or `20 orders · 57 items`."""
    if len(events) > 1:
        return f"{len(events)} orders · {sum(map(_items, _unchecked(events)))} items"
    if events[0].type != type_of(OrderReceived):
        return in_words(events)
    orders = _readable(events)
    return orders[0].summary() if orders else "an order that cannot be read"


def order_attributes(events: Sequence[AnyEvent]) -> TypedSearchAttributes:
    """What an order can be found by. What would not fit is left out: customers, and the orders of a batch above 100."""
    orders = fitting(ORDER_IDS, [event.subject for event in events])
    return TypedSearchAttributes([*orders, *of_customers(_unchecked(events))])


def order_list(events: Sequence[AnyEvent]) -> str:
    """The orders as a list in Markdown, each with the way to its page if LANKA_PUBLIC_URL says where that is."""
    orders = _readable(events[:NAMED])
    lines = [f"- {_link_to(order.order_id)} {order.summary()} · {order.payment_id}" for order in orders]
    more = [f"- and {len(events) - NAMED} more"] if len(events) > NAMED else []
    return "\n".join([*lines, *more])


def _unchecked(events: Sequence[AnyEvent]) -> Iterator[dict[str, Any]]:
    """The orders as they came: to check all of a batch for its title would take too long."""
    for event in events:
        if isinstance(order := event.data.get("order"), dict):
            yield order


def _items(order: dict[str, Any]) -> int:
    try:
        return sum(line["quantity"] for line in order["lines"])
    except (KeyError, TypeError):
        return 0


def _readable(events: Sequence[AnyEvent]) -> list[Order]:
    """One that cannot be read parks at its first link; it must not keep the others from being dispatched."""
    orders: list[Order] = []
    for event in events:
        with suppress(ValidationError):
            orders.append(OrderReceived.model_validate(vars(event)).data.order)
    return orders


def _link_to(order_id: str) -> str:
    base = os.environ.get("LANKA_PUBLIC_URL", "").rstrip("/")
    return f"[{order_id}]({base}/console#/orders/{order_id})" if base else f"`{order_id}`"
