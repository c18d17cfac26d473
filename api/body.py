"""Request bodies: JSON, read strictly. Nothing is guessed and nothing is silently dropped.

FastAPI would read the body before it asks who is calling, take the last of two fields of one name, and answer 413 in
plain text; so a route declares its body as `Annotated[Model, Depends(Body(Model))]`.
"""

import codecs
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from api.problems import Code, Flaw, Location, Problem, codes_of, flaw_at, flawed, in_body
from api.shared import shared_by

JSON = "application/json"

M = TypeVar("M", bound=BaseModel)

Explain = Callable[[Any, Sequence[Flaw]], Sequence[Flaw]]


class Body(Generic[M]):
    """The dependency that reads one body as `model`. `explain` may say better what is wrong with a parsed body.

    `optional`: a request without a body means the model with nothing but defaults.
    """

    def __init__(self, model: type[M], explain: Explain = lambda _, flaws: flaws, *, optional: bool = False) -> None:
        self.model = model
        self.optional = optional
        self.raises = codes_of(model)
        self._explain = explain

    async def __call__(self, request: Request) -> M:
        if self.optional and not _has_body(request):
            return self.model()
        if media_type(request) != JSON:
            raise Problem(Code.UNSUPPORTED_MEDIA_TYPE)
        content = parsed(await read_body(request))
        try:
            return self.model.model_validate(content)
        except ValidationError as error:
            raise flawed(self._explain(content, in_body(error, self.model))) from None


async def read_body(request: Request) -> bytes:
    """The body as it is; one that is too large is refused as early as possible."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send the body as it is, without a Content-Encoding.")
    limit = (await shared_by(request)).max_body_bytes
    # Without `Connection: close`: closed with the rest of the body unread, it would be reset under the client's answer.
    too_large = Problem(Code.BODY_TOO_LARGE, f"Send at most {limit} bytes.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


def parsed(body: bytes) -> Any:
    """The JSON document in a body. Raises problems."""
    repeated: list[tuple[dict[str, Any], str]] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            repeated.append((fields, name))
        return fields

    if body.startswith(codecs.BOM_UTF8):
        raise Problem(Code.MALFORMED_JSON, "Send the body without a byte order mark at its beginning.")
    try:
        document = json.loads(body.decode(), object_pairs_hook=once, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise Problem(Code.MALFORMED_JSON, f"{error.msg} at line {error.lineno}, column {error.colno}.") from None
    except UnicodeDecodeError:
        raise Problem(Code.MALFORMED_JSON, "The body is not UTF-8.") from None
    except ValueError:
        raise Problem(Code.MALFORMED_JSON, "A number has too many digits, or is none (NaN, Infinity).") from None
    except RecursionError:
        raise Problem(Code.MALFORMED_JSON, "Too many arrays or objects inside each other.") from None
    if repeated:
        # The last one found is the outermost: an inner one may have been dropped with what it stood in.
        raise flawed([flaw_at(_place(document, *repeated[-1]), Code.REPEATED_FIELD)])
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _place(parsed: Any, fields: dict[str, Any], name: str) -> Location:
    """Where `name` of `fields` is in the document. Without recursion: it may be deep."""
    ahead: list[tuple[Any, tuple[str | int, ...]]] = [(parsed, ())]
    while ahead:
        value, location = ahead.pop()
        if value is fields:
            return (*location, name)
        if isinstance(value, dict):
            ahead.extend((inner, (*location, key)) for key, inner in value.items())
        elif isinstance(value, list):
            ahead.extend((inner, (*location, nth)) for nth, inner in enumerate(value))
    return (name,)
