"""Request bodies: JSON, read strictly. Nothing is guessed and nothing is silently dropped.

FastAPI would read the body before it asks who is calling, take the last of two fields of one name, and answer 413 in
plain text; so a route declares its body as `Annotated[Model, Depends(Body(Model))]` and documents it with
`takes`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema

from api.problems import Code, Flaw, Location, Problem, codes_of, documented, flaw_at, flawed, in_body

JSON = "application/json"
_REF = "#/components/schemas/{model}"

M = TypeVar("M", bound=BaseModel)

Explain = Callable[[Any, Sequence[Flaw]], Sequence[Flaw]]


class Body(Generic[M]):
    """The dependency that reads one body as `model`. `explain` may say better what is wrong with a parsed body.

    `optional`: a request without a body means the model with nothing but defaults.
    """

    def __init__(self, model: type[M], explain: Explain = lambda _, flaws: flaws, *, optional: bool = False) -> None:
        self.model = model
        self._explain = explain
        self._optional = optional

    async def __call__(self, request: Request) -> M:
        if self._optional and not _has_body(request):
            return self.model()
        _expect_json(request)
        content = parsed(await read_body(request))
        try:
            return self.model.model_validate(content)
        except ValidationError as error:
            flaws = in_body(error.errors(include_url=False, include_context=False, include_input=False))
            raise flawed(self._explain(content, flaws)) from None


def takes(model: type[BaseModel], *codes: Code, optional: bool = False) -> dict[str, Any]:
    """How a route that reads `model` is documented; `codes` are what it answers with beside a flaw of the body."""
    return {
        "responses": documented(*codes, *sorted(codes_of(model))),
        "openapi_extra": documented_body(model, required=not optional),
    }


def documented_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads `model`."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": required, "content": {JSON: {"schema": schema}}}}


def document_models(app: FastAPI, *others: type[BaseModel]) -> None:
    """Adds to the app's OpenAPI document what its routes refer to without FastAPI's knowledge: bodies, and `others`."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        models = dict.fromkeys([*_bodies(app), *others])
        _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
        document["components"]["schemas"].update(schemas["$defs"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _bodies(app: FastAPI) -> Iterator[type[BaseModel]]:
    for route in iter_route_contexts(app.routes):
        for dependency in route.dependant.dependencies if isinstance(route.route, APIRoute) else ():
            if isinstance(dependency.call, Body):
                yield dependency.call.model


async def read_body(request: Request) -> bytes:
    """The body as it is; one that is too large is refused as early as possible."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send the body as it is, without a Content-Encoding.")
    limit = request.state.max_body_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        _refuse_size(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            _refuse_size(limit)
    return bytes(body)


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


def _expect_json(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE)


def _refuse_size(limit: int) -> NoReturn:
    # Without `Connection: close`: closed with the rest of the body unread, it would be reset under the client's answer.
    raise Problem(Code.BODY_TOO_LARGE, f"Send at most {limit} bytes.")


def parsed(body: bytes) -> Any:
    """The JSON document in a body. Raises problems."""
    repeated: list[tuple[dict[str, Any], str]] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            repeated.append((fields, name))
        return fields

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
