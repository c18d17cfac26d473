"""What an operator sees of one order: how it came to where it is, what is being tried, and where else to look."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

from api.at_links import SHOWN_AFTER, manner
from api.auth import Operator
from api.commands import Text
from api.orders import OrderAnswer, OrderId, refuse_repeated
from api.problems import Code, Problem, documented
from chain.event import AnyEvent, Event, source_of, type_of
from chain.table import (
    CART,
    FINALIZE,
    LATE_REFUND,
    ORDER_TABLE,
    PAYMENT,
    PRICE,
    REFUND,
    REJECT,
    RELEASE,
    SETTLEMENT,
    Link,
    in_order,
)
from dispatch.temporal import Temporal
from orders.events import (
    CartConfirmed,
    OrderParked,
    OrderReceived,
    PaymentArrivedLate,
    PaymentConfirmed,
    PaymentPending,
    PaymentRefunded,
    PriceConfirmed,
    StockReleased,
    StockReserved,
)
from store.journal import Journal
from store.operations import Carriage, Operations, ParkedOrder
from store.orders import Orders
from store.webhooks import REFUSALS
from workflows.whereabouts import stands_at

FOUND = 100
AT_ONCE = 10
"""Links at which one order may be parked, and more."""

TOO_LONG = "Failure exceeds size limit"
"""How the message begins that Temporal puts in the place of a failure that is too large for it."""

ANSWERED_WITHIN = 1.0
"""Seconds that Temporal gets to tell what it is trying; the page is shown without it."""

BACK = (RELEASE, REFUND, REJECT, LATE_REFUND)

State = Literal["ahead", "in_progress", "waiting", "parked", "done", "left_out"]


class Step(BaseModel):
    """The order at one link. `began`: when the event came that the link takes; `ended`: when it had made the next.

    `attempts` and `last_error` are those of what is being tried now, as Temporal tells them (in a batch: of the batch),
    or of the parking. Where it is done, `attempts` are those that it took if the first did not succeed.
    """

    link: str
    stage: str
    state: State
    began: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    attempts: int | None = None
    last_error: str | None = None


class OrderSeen(BaseModel):
    """`workflow_url` and `trace_url` are null where nobody has said where such pages are, or the order has none.

    `trace_id` is in the log lines about the order as well, also where its trace is not sampled and has no page.
    """

    order: OrderAnswer
    workflow_id: str | None
    workflow_url: str | None
    trace_id: str | None
    trace_url: str | None
    steps: list[Step]
    parked: list[ParkedOrder]
    events: list[AnyEvent]


class Sought(BaseModel):
    model_config = ConfigDict(extra="forbid")

    q: Text


class ExternalLinks:
    """Pages outside of Lanka. `trace_url` holds `{trace_id}`."""

    def __init__(self, temporal_ui: str | None, trace_url: str | None) -> None:
        self._temporal_ui = temporal_ui
        self._trace_url = trace_url
        self._namespace = ClientConfig.load_client_connect_config().get("namespace", "default")

    def history_of(self, workflow_id: str | None) -> str | None:
        if self._temporal_ui is None or workflow_id is None:
            return None
        return f"{self._temporal_ui.rstrip('/')}/namespaces/{self._namespace}/workflows/{quote(workflow_id, safe='')}"

    def trace_of(self, traceparent: str | None) -> str | None:
        trace_id, sampled = _parts(traceparent)
        if self._trace_url is None or trace_id is None or not sampled:
            return None
        return self._trace_url.replace("{trace_id}", trace_id)


class Trying(BaseModel):
    attempt: int
    last_error: str | None


router = APIRouter(prefix="/operations/orders", tags=["operations"])

_NOT_ALLOWED = (Code.API_KEY_MISSING, Code.API_KEY_INVALID, Code.OPERATOR_KEY_REQUIRED, Code.DATABASE_UNAVAILABLE)


@router.get(
    "",
    responses=documented(*_NOT_ALLOWED, Code.INVALID_TEXT, Code.UNKNOWN_PARAMETER, Code.REPEATED_PARAMETER),
)
async def find_orders(request: Request, _: Operator, sought: Annotated[Sought, Query()]) -> list[OrderAnswer]:
    """Orders with this order id, order number, customer or payment: the newest first, at most 100."""
    refuse_repeated(request)
    orders: Orders = request.state.orders
    return [OrderAnswer.about(order) for order in await orders.matching(sought.q.strip(), limit=FOUND)]


@router.get("/{order_id}", responses=documented(*_NOT_ALLOWED, Code.ORDER_NOT_FOUND, Code.INVALID_ID))
async def see_order(request: Request, _: Operator, order_id: OrderId) -> OrderSeen:
    """One order with its journal, where it stands at each link, and what is being tried now."""
    orders: Orders = request.state.orders
    operations: Operations = request.state.operations
    journal: Journal = request.state.journal
    elsewhere: ExternalLinks = request.state.elsewhere
    order, carriage = await orders.find(order_id), await operations.carriage(order_id)
    if order is None or carriage is None:
        raise Problem(Code.ORDER_NOT_FOUND)
    events = in_order(ORDER_TABLE, await journal.of(order_id))
    has_parked = any(event.type == type_of(OrderParked) for event in events)
    parked = await operations.parked(order_id=order_id, limit=AT_ONCE) if has_parked else []
    trying = {} if carriage.ended else await _tried(request.state.temporal, carriage.workflow_id)
    return OrderSeen(
        order=OrderAnswer.about(order),
        workflow_id=carriage.workflow_id,
        workflow_url=elsewhere.history_of(carriage.workflow_id),
        trace_id=_parts(carriage.traceparent)[0],
        trace_url=elsewhere.trace_of(carriage.traceparent),
        steps=steps(carriage, events, parked, trying),
        parked=parked,
        events=events,
    )


def steps(
    carriage: Carriage, events: Sequence[AnyEvent], parked: Sequence[ParkedOrder], trying: Mapping[str, Trying]
) -> list[Step]:
    """The order at each link that it has come to, or still may."""
    times = {event.type: event.time for event in reversed(events)}
    here = () if carriage.ended else stands_at(carriage.done, times)
    happened = [event.time for event in events] + [carriage.dispatched_at or events[0].time]
    moves = carriage.dispatched_at is not None and datetime.now(UTC) - max(happened) < SHOWN_AFTER
    refused = min((times[kind] for kind in REFUSALS if kind in times), default=None)
    parkings = {each.link: each for each in parked}
    seen: list[Step] = []
    for link, began in _begun(times, refused):
        made = [e for e in events if e.source == source_of(link.name) and e.type in map(type_of, link.makes)]
        step = Step(link=link.name, stage=link.queue, state="ahead", began=began)
        if parking := parkings.get(link.name):
            step.state, step.attempts, step.last_error = "parked", parking.attempts, parking.last_error
        elif made:
            step.state, step.ended, step.attempts = "done", made[0].time, carriage.done.get(link.name)
        elif link.name in here:
            step.state = manner(link.name, moves=moves)
            if tried := trying.get(link.consumer.__name__):
                step.attempts, step.last_error = tried.attempt, tried.last_error
        elif link in BACK and link.name in carriage.done:
            step.state = "done"  # there was nothing to give back, so nothing is told of it
            step.attempts = carriage.done[link.name]
        elif refused or carriage.ended:
            step.state = "left_out"
        seen.append(step)
    return seen


def _parts(traceparent: str | None) -> tuple[str | None, bool]:
    """The trace id, and whether it is sampled. W3C Trace Context: version, trace id, parent id, flags."""
    if traceparent is None:
        return None, False
    _, trace_id, _, flags = traceparent.split("-")[:4]
    return trace_id, bool(int(flags, 16) & 1)


def _begun(times: Mapping[str, datetime], refused: datetime | None) -> Iterator[tuple[Link, datetime | None]]:
    """The links that concern the order, and when the event came that each takes."""

    def told(*kinds: type[Event[Any]]) -> datetime | None:
        found = [times[type_of(kind)] for kind in kinds if type_of(kind) in times]
        return max(found) if len(found) == len(kinds) else None

    yield PAYMENT, told(OrderReceived)
    if pending := told(PaymentPending):
        yield SETTLEMENT, pending
    yield from ((link, told(PaymentConfirmed)) for link in (CART, PRICE))
    yield FINALIZE, told(CartConfirmed) or told(StockReserved, PriceConfirmed)
    if refused:
        yield from ((link, refused) for link in (RELEASE, REFUND))
        yield REJECT, told(StockReleased, PaymentRefunded) or told(StockReleased) or told(PaymentRefunded) or refused
    if late := told(PaymentArrivedLate):
        yield LATE_REFUND, late


async def _tried(temporal: Temporal, workflow_id: str | None) -> dict[str, Trying]:
    """By the name of the consumer, what Temporal tries and has failed at; nothing while Temporal is away."""
    tried: dict[str, Trying] = {}
    if workflow_id is None:
        return tried
    with suppress(TimeoutError, RPCError):
        async with asyncio.timeout(ANSWERED_WITHIN):
            client = await temporal.client()
            described = await client.get_workflow_handle(workflow_id).describe()
        for pending in described.raw_description.pending_activities:
            # Where a failure with all its traces was too long, Temporal keeps the words of its cause.
            cause = pending.last_failure.cause.message if pending.last_failure.message.startswith(TOO_LONG) else ""
            error = cause or pending.last_failure.message or None
            known = tried.get(pending.activity_type.name)
            if known is None or known.attempt < pending.attempt:
                tried[pending.activity_type.name] = Trying(attempt=pending.attempt, last_error=error)
    return tried
