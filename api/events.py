"""Any event over HTTP, as CloudEvents 1.0: one structured, one binary, or a batch; and the journal of any subject."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from api import problems
from api.auth import Shop
from api.body import JSON, media_type, parsed, read_body
from api.problems import Code, Flaw, Problem, Time, as_written, flaw_at, flaw_in, flawed, raises
from api.shared import Here, Shared
from api.stream import LIVE_OR_NOT, journal_of
from api.streams import stream_if_wanted
from chain.event import AnyEvent
from chain.subject import Identifier
from store.database import connected
from store.intake import NoRouteError, OtherChainError, OtherContentError, register
from workflows.chains import TYPES, accepted

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"

MAX_DEPTH = 100
"""Of `data`, as in event_outbox."""

_CE = "ce-"
_URI_REFERENCE = r"^([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+$"
_NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")


def _not_ours(source: str) -> str:
    if source.startswith("/lanka/"):
        raise PydanticCustomError("reserved_source", "one of our own")
    return source


def _routed(event_type: str) -> str:
    if not any(event_type == route.type for route in accepted()):
        raise PydanticCustomError("no_route", "no chain takes it")
    return event_type


def _storable(data: dict[str, Any]) -> dict[str, Any]:
    """PostgreSQL takes neither NUL, nor half a surrogate pair, nor infinity; Temporal's JSON is not deep."""
    level: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise PydanticCustomError("too_deep", "too deep")
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    text.encode()
    if _NUL.search(text):
        raise PydanticCustomError("nul", "it holds a NUL")
    return data


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


_EXAMPLE = {
    "examples": [
        {
            "specversion": "1.0",
            "id": "call-1.started",
            "source": "/pbx/kyiv",
            "type": "lanka.SupportCallStarted",
            "subject": "call-1",
            "data": {},
        }
    ]
}


class SentEvent(BaseModel, frozen=True, extra="forbid", json_schema_extra=_EXAMPLE):
    """A CloudEvent 1.0. Which `type` there is and what its `data` holds is said by the chains.

    Other attributes (extensions, `dataschema`) are refused: the journal would not keep them.
    """

    specversion: Annotated[Literal["1.0"], Code.UNSUPPORTED_SPECVERSION]
    id: Annotated[
        str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=problems.MAX_ATTRIBUTE), Code.INVALID_EVENT_ID
    ]
    source: Annotated[
        str,
        Field(pattern=_URI_REFERENCE, max_length=problems.MAX_ATTRIBUTE),
        AfterValidator(_not_ours),
        Code.INVALID_SOURCE,
    ]
    type: Annotated[str, AfterValidator(_routed)]
    subject: Identifier
    time: Annotated[Time | None, BeforeValidator(as_written), Field(description="default: now"), Code.INVALID_TIME] = (
        None
    )
    datacontenttype: Annotated[
        str,
        Field(pattern=r"^[Aa][Pp][Pp][Ll][Ii][Cc][Aa][Tt][Ii][Oo][Nn]/[Jj][Ss][Oo][Nn]\s*(;|$)"),
        Code.UNSUPPORTED_DATA,
    ] = JSON
    data: Annotated[
        dict[str, Any], BeforeValidator(lambda sent: {} if sent is None else sent), AfterValidator(_storable)
    ] = {}


class StoredEvent(BaseModel):
    """`duplicate`: this event was stored before; it is not delivered again. Other content under a known `source` and
    `id` is the problem `event_id_reused`; a `time` that is left out is not compared.
    """

    source: str
    id: str
    subject: str
    duplicate: bool


class Stored(BaseModel):
    events: list[StoredEvent]


_HEADERS = SentEvent.model_fields.keys() - {"data", "datacontenttype"}
_SENT = {"$ref": f"#/components/schemas/{SentEvent.__name__}"}

router = APIRouter(tags=["events"])


@router.post(
    "/events",
    status_code=202,
    response_description="Stored, all of them, and on their way along their chains.",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "`application/json` is the data of one event, whose attributes are headers: `ce-id`, ...",
            "content": {
                STRUCTURED: {"schema": _SENT},
                BATCH: {"schema": {"type": "array", "items": _SENT, "minItems": 1, "maxItems": problems.MAX_EVENTS}},
                JSON: {"schema": {"type": "object"}},
            },
        }
    },
)
@raises(Code.SUBJECT_OF_ANOTHER_CHAIN, Code.EVENT_ID_REUSED, Code.TOO_MANY_EVENTS, Code.NOT_AN_ARRAY, Code.BACKLOG_FULL)
@raises(*problems.codes_of(SentEvent), Code.NO_ROUTE, Code.RESERVED_SOURCE)
async def take_events(request: Request, here: Here, _: Shop) -> Stored:
    """Takes events of the types that chains take from outside: all of a batch, or none."""
    events = await _events(request)
    # What only follows does not make the backlog longer; it may even be what makes it shorter.
    if here.backlog.full and _begins(events) and not await here.intake.known(events):
        raise here.backlog.refusal()
    try:
        fresh = await _published(here, events)
    except OtherChainError as error:
        raise Problem(Code.SUBJECT_OF_ANOTHER_CHAIN, f"{error}.") from None
    except OtherContentError as error:
        raise Problem(Code.EVENT_ID_REUSED, f"{error}: send a new id.") from None
    here.wakeup.wake()
    here.backlog.add(sum(fresh))
    return Stored(
        events=[
            StoredEvent(source=event.source, id=event.id, subject=event.subject, duplicate=not new)
            for event, new in zip(events, fresh, strict=True)
        ]
    )


@router.get(
    "/events/{subject}",
    response_model=list[AnyEvent],
    responses=LIVE_OR_NOT,
    dependencies=[Depends(stream_if_wanted)],
)
@raises(Code.SUBJECT_NOT_FOUND)
async def read_events_of(
    request: Request,
    response: Response,
    caller: Shop,
    subject: Annotated[Identifier, Path(description="an order id, a call id, ...")],
) -> Sequence[AnyEvent] | Response:
    """The journal of the subject, oldest first, as CloudEvents 1.0; live with `Accept: text/event-stream`."""
    return await journal_of(request, response, caller, subject, unknown=Code.SUBJECT_NOT_FOUND)


def _begins(events: Sequence[SentEvent]) -> bool:
    starting = {route.type for route in accepted() if route.starts}
    return any(event.type in starting for event in events)


async def _events(request: Request) -> list[SentEvent]:
    """What was sent in whichever mode. Raises one problem of all that is wrong with it."""
    sent_as = media_type(request)
    if sent_as == JSON or (not sent_as and "ce-id" in request.headers):  # the official library names none
        return _good([_binary(request, await read_body(request))])
    if sent_as == STRUCTURED:
        return _good([_structured(parsed(await read_body(request)), ())])
    if sent_as == BATCH:
        batch = parsed(await read_body(request))
        if not isinstance(batch, list):
            raise flawed([flaw_at((), Code.NOT_AN_ARRAY)])
        if not 1 <= len(batch) <= problems.MAX_EVENTS:
            raise flawed([flaw_at((), Code.TOO_MANY_EVENTS)])
        return _once_each(_good([_structured(document, (nth,)) for nth, document in enumerate(batch)]))
    raise Problem(
        Code.UNSUPPORTED_MEDIA_TYPE,
        f"Send one event as {STRUCTURED}, many as {BATCH}, or the attributes in ce- headers and the data as {JSON}.",
    )


def _good(events: Sequence[SentEvent | list[Flaw]]) -> list[SentEvent]:
    good = [event for event in events if not isinstance(event, list)]
    if len(good) < len(events):
        raise flawed([flaw for event in events if isinstance(event, list) for flaw in event])
    return good


def _once_each(events: list[SentEvent]) -> list[SentEvent]:
    """What is told twice is told the same."""
    first: dict[tuple[str, str], SentEvent] = {}
    for nth, event in enumerate(events):
        if first.setdefault((event.source, event.id), event) != event:
            twice = "The events of a batch with one source and id have the same content."
            raise Problem(Code.EVENT_ID_REUSED, twice, errors=[flaw_at((nth, "id"), Code.EVENT_ID_REUSED)])
    return events


def _structured(document: Any, at: tuple[int, ...]) -> SentEvent | list[Flaw]:
    if isinstance(document, dict) and document.get("specversion", "1.0") != "1.0":  # which has other rules
        return [flaw_at((*at, "specversion"), Code.UNSUPPORTED_SPECVERSION)]
    return _checked(document, at)


def _binary(request: Request, body: bytes) -> SentEvent | list[Flaw]:
    """The attributes are headers, percent-encoded; the body is the data alone."""
    sent = [(name, value) for name, value in request.headers.items() if name.startswith(_CE)]
    times = Counter(name for name, _ in sent)
    if repeated := [name for name, number in times.items() if number > 1]:
        return [flaw_in(name, Code.REPEATED_FIELD) for name in repeated]
    if unknown := [name for name in times if name.removeprefix(_CE) not in _HEADERS]:
        return [flaw_in(name, Code.UNKNOWN_FIELD) for name in unknown]
    attributes = {name.removeprefix(_CE): unquote(value, errors="surrogateescape") for name, value in sent}
    data = parsed(body) if body else None
    if not sent and isinstance(data, dict) and "specversion" in data:
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, f"This is a whole CloudEvent: send it as {STRUCTURED}.")
    found = _checked(attributes | ({"data": data} if body else {}))
    return [_in_message(flaw) for flaw in found] if isinstance(found, list) else found


def _checked(sent: Any, at: tuple[int, ...] = ()) -> SentEvent | list[Flaw]:
    """The event, or what is wrong with its envelope or with the data that its type asks for."""
    model: type[BaseModel] = SentEvent
    try:
        event = SentEvent.model_validate(sent)
        envelope = event.model_dump(exclude={"datacontenttype"}) | {"time": event.time or datetime.now(UTC)}
        model = TYPES[event.type]
        data = model.model_validate(envelope).model_dump(mode="json")["data"]
    except ValidationError as error:
        return problems.in_body(error, model, at)
    return event.model_copy(update={"data": data})


def _in_message(flaw: Flaw) -> Flaw:
    """Where the flaw is in a message whose body is the data."""
    assert flaw.pointer, "it was found in a document"
    _, name, *inside = flaw.pointer.split("/")
    if name != "data":
        return flaw_in(f"{_CE}{name}", flaw.code)
    return flaw.model_copy(update={"pointer": "/".join(["#", *inside])})


async def _published(here: Shared, events: Sequence[SentEvent]) -> list[bool]:
    """Each of a type that this code has a chain for, which the database may not have heard of yet."""
    try:
        return await here.intake.publish(events, here.traceparent())
    except NoRouteError:
        async with connected(here.pool) as connection:
            await register(connection, accepted())
        return await here.intake.publish(events, here.traceparent())
