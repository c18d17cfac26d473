"""Any event over HTTP, as CloudEvents 1.0: one structured, one binary, or a batch; and the journal of any subject."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from fastapi import APIRouter, Path, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from api.auth import Shop
from api.backlog import Backlog
from api.body import JSON, parsed, read_body
from api.problems import (
    MAX_ATTRIBUTE,
    MAX_EVENTS,
    WITH_KEY,
    Code,
    Flaw,
    Problem,
    codes_of,
    documented,
    flaw_at,
    flawed,
    in_body,
)
from api.stream import documented_stream, journal_of
from chain.event import AnyEvent
from dispatch.dispatcher import Wakeup
from orders.order import Identifier
from store.database import connected
from store.intake import Intake, NoRouteError, OtherChainError, register
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


class SentEvent(BaseModel):
    """A CloudEvent 1.0. Which `type` there is and what its `data` holds is said by the chains.

    Other attributes (extensions, `dataschema`) are refused: the journal would not keep them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    specversion: Literal["1.0"]
    id: Annotated[str, Field(pattern=r"^\P{Cc}+$", max_length=MAX_ATTRIBUTE)]
    source: Annotated[str, Field(pattern=_URI_REFERENCE, max_length=MAX_ATTRIBUTE), AfterValidator(_not_ours)]
    type: Annotated[str, AfterValidator(_routed)]
    subject: Identifier
    time: Annotated[
        AwareDatetime | None,
        Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9999, 1, 1, tzinfo=UTC), description="default: now"),
    ] = None
    datacontenttype: Annotated[str, Field(pattern=r"^(?i:application/json)\s*(;|$)")] = JSON
    data: Annotated[dict[str, Any], AfterValidator(_storable)] = {}


class StoredEvent(BaseModel):
    """`duplicate`: an event of this `source` and `id` was stored before; it is not delivered again."""

    source: str
    id: str
    subject: str
    duplicate: bool


class Stored(BaseModel):
    events: list[StoredEvent]


class _AsSent(CloudEvent):
    """What the library reads, as it was sent: it would make up an id that is missing, and the version."""

    def __init__(self, attributes: dict[str, Any], data: dict[str, Any] | str | bytes | None = None) -> None:
        self._attributes = attributes
        self._data = data


_HEADERS = SentEvent.model_fields.keys() - {"data", "datacontenttype"}
_SENT = {"$ref": f"#/components/schemas/{SentEvent.__name__}"}

router = APIRouter(tags=["events"])


@router.post(
    "/events",
    status_code=202,
    response_description="Stored, all of them, and on their way along their chains.",
    responses=documented(
        *WITH_KEY,
        *sorted(codes_of(SentEvent)),
        Code.SHOP_KEY_REQUIRED,
        Code.SUBJECT_OF_ANOTHER_CHAIN,
        Code.NO_ROUTE,
        Code.RESERVED_SOURCE,
        Code.TOO_MANY_EVENTS,
        Code.NOT_AN_ARRAY,
        Code.BACKLOG_FULL,
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "`application/json` is the data of one event, whose attributes are headers: `ce-id`, ...",
            "content": {
                STRUCTURED: {"schema": _SENT},
                BATCH: {"schema": {"type": "array", "items": _SENT, "minItems": 1, "maxItems": MAX_EVENTS}},
                JSON: {"schema": {"type": "object"}},
            },
        }
    },
)
async def take_events(request: Request, _: Shop) -> Stored:
    wakeup: Wakeup = request.state.wakeup
    backlog: Backlog = request.state.backlog
    intake: Intake = request.state.intake
    events = await _events(request)
    # What only follows does not make the backlog longer; it may even be what makes it shorter.
    if backlog.full and _begins(events) and not await intake.known(events):
        raise backlog.refusal()
    try:
        fresh = await _published(request, events)
    except OtherChainError as error:
        raise Problem(Code.SUBJECT_OF_ANOTHER_CHAIN, f"{error}.") from None
    wakeup.wake()
    backlog.add(sum(fresh))
    return Stored(
        events=[
            StoredEvent(source=event.source, id=event.id, subject=event.subject, duplicate=not new)
            for event, new in zip(events, fresh, strict=True)
        ]
    )


@router.get(
    "/events/{subject}",
    response_model=list[AnyEvent],
    responses=documented_stream()
    | documented(*WITH_KEY, Code.SHOP_KEY_REQUIRED, Code.SUBJECT_NOT_FOUND, Code.INVALID_ID),
)
async def read_events_of(
    request: Request,
    response: Response,
    _: Shop,
    subject: Annotated[Identifier, Path(description="an order id, a call id, ...")],
) -> Sequence[AnyEvent] | Response:
    """The journal of the subject, oldest first, as CloudEvents 1.0; live with `Accept: text/event-stream`."""
    return await journal_of(request, response, subject, unknown=Code.SUBJECT_NOT_FOUND)


def _begins(events: Sequence[AnyEvent]) -> bool:
    starting = {route.type for route in accepted() if route.starts}
    return any(event.type in starting for event in events)


async def _events(request: Request) -> list[AnyEvent]:
    """What was sent in whichever mode. Raises one problem of all that is wrong with it."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == JSON or (not media_type and "ce-id" in request.headers):  # the official library names none
        return _good([_binary(request, await read_body(request))])
    if media_type == STRUCTURED:
        return _good([_structured(parsed(await read_body(request)), ())])
    if media_type == BATCH:
        batch = parsed(await read_body(request))
        if not isinstance(batch, list):
            raise flawed([flaw_at((), Code.NOT_AN_ARRAY)])
        if not 1 <= len(batch) <= MAX_EVENTS:
            raise flawed([flaw_at((), Code.TOO_MANY_EVENTS)])
        return _good([_structured(document, (nth,)) for nth, document in enumerate(batch)])
    raise Problem(
        Code.UNSUPPORTED_MEDIA_TYPE,
        f"Send one event as {STRUCTURED}, many as {BATCH}, or the attributes in ce- headers and the data as {JSON}.",
    )


def _good(events: Sequence[AnyEvent | list[Flaw]]) -> list[AnyEvent]:
    good = [event for event in events if not isinstance(event, list)]
    if len(good) < len(events):
        raise flawed([flaw for event in events if isinstance(event, list) for flaw in event])
    return good


def _structured(document: Any, at: tuple[int, ...]) -> AnyEvent | list[Flaw]:
    if not isinstance(document, dict):
        return [flaw_at(at, Code.NOT_AN_OBJECT)]
    if "data_base64" in document:  # the library would read it as bytes
        return [flaw_at((*at, "data_base64"), Code.UNKNOWN_FIELD)]
    if document.get("specversion", "1.0") != "1.0":  # the library would read 0.3 by other rules
        return [flaw_at((*at, "specversion"), Code.UNSUPPORTED_SPECVERSION)]
    try:
        event = JSONFormat().read(_AsSent, json.dumps(document))
    except RecursionError:
        raise Problem(Code.MALFORMED_JSON, "Too many arrays or objects inside each other.") from None
    except (TypeError, ValueError, OverflowError):  # the one attribute that the library looks into
        return [flaw_at((*at, "time"), Code.INVALID_TIME)]
    try:
        return _checked(event)
    except ValidationError as error:
        return in_body({**found, "loc": (*at, *found["loc"])} for found in _errors(error))


def _binary(request: Request, body: bytes) -> AnyEvent | list[Flaw]:
    """The attributes are headers; the body is the data alone."""
    sent = [(name, value) for name, value in request.headers.items() if name.startswith(_CE)]
    headers = dict(sent)
    if repeated := [name for name in headers if [other for other, _ in sent].count(name) > 1]:
        return [_in_header(name, Code.REPEATED_FIELD) for name in repeated]
    if unknown := [name for name in headers if name.removeprefix(_CE) not in _HEADERS]:
        return [_in_header(name, Code.UNKNOWN_FIELD) for name in unknown]
    if body:
        parsed(body)  # more strictly than the library does
    try:
        event = from_binary(HTTPMessage({**headers, "content-type": JSON}, body), JSONFormat(), _AsSent)
    except (TypeError, ValueError, OverflowError):
        return [_in_header(f"{_CE}time", Code.INVALID_TIME)]
    try:
        return _checked(event)
    except ValidationError as error:
        return [_in_message(found) for found in _errors(error)]


def _checked(event: BaseCloudEvent) -> AnyEvent:
    """Raises pydantic's error, of the envelope or of the data that the type asks for."""
    data = event.get_data()
    sent = SentEvent.model_validate(event.get_attributes() | ({} if data is None else {"data": data}))
    envelope = sent.model_dump(exclude={"datacontenttype"}) | {"time": sent.time or datetime.now(UTC)}
    known = TYPES[sent.type].model_validate(envelope)
    return AnyEvent.model_validate(envelope | {"data": known.model_dump(mode="json")["data"]})


def _errors(error: ValidationError) -> Sequence[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)


def _in_message(error: ErrorDetails) -> Flaw:
    name, *rest = error["loc"]
    (flaw,) = in_body([{**error, "loc": rest if name == "data" else error["loc"]}])
    return flaw if name == "data" else _in_header(f"{_CE}{name}", flaw.code)


def _in_header(name: str, code: Code) -> Flaw:
    return Flaw(code=code, detail=code.advice, parameter=name)


async def _published(request: Request, events: Sequence[AnyEvent]) -> list[bool]:
    """Each of a type that this code has a chain for, which the database may not have heard of yet."""
    intake: Intake = request.state.intake
    traceparent = request.state.traceparent()
    try:
        return await intake.publish(events, traceparent)
    except NoRouteError:
        async with connected(request.state.pool) as connection:
            await register(connection, accepted())
        return await intake.publish(events, traceparent)
