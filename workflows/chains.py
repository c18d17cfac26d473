"""The chains: what they begin with, which workflow carries them, and how that is shown in the Temporal Web UI.

A chain of another package takes part by its module's name in LANKA_CHAINS (see docs/a-new-chain.md).
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from pydantic import ValidationError
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from chain.event import AcceptedType, AnyEvent, in_words, type_of
from orders.events import OrderReceived
from orders.order import Order
from support.events import SupportCallEnded, SupportCallStarted
from support.workflow import SupportCall
from workflows.chain import Chain
from workflows.order_confirmation import OrderConfirmation
from workflows.ui_details import NAMED, orders_list

ORDER_IDS = SearchAttributeKey.for_keyword_list("OrderIds")
CUSTOMER_IDS = SearchAttributeKey.for_keyword_list("CustomerIds")

MAX_ATTRIBUTE_BYTES = 2_048
"""Of one search attribute, on every server (measured: 100 ids of 16 characters passed, 65 of 30 did not)."""


def order_summary(events: Sequence[AnyEvent]) -> str:
    """`3 items · EUR 41.50 · cus_42`, or `20 orders · 57 items`."""
    if len(events) > 1:
        return f"{len(events)} orders · {sum(_items(order) for order in _told(events))} items"
    if events[0].type != type_of(OrderReceived):
        return in_words(events)
    orders = _readable(events)
    return orders[0].summary() if orders else "an order that cannot be read"


def order_attributes(events: Sequence[AnyEvent]) -> TypedSearchAttributes:
    """What an order can be found by. What would not fit is left out: customers, and the orders of a batch above 100."""
    orders = _fitting(ORDER_IDS, [event.subject for event in events])
    return TypedSearchAttributes([*orders, *_customers(_named(_told(events)))])


def order_details(events: Sequence[AnyEvent]) -> str:
    return orders_list(_readable(events[:NAMED]), others=len(events) - NAMED)


def call_attributes(events: Sequence[AnyEvent]) -> TypedSearchAttributes:
    """Who is calling. Where the customers of all would not fit, none."""
    return TypedSearchAttributes(_customers(_named(event.data for event in events)))


def _customers(customers: Iterable[str]) -> list[SearchAttributePair[Any]]:
    return _fitting(CUSTOMER_IDS, sorted(set(customers)))


def _fitting(key: SearchAttributeKey[Sequence[str]], values: list[str]) -> list[SearchAttributePair[Any]]:
    fits = values and len(json.dumps(values, separators=(",", ":"))) <= MAX_ATTRIBUTE_BYTES  # as the SDK writes them
    return [SearchAttributePair(key, values)] if fits else []


def packages() -> list[str]:
    """The modules of LANKA_CHAINS. Each has a `CHAIN`, named like the module, and a `consumers` for the worker."""
    names = (name.strip() for name in os.environ.get("LANKA_CHAINS", "").split(","))
    return list(dict.fromkeys(filter(None, names)))


def _told(events: Sequence[AnyEvent]) -> Iterator[dict[str, Any]]:
    """What the events tell of their orders, unchecked: to check all of a batch for its title would take too long."""
    for event in events:
        if isinstance(order := event.data.get("order"), dict):
            yield order


def _items(order: dict[str, Any]) -> int:
    try:
        return sum(line["quantity"] for line in order["lines"])
    except (KeyError, TypeError):
        return 0


def _named(orders: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (customer for order in orders if isinstance(customer := order.get("customer_id"), str))


def _readable(events: Sequence[AnyEvent]) -> list[Order]:
    """One that cannot be read parks at its first link; it must not keep the others from being dispatched."""
    orders: list[Order] = []
    for event in events:
        with suppress(ValidationError):
            orders.append(OrderReceived.model_validate(vars(event)).data.order)
    return orders


CHAINS: Mapping[str, Chain] = {
    "orders": Chain(
        workflow=OrderConfirmation,
        starts=OrderReceived,
        alone="order",
        always_ends=True,
        summary=order_summary,
        carried=order_details,
        attributes=order_attributes,
    ),
    "support": Chain(
        workflow=SupportCall,
        starts=SupportCallStarted,
        accepts=(SupportCallStarted, SupportCallEnded),
        alone="call",
        attributes=call_attributes,
    ),
    **{name: import_module(name).CHAIN for name in packages()},
}


def queues() -> set[str]:
    """Every task queue that some chain needs."""
    return {
        queue
        for chain in CHAINS.values()
        for queue in (chain.queue, *(link.queue for link in chain.workflow.table.links))
    }


def outside() -> list[AcceptedType]:
    """The types of events that may come from outside, with what the database has to know of them."""
    return [
        AcceptedType(type_of(kind), name, starts=kind is chain.starts, status=kind.status, ends=kind.ends)
        for name, chain in CHAINS.items()
        for kind in chain.accepts
    ]
