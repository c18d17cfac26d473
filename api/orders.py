"""Orders over HTTP: submit one, cancel one, read one or many, read one's journal."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, NamedTuple

import structlog
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AliasChoices, BaseModel, Field, TypeAdapter

from api.auth import Anybody, Caller, Credentials, anybody
from api.body import Body
from api.chains import Spoken
from api.commands import Answer
from api.known_subject import known_by
from api.order_links import OrderLinks
from api.problems import MAX_PAGE, Code, Flaw, Problem, Text, flaw_at, flaw_in, flawed, raises, refuse_repeated
from api.shared import Here
from api.stream import LIVE_OR_NOT, journal_of, wants_stream
from chain.commands import Command
from chain.event import AnyEvent
from chain.subject import Identifier
from orders.money import CurrencyCode, written
from orders.order import MAX_LINES, MAX_TOTAL, Line, NewOrder, new_order_id
from orders.standing import KnownOrder
from orders.story import CustomerStep, Story, customer_steps, story
from orders.words import Status
from store.orders import KeyReused

_VISIBLE_ASCII = re.compile(r"[!-~]{1,255}")


_EXAMPLE = {
    "examples": [
        {
            "customer_id": "cus_42",
            "payment_id": "pay_7f3a",
            "currency": "EUR",
            "lines": [{"sku": "MUG", "quantity": 2, "unit_price": 1350}],
        }
    ]
}


class OrderRequest(BaseModel, frozen=True, extra="forbid", json_schema_extra=_EXAMPLE):
    """What the customer wants. `unit_price` is what the customer saw, in minor units; lines of one SKU are summed."""

    customer_id: Identifier
    payment_id: Identifier
    currency: CurrencyCode
    lines: Annotated[list[Line], Field(min_length=1, max_length=MAX_LINES)]

    def fingerprint(self) -> bytes:
        """The same for the same order, however its JSON was spaced and in whatever order its fields came."""
        return hashlib.sha256(self.model_dump_json().encode()).digest()

    def with_id(self, order_id: str) -> NewOrder:
        return NewOrder(order_id=order_id, total=self.total(), **dict(self))

    def total(self) -> int:
        return sum(line.quantity * line.unit_price for line in self.lines)


_left_out = Field(default=None, exclude_if=lambda link: link is None)


class Links(BaseModel):
    """Where to read on. `cancel` and `page` are for whoever the order belongs to.

    `page` is the order on the shop's page, for any device: whoever has this link may read the order, and no more. It
    is left out where `LANKA_LINK_SECRET` is not set.
    """

    self: str
    events: str
    cancel: str | None = _left_out
    page: str | None = _left_out

    @classmethod
    def to_read(cls, order_id: str) -> "Links":
        return cls(self=f"/orders/{order_id}", events=f"/orders/{order_id}/events")

    @classmethod
    def to(cls, order_id: str, signed: OrderLinks) -> "Links":
        reading = cls.to_read(order_id)
        return reading.model_copy(update={"cancel": f"{reading.self}/cancel", "page": signed.page(order_id)})


class AcceptedOrder(BaseModel):
    order_id: str
    status: Status = Status.RECEIVED
    links: Links


class OrderAnswer(KnownOrder):
    links: Links

    @classmethod
    def about(cls, order: KnownOrder, links: Links) -> "OrderAnswer":
        return cls.model_construct(links=links, **dict(order))


class ToldOrder(OrderAnswer):
    """What the order tells its customer, in the language of `Accept-Language`."""

    steps: list[CustomerStep]
    story: Story


class CancelRequest(BaseModel, frozen=True, extra="forbid"):
    """Why (older: `reason`), in words; it goes into the journal."""

    why: Annotated[Text, Field(validation_alias=AliasChoices("why", "reason"))] = "cancelled by the customer"


class OrderPage(BaseModel):
    """Newest first. `next_cursor` asks for the page after this one; null on the last."""

    orders: list[OrderAnswer]
    next_cursor: str | None


class Wanted(BaseModel, extra="forbid"):
    """Which orders to list."""

    status: Annotated[Status | None, Code.INVALID_STATUS] = None
    customer_id: Identifier | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE), Code.INVALID_LIMIT] = 50
    cursor: Annotated[str | None, Field(description="`next_cursor` of the page before"), Code.INVALID_CURSOR] = None


@raises(Code.IDEMPOTENCY_KEY_MISSING, Code.IDEMPOTENCY_KEY_INVALID)
async def idempotency_key(request: Request) -> str:
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        raise Problem(Code.IDEMPOTENCY_KEY_MISSING)
    if len(keys) > 1 or not _VISIBLE_ASCII.fullmatch(keys[0]):
        raise Problem(Code.IDEMPOTENCY_KEY_INVALID)
    return keys[0]


def explained(parsed: Any, flaws: Sequence[Flaw]) -> Sequence[Flaw]:
    """A line with a currency of its own has an unknown field; if it is another currency, that says more."""
    if not isinstance(parsed, dict) or not isinstance(parsed.get("lines"), list):
        return flaws
    of_lines = (line["currency"] for line in parsed["lines"] if isinstance(line, dict) and "currency" in line)
    currency = parsed.get("currency", next(of_lines, None))
    mixed = {
        flaw.pointer: flaw
        for nth, line in enumerate(parsed["lines"])
        if isinstance(line, dict) and "currency" in line and line["currency"] != currency
        for flaw in [flaw_at(("lines", nth, "currency"), Code.MIXED_CURRENCIES)]
    }
    explained_flaws = [mixed.get(flaw.pointer, flaw) for flaw in flaws]
    return sorted(
        explained_flaws, key=lambda flaw: flaw.code is not Code.MIXED_CURRENCIES
    )  # what says most comes first


OrderId = Annotated[Identifier, Path(description="the `order_id` of an accepted order")]


@raises(Code.ORDER_NOT_FOUND)
async def visible_order(here: Here, caller: Anybody, order_id: OrderId) -> str:
    if caller.customer_id:
        order = await here.orders.find(order_id)
        if order is None or _hidden(order, caller):
            raise Problem(Code.ORDER_NOT_FOUND)
    return order_id


def _hidden(order: KnownOrder, caller: Caller) -> bool:
    """For a customer, other customers' orders do not exist."""
    return caller.customer_id not in {None, order.customer_id}


def _only_own(caller: Caller, customer_id: str | None) -> str | None:
    """The customer whose orders the caller means."""
    if caller.customer_id and customer_id not in {caller.customer_id, None}:
        raise Problem(Code.OTHER_CUSTOMER)
    return caller.customer_id or customer_id


VisibleOrder = Annotated[str, Depends(visible_order)]

Signature = Annotated[
    str | None,
    Header(alias="Order-Signature", description="from the order's link (`links.page`): lets anybody read this order"),
]


class Reader(NamedTuple):
    """Whoever wants to read one order. `by_link`: may, whoever it is; `caller` is then None for a stranger."""

    caller: Caller | None
    by_link: bool

    def owns(self, order: KnownOrder) -> bool:
        return self.caller is not None and not _hidden(order, self.caller)

    def may_read(self, order: KnownOrder) -> bool:
        return self.by_link or self.owns(order)


@raises(Code.ORDER_NOT_FOUND, Code.API_KEY_MISSING, Code.API_KEY_INVALID, Code.DATABASE_UNAVAILABLE)
async def reader(
    request: Request, here: Here, credentials: Credentials, order_id: OrderId, signature: Signature = None
) -> Reader:
    by_link = signature is not None and here.order_links.allow(order_id, signature)
    try:
        return Reader(await anybody(request, here, credentials), by_link)
    except Problem as problem:
        if problem.code is not Code.API_KEY_MISSING or signature is None:
            raise
    if not by_link:
        raise Problem(Code.ORDER_NOT_FOUND)
    return Reader(None, by_link)


OrderReader = Annotated[Reader, Depends(reader)]


@raises(Code.ORDER_NOT_FOUND)
async def readable_order(here: Here, reader: OrderReader, order_id: OrderId) -> str:
    if not reader.by_link and reader.caller and reader.caller.customer_id:
        order = await here.orders.find(order_id)
        if order is None or not reader.may_read(order):
            raise Problem(Code.ORDER_NOT_FOUND)
    return order_id


ReadableOrder = Annotated[str, Depends(readable_order)]


@raises(Code.TOO_MANY_STREAMS)
async def one_stream(request: Request, here: Here, reader: OrderReader) -> AsyncIterator[None]:
    with here.streams.one_more(request, reader.caller) if wants_stream(request) else nullcontext():
        yield


router = APIRouter(tags=["orders"])

_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "A value of your own for each order: sent again, it gives the first answer again. "
    "It is taken as it is sent: capitals and every character count.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


@router.post(
    "/orders",
    status_code=202,
    response_model=AcceptedOrder,
    response_description="Accepted: stored, and on its way along the chain. "
    "`Idempotency-Replayed: true` when it had been accepted before.",
    openapi_extra={"parameters": [_KEY]},
    responses={
        202: {"headers": {name: {"schema": {"type": "string"}} for name in ("Location", "Idempotency-Replayed")}}
    },
)
@raises(Code.IDEMPOTENCY_KEY_REUSED, Code.OTHER_CUSTOMER, Code.MIXED_CURRENCIES, Code.BACKLOG_FULL)
@raises(Code.TOTAL_OUT_OF_RANGE)
async def submit_order(
    here: Here,
    caller: Anybody,
    key: Annotated[str, Depends(idempotency_key)],
    wanted: Annotated[OrderRequest, Depends(Body(OrderRequest, explained))],
) -> Response:
    """Accepts an order: it is stored, and confirmed or refused along its chain; `GET /orders/{id}` tells which."""
    _only_own(caller, wanted.customer_id)
    if wanted.total() > MAX_TOTAL:
        raise flawed([flaw_at(("lines",), Code.TOTAL_OUT_OF_RANGE)])
    fingerprint = wanted.fingerprint()
    try:
        if here.backlog.full:
            accepted = await here.orders.accepted_before(owner=caller.name, key=key, fingerprint=fingerprint)
        else:
            accepted = await here.orders.accept(
                wanted.with_id(new_order_id()),
                owner=caller.name,
                key=key,
                fingerprint=fingerprint,
                traceparent=here.traceparent(),
            )
    except KeyReused:
        raise Problem(Code.IDEMPOTENCY_KEY_REUSED) from None
    if accepted is None:
        raise here.backlog.refusal()
    if not accepted.replayed:
        here.backlog.add(1)
        here.wakeup.wake()
    structlog.contextvars.bind_contextvars(order_id=accepted.order_id)
    links = Links.to(accepted.order_id, here.order_links)
    headers = {"Location": links.self} | ({"Idempotency-Replayed": "true"} if accepted.replayed else {})
    answer = {"order_id": accepted.order_id, "status": Status.RECEIVED, "links": links.model_dump()}
    return JSONResponse(answer, 202, headers)


@router.get("/orders/{order_id}")
@raises(Code.ORDER_NOT_FOUND)
async def read_order(here: Here, reader: OrderReader, order_id: OrderId, language: Spoken) -> ToldOrder:
    """Where the order stands, and what it tells its customer."""
    whole = await here.orders.whole(order_id)
    if whole is None or not reader.may_read(whole.order):
        raise Problem(Code.ORDER_NOT_FOUND)
    order, carried, events = whole
    links = Links.to(order_id, here.order_links) if reader.owns(order) else Links.to_read(order_id)
    known = await known_by(here, order_id, carried, events)
    steps = known.steps(moves=True)  # for a customer only who waits for somebody outside waits
    return ToldOrder.model_construct(
        **dict(OrderAnswer.about(order, links)),
        steps=customer_steps(known.table, steps, language),
        story=story(known.table, known.events, steps, written(order.total, order.currency), language),
    )


@router.get("/orders")
@raises(Code.OTHER_CUSTOMER)
async def list_orders(request: Request, here: Here, caller: Anybody, wanted: Annotated[Wanted, Query()]) -> OrderPage:
    refuse_repeated(request)
    found = await here.orders.newest(
        status=wanted.status,
        customer_id=_only_own(caller, wanted.customer_id),
        before=_before(wanted.cursor) if wanted.cursor is not None else None,
        limit=wanted.limit + 1,
    )
    page = found[: wanted.limit]
    return OrderPage(
        orders=[OrderAnswer.about(order, Links.to(order.order_id, here.order_links)) for order in page],
        next_cursor=_cursor(page[-1].order_id) if len(found) > len(page) else None,
    )


@router.get(
    "/orders/{order_id}/events",
    response_model=list[AnyEvent],
    responses=LIVE_OR_NOT,
    dependencies=[Depends(one_stream)],
)
async def read_events(
    request: Request, response: Response, reader: OrderReader, order_id: ReadableOrder
) -> Sequence[AnyEvent] | Response:
    """The journal of the order, oldest first, as CloudEvents 1.0; live with `Accept: text/event-stream`.

    What exactly went wrong (`last_error`) is told to operators only; who decided, and in what words
    (`by`, `why`, `detail`), not to customers, but for what they have cancelled themselves.
    """
    return await journal_of(request, response, reader.caller, order_id, unknown=Code.ORDER_NOT_FOUND)


@router.post(
    "/orders/{order_id}/cancel",
    response_description="`cancelled`: what was done for the order is undone. `too_late`: its finalisation had begun, "
    "or it had ended. `already_cancelled`: the answer of an earlier cancel.",
)
@raises(Code.NOT_DECIDED)
async def cancel_order(
    here: Here,
    caller: Anybody,
    order_id: VisibleOrder,
    wanted: Annotated[CancelRequest, Depends(Body(CancelRequest, optional=True))],
) -> Answer:
    """Decided once, by the workflow."""
    return Answer(verdict=await here.commands.cancel(Command(subject=order_id, by=caller.name, why=wanted.why)))


_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


def _cursor(order_id: str) -> str:
    return base64.urlsafe_b64encode(order_id.encode()).decode().rstrip("=")


def _before(cursor: str) -> str:
    try:
        order_id = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        return _IDENTIFIER.validate_python(order_id)
    except ValueError:  # it is no base64, no UTF-8, or no id
        raise flawed([flaw_in("cursor", Code.INVALID_CURSOR)]) from None
