"""The OpenAPI document. What FastAPI cannot see of a route is found in what it depends on: bodies and problems."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.answers import MEDIA_TYPE, codes_of_parameters
from api.auth import SAFE
from api.body import JSON, Body
from api.problems import Code, Flaw, ProblemDetails
from chain.problems import ProblemCode

_REF = "#/components/schemas/{model}"


OF_ALL = {Code.INTERNAL_ERROR, Code.REQUEST_TOO_SLOW, Code.TOO_MANY_CONNECTIONS, Code.CONNECTIONS_FULL}
"""How any request may end, before a route is asked or after."""

_TEXT, _SECONDS = {"schema": {"type": "string"}}, {"schema": {"type": "integer"}}
_HEADERS: dict[str, dict[str, Any]] = {
    "401": {"WWW-Authenticate": _TEXT},
    "405": {"Allow": _TEXT},
    "429": {"Retry-After": _SECONDS},
    "503": {"Retry-After": _SECONDS},
}
_MARK = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "of the last event that was read: a live stream goes on behind it",
    "schema": {"type": "string"},
}


def operation_id(route: APIRoute) -> str:
    """The name of its function; of one that has two routes with what tells them apart."""
    last = route.path.rpartition("/")[2]
    return f"{route.name}_{last}" if last in ("release", "reject") else route.name


def document_routes(app: FastAPI, *models: type[BaseModel]) -> None:
    """Completes the app's document. `models`: what routes refer to by themselves."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema:  # completed before
            return app.openapi_schema
        document = generate()
        named: dict[type[BaseModel], None] = dict.fromkeys([*models, ProblemDetails])
        known: dict[ProblemCode, None] = dict.fromkeys(Code)
        for context in iter_route_contexts(app.routes):
            if not isinstance(context.route, APIRoute) or not context.route.include_in_schema:
                continue
            calls = [*_calls(context.dependant)]
            bodies = [call for call in calls if isinstance(call, Body)]
            named.update(dict.fromkeys(body.model for body in bodies))
            for method in context.methods or ():
                operation = document["paths"][context.path_format][method.lower()]
                for body in bodies:
                    operation["requestBody"] = _request_body(body)
                operation["responses"].pop("422", None)  # FastAPI's own words for what is wrong
                codes = {*OF_ALL, *_raised(calls), *_of_parameters(operation, context.dependant)}
                known |= dict.fromkeys(sorted(codes))
                operation["responses"] |= _problems(codes, safe=method in SAFE)
                if any("text/event-stream" in each.get("content", {}) for each in operation["responses"].values()):
                    operation.setdefault("parameters", []).append(_MARK)
        schemas = document["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas |= models_json_schema([(model, "validation") for model in named], ref_template=_REF)[1]["$defs"]
        schemas["Code"] = {"title": "Code", "description": ProblemCode.__doc__, "type": "string", "enum": [*known]}
        for model in (Flaw, ProblemDetails):  # the codes are an open list
            schemas[model.__name__]["properties"]["code"] = {"$ref": _REF.format(model="Code")}
        _sized(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    if dependant.call:
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _calls(inner)


def _raised(calls: Iterable[Callable[..., Any]]) -> Iterator[ProblemCode]:
    for call in calls:
        yield from getattr(call, "raises", ())


def _of_parameters(operation: Mapping[str, Any], dependant: Dependant) -> set[ProblemCode]:
    asked = any(each["in"] == "query" for each in operation.get("parameters", ()))
    of_all = {Code.UNKNOWN_PARAMETER, Code.REPEATED_PARAMETER} if asked else set()
    return {*of_all, *codes_of_parameters(dependant).values()}


def _problems(codes: set[ProblemCode], *, safe: bool) -> dict[str, Any]:
    """Problem responses. Where nothing is changed it does not matter from which origin."""
    by_status: dict[str, list[str]] = {}
    for code in sorted(codes - ({Code.OTHER_ORIGIN} if safe else set())):
        by_status.setdefault(str(code.status), []).append(f"`{code}`")
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model=ProblemDetails.__name__)}}}
    return {
        status: {"description": ", ".join(names), "content": content, "headers": _HEADERS.get(status, {})}
        for status, names in by_status.items()
    }


def _sized(node: Any) -> None:
    """Our integers fit into 64 bits, which those who generate clients want to know."""
    if isinstance(node, dict) and node.get("type") == "integer":
        node.setdefault("format", "int64")
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _sized(inner)


def _request_body(body: Body[Any]) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=body.model.__name__)}
    return {"required": not body.optional, "content": {JSON: {"schema": schema}}}
