"""What the API says is wrong: RFC 9457 problems with a stable `code`.

A chain brings codes of its own as an enum of `ProblemCode`. Its models say which fields mean which code, as ours do:
`Annotated[int, Field(ge=1), ParcelCode.TOO_LIGHT]`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import quote

from pydantic import AfterValidator, AliasChoices, AwareDatetime, BaseModel, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from starlette.requests import Request

from chain.problems import ProblemCode
from orders.money import MAX_UNIT_PRICE
from orders.order import MAX_LINES, MAX_QUANTITY, MAX_TOTAL

MAX_ON_HAND = 10**12
MAX_NAME = 200
MAX_PAGE = 100
MAX_TEXT = 500
MAX_RELEASE, MIN_RATE, MAX_RATE = 1000, 0.01, 1000
MAX_DRILL = 500
MAX_ATTRIBUTE = 255  # source and id together must fit into an index of PostgreSQL
MAX_EVENTS = 100
MAX_HOURS = 24 * 366


class Code(ProblemCode):
    """Those of the API itself, and of orders."""

    API_KEY_MISSING = "api_key_missing", 401, "Send the header 'Authorization: Bearer <API key>'."
    API_KEY_INVALID = "api_key_invalid", 401, "The API key is unknown or revoked; send another one."
    SHOP_KEY_REQUIRED = "shop_key_required", 403, "Only an API key may do this, not a customer's session."
    OPERATOR_KEY_REQUIRED = "operator_key_required", 403, "Only an operator's API key may do this."
    CUSTOMER_SESSION_REQUIRED = "customer_session_required", 403, "Only a customer at the shop's page may do this."
    OTHER_CUSTOMER = "other_customer", 403, "A customer's session is for that customer's orders only."
    OTHER_ORIGIN = "other_origin", 403, "With a session, send changes from a page of this origin only."

    WEBHOOK_UNREADABLE = "webhook_unreadable", 422, "Send a webhook that names a payment."
    WEBHOOK_SIGNATURE_INVALID = "webhook_signature_invalid", 401, "Sign with the shared secret and the time of now."

    NOT_FOUND = "not_found", 404, "There is nothing at this path; /docs lists what there is."
    ORDER_NOT_FOUND = "order_not_found", 404, "There is no order with this id; check the id."
    CHAIN_NOT_FOUND = "chain_not_found", 404, "There is no chain of this name; GET /chains lists them."
    SUBJECT_NOT_FOUND = "subject_not_found", 404, "Nothing is known of this subject; check the id."
    PROVIDER_NOT_FOUND = "provider_not_found", 404, "There is no payment provider of this name here; check the URL."
    NO_SANDBOX = "no_sandbox", 404, "There is no sandbox payment provider here: LANKA_PAYMENTS_URL names one."
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "Use one of the methods in the header Allow."
    STOCK_RESERVED = "stock_reserved", 409, "Orders hold more than this; set on_hand to at least what is reserved."

    NOTHING_TO_SELL = "nothing_to_sell", 409, "The catalogue has nothing in stock; `lanka seed` fills it."
    DRILL_UNDER_WAY = "drill_under_way", 409, "Sample orders are still being sent; wait until they are."

    EVENT_ID_REUSED = "event_id_reused", 409, "It was sent with other content; send a new id, or what was sent before."
    SUBJECT_OF_ANOTHER_CHAIN = "subject_of_another_chain", 409, "Its subject is in another chain; check both."

    BODY_TOO_LARGE = "body_too_large", 413, "Send a smaller body."
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415, "Send JSON with 'Content-Type: application/json'."
    MALFORMED_JSON = "malformed_json", 400, "Send one valid JSON document (RFC 8259) in UTF-8."

    IDEMPOTENCY_KEY_MISSING = "idempotency_key_missing", 400, "Send Idempotency-Key, a new UUID for each order."
    IDEMPOTENCY_KEY_INVALID = "idempotency_key_invalid", 400, "Send 1 to 255 visible ASCII characters, once."
    IDEMPOTENCY_KEY_REUSED = "idempotency_key_reused", 422, "It was sent with something else; send a new key."

    UNKNOWN_FIELD = "unknown_field", 422, "Remove the field: it has no meaning here."
    REPEATED_FIELD = "repeated_field", 422, "Send each field once."
    MISSING_FIELD = "missing_field", 422, "Add the field: it is required."
    NOT_AN_OBJECT = "not_an_object", 422, "Send a JSON object."
    NOT_AN_ARRAY = "not_an_array", 422, "Send a JSON array."
    NOT_A_STRING = "not_a_string", 422, "Send a JSON string."
    NOT_AN_INTEGER = "not_an_integer", 422, "Send a whole JSON number, without quotes, fraction or exponent."
    NO_LINES = "no_lines", 422, "Send at least one line."
    TOO_MANY_LINES = "too_many_lines", 422, f"Send at most {MAX_LINES} lines; split a larger order."
    QUANTITY_OUT_OF_RANGE = "quantity_out_of_range", 422, f"Send a quantity from 1 to {MAX_QUANTITY}."
    UNIT_PRICE_OUT_OF_RANGE = "unit_price_out_of_range", 422, f"Send 1 to {MAX_UNIT_PRICE}, in minor units."
    ON_HAND_OUT_OF_RANGE = "on_hand_out_of_range", 422, f"Send a number from 0 to {MAX_ON_HAND}."
    UNKNOWN_CURRENCY = "unknown_currency", 422, "Send an ISO 4217 code in capitals, such as EUR."
    MIXED_CURRENCIES = "mixed_currencies", 422, "An order has one currency, named once beside its lines."
    INVALID_NAME = "invalid_name", 422, f"Send 1 to {MAX_NAME} characters, none of them a control character."
    INVALID_STATUS = "invalid_status", 422, "Send one of the statuses that /docs lists."
    INVALID_LINK = "invalid_link", 422, "Send the name of a link; GET /chains/{name} lists them."
    INVALID_STAGE = "invalid_stage", 422, "Send the task queue of a link; GET /chains/{name} lists them."
    INVALID_TEXT = "invalid_text", 422, f"Send 1 to {MAX_TEXT} characters, none of them a control character."
    INVALID_RATE = "invalid_rate", 422, f"Send a number from {MIN_RATE} (one in 100 s) to {MAX_RATE}."
    INVALID_LIMIT = (
        "invalid_limit",
        422,
        f"Send a whole number from 1 to {MAX_PAGE}; under /operations to {MAX_RELEASE}.",
    )
    INVALID_STATE = "invalid_state", 422, "Send waiting, in_progress or parked."
    INVALID_FORMAT = "invalid_format", 422, "Send json or csv."
    INVALID_FAULTS = "invalid_faults", 422, "Send true or false for down, 0 to 600000 ms, and rates from 0 to 1."
    INVALID_NUMBER = "invalid_number", 422, f"Send a whole number from 1 to {MAX_DRILL}."
    INVALID_WINDOW = "invalid_window", 422, f"Send hours from 1 to {MAX_HOURS}, or from and to (RFC 3339 with offset)."
    INVALID_CURSOR = "invalid_cursor", 422, "Send the next_cursor of an earlier answer, unchanged."
    TOTAL_OUT_OF_RANGE = "total_out_of_range", 422, f"Split the order: its total may be at most {MAX_TOTAL}."
    NO_ROUTE = "no_route", 422, "No chain takes events of this type by POST /events; orders are sent by POST /orders."
    RESERVED_SOURCE = "reserved_source", 422, "Sources that begin with /lanka/ are our own; send another one."
    UNSUPPORTED_SPECVERSION = "unsupported_specversion", 422, "Send CloudEvents of version 1.0."
    UNSUPPORTED_DATA = "unsupported_data", 422, "Send data of the media type application/json, or name none."
    INVALID_SOURCE = "invalid_source", 422, f"Send a URI reference (RFC 3986) of 1 to {MAX_ATTRIBUTE} characters."
    INVALID_EVENT_ID = "invalid_event_id", 422, f"Send 1 to {MAX_ATTRIBUTE} characters, no control character."
    INVALID_TIME = "invalid_time", 422, "Send a time as RFC 3339 says, with its offset, from 1970 to 9998."
    TOO_MANY_EVENTS = "too_many_events", 422, f"Send 1 to {MAX_EVENTS} events."
    UNKNOWN_PARAMETER = "unknown_parameter", 422, "Remove the query parameter: it has no meaning here."
    REPEATED_PARAMETER = "repeated_parameter", 422, "Send each query parameter once."
    INVALID_VALUE = "invalid_value", 422, "Send a value that /docs describes."

    PAYMENT_UNKNOWN = "payment_unknown", 409, "The provider does not know this order's payment; no bank can decide it."
    PAYMENT_DECIDED = "payment_decided", 409, "The bank has decided already; read what became of the order."

    TOO_MANY_STREAMS = "too_many_streams", 429, "Close a stream, or share one; then try again after Retry-After."
    TOO_MANY_CONNECTIONS = "too_many_connections", 429, "Use the connections that you have, or fewer."
    CONNECTIONS_FULL = "connections_full", 503, "All connections are taken; come again after Retry-After."
    REQUEST_TOO_SLOW = "request_too_slow", 408, "Send the whole request at once; it was not whole in time."
    URL_TOO_LONG = "url_too_long", 414, "Send a shorter URL."
    HEADERS_TOO_LARGE = "headers_too_large", 431, "Send fewer and shorter headers."
    METHOD_UNKNOWN = "method_unknown", 501, "Use a method of HTTP; /docs lists those of each path."
    BAD_REQUEST = "bad_request", 400, "The request could not be understood; compare it with /docs."
    INTERNAL_ERROR = "internal_error", 500, "This is our mistake, and it is logged. The same request may be sent again."
    ONLY_RELEASED = "only_released", 409, "What is parked on its way back can only be released."
    NOT_DECIDED = "not_decided", 503, "Nobody decided in time. It may still take effect; ask again after Retry-After."
    BACKLOG_FULL = "backlog_full", 503, "Too much waits to be worked on; send it again after Retry-After."
    PAYMENTS_UNAVAILABLE = "payments_unavailable", 503, "The provider is away; send it again after Retry-After."
    PAYMENTS_NOT_CONFIGURED = "payments_not_configured", 503, "There is no sandbox: set LANKA_PAYMENTS_URL."
    DATABASE_UNAVAILABLE = "database_unavailable", 503, "Nothing is lost: send it again after Retry-After."
    DATABASE_NOT_MIGRATED = "database_not_migrated", 503, "The database lacks our tables: run `lanka migrate`."
    CLOCKS_DISAGREE = "clocks_disagree", 503, "The clocks of this host and of PostgreSQL disagree: set them by NTP."


Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=MAX_TEXT), Code.INVALID_TEXT]
Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=MAX_NAME), Code.INVALID_NAME]
PerSecond = Annotated[float, Field(strict=True, ge=MIN_RATE, le=MAX_RATE, allow_inf_nan=False), Code.INVALID_RATE]


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def as_written(time: object) -> object:
    """As RFC 3339 writes it, not the Unix time that pydantic would take as well."""
    if not isinstance(time, datetime) and not (isinstance(time, str) and _RFC3339.fullmatch(time)):
        raise ValueError("no time of RFC 3339")
    return time


def _in_range(time: datetime) -> datetime:
    if not EARLIEST <= time < LATEST:
        raise ValueError("out of range")
    return time


EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
Time = Annotated[AwareDatetime, BeforeValidator(as_written), AfterValidator(_in_range), Code.INVALID_TIME]


class Flaw(BaseModel):
    """One thing that is wrong. `pointer` is a JSON pointer (RFC 6901) into the body, as a URI fragment."""

    code: ProblemCode
    detail: str
    pointer: str | None = None
    parameter: str | None = None


class ProblemDetails(BaseModel):
    """RFC 9457 problem details. Rely on `code`; the texts may change."""

    type: str
    title: str
    status: int
    detail: str
    code: ProblemCode
    errors: Sequence[Flaw] | None = None


class Problem(Exception):
    """Ends a request with this answer."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str | None = None,
        *,
        errors: Sequence[Flaw] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail or code.advice
        self.errors = errors
        self.headers = headers


F = TypeVar("F", bound=Callable[..., Any])


def raises(*codes: ProblemCode) -> Callable[[F], F]:
    """Says with which problems a route, or something that a route depends on, may end a request (see `api.openapi`)."""

    def marked(call: F) -> F:
        call.raises = (*codes, *getattr(call, "raises", ()))  # type: ignore[attr-defined]
        return call

    return marked


def flawed(errors: Sequence[Flaw]) -> Problem:
    """One problem of all that is wrong; its code is that of the first flaw."""
    errors = [*{(each.pointer, each.parameter, each.code): each for each in errors}.values()]  # two may read one id
    first = errors[0]
    others = f" {len(errors) - 1} more in errors." if len(errors) > 1 else ""
    where = first.pointer or first.parameter
    return Problem(first.code, f"{f'{where}: ' if where else ''}{first.detail}{others}", errors=errors)


def refuse_repeated(request: Request) -> None:
    """Raises the problem `repeated_parameter`: FastAPI would take the last of two."""
    names = Counter(name for name, _ in request.query_params.multi_items())
    if twice := next((name for name, times in names.items() if times > 1), None):
        raise flawed([flaw_in(twice, Code.REPEATED_PARAMETER)])


# ---- what pydantic found wrong, in our codes ---------------------------------------------------------------------

_BY_TYPE = {
    "extra_forbidden": Code.UNKNOWN_FIELD,
    "missing": Code.MISSING_FIELD,
    "model_type": Code.NOT_AN_OBJECT,
    "list_type": Code.NOT_AN_ARRAY,
    "string_type": Code.NOT_A_STRING,
    "int_type": Code.NOT_AN_INTEGER,
    "dict_type": Code.NOT_AN_OBJECT,
    "no_route": Code.NO_ROUTE,
    "reserved_source": Code.RESERVED_SOURCE,
}
_BY_SIZE = {
    ("lines", "too_short"): Code.NO_LINES,
    ("lines", "too_long"): Code.TOO_MANY_LINES,
}
_NAMES = {
    Code.UNKNOWN_CURRENCY: "currency",
    Code.QUANTITY_OUT_OF_RANGE: "quantity",
    Code.UNIT_PRICE_OUT_OF_RANGE: "unit_price",
}
_BY_NAME: Mapping[str, ProblemCode] = {name: code for code, names in _NAMES.items() for name in names.split()}
"""What the language of the shop, which knows of no problems, does not declare."""

_OF_TYPES = {"integer": Code.NOT_AN_INTEGER, "string": Code.NOT_A_STRING, "array": Code.NOT_AN_ARRAY}
_OF_BODIES = (
    Code.MALFORMED_JSON,
    Code.BODY_TOO_LARGE,
    Code.UNSUPPORTED_MEDIA_TYPE,
    Code.UNKNOWN_FIELD,
    Code.REPEATED_FIELD,
    Code.NOT_AN_OBJECT,
)

Location = Sequence[str | int]


def codes_of(model: type[BaseModel]) -> set[ProblemCode]:
    """What may be wrong with a body that is read as `model`."""
    schema = model.model_json_schema()
    by_field = codes_by_field(model)
    found: set[ProblemCode] = set(_OF_BODIES)
    for part in (schema, *schema.get("$defs", {}).values()):
        found |= {Code.MISSING_FIELD} if part.get("required") else set()
        for name, field in part.get("properties", {}).items():
            kinds = {each.get("type") for each in (field, *field.get("anyOf", []))}
            found |= {by_field.get(name, Code.INVALID_VALUE), *(_OF_TYPES[kind] for kind in kinds & _OF_TYPES.keys())}
            found |= {code for (named, _), code in _BY_SIZE.items() if named == name}
    return found


@cache
def codes_by_field(model: type[BaseModel]) -> Mapping[str, ProblemCode]:
    """The code of each field that has one, of the model and of those in it, by the names that a client may use."""
    found: dict[str, ProblemCode] = {}
    models = [model]
    for each in models:  # which grows meanwhile
        for name, field in each.model_fields.items():
            alias = field.validation_alias or name
            for named in alias.choices if isinstance(alias, AliasChoices) else [alias]:
                if code := code_of(str(named), field):
                    found[str(named)] = code
            within = (part for part in _parts(field.annotation) if isinstance(part, type))
            models += [part for part in within if issubclass(part, BaseModel) and part not in models]
    return found


def code_of(name: str, field: FieldInfo) -> ProblemCode | None:
    """The code that the field declares; one of a part of it, such as the items of a list, is the last to be asked."""
    declared = (part for part in (*field.metadata, *_parts(field.annotation)) if isinstance(part, ProblemCode))
    return next(declared, None) or _BY_NAME.get(name)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from _parts(inner)


def in_body(error: ValidationError, model: type[BaseModel], at: Location = ()) -> list[Flaw]:
    """What is wrong with what was read as `model`. `at`: its place within the body."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    by_field = codes_by_field(model)
    return [flaw_at((*at, *each["loc"]), _code(each["type"], each["loc"], by_field)) for each in found]


def in_parameter(kind: str, location: Location, by_field: Mapping[str, ProblemCode]) -> Flaw:
    code = Code.UNKNOWN_PARAMETER if kind == "extra_forbidden" else _code("", location, by_field)
    return flaw_in(str(location[-1]), code)


def flaw_at(location: Location, code: ProblemCode) -> Flaw:
    """A flaw at this place of the body."""
    # A field name is the client's: it may hold control characters, or half a surrogate pair.
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in location)
    pointer = "#" + "".join("/" + quote(part, safe="~", errors="replace") for part in escaped)
    return Flaw(code=code, detail=code.advice, pointer=pointer)


def flaw_in(parameter: str, code: ProblemCode) -> Flaw:
    """A flaw of a parameter of the path or the query, or of a header."""
    return Flaw(code=code, detail=code.advice, parameter=parameter)


def _code(kind: str, location: Location, by_field: Mapping[str, ProblemCode]) -> ProblemCode:
    name = next((part for part in reversed(location) if isinstance(part, str)), "")
    return _BY_TYPE.get(kind) or _BY_SIZE.get((name, kind)) or by_field.get(name) or Code.INVALID_VALUE
