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


def document_routes(app: FastAPI, *models: type[BaseModel]) -> None:
    """Completes the app's document. `models`: what routes refer to by themselves."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
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
                codes = {Code.INTERNAL_ERROR, *_raised(calls), *_of_parameters(operation, context.dependant)}
                known |= dict.fromkeys(sorted(codes))
                operation["responses"] |= _problems(codes, safe=method in SAFE)
        schemas = document["components"]["schemas"]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas |= models_json_schema([(model, "validation") for model in named], ref_template=_REF)[1]["$defs"]
        schemas["Code"] = {"title": "Code", "description": ProblemCode.__doc__, "type": "string", "enum": [*known]}
        for model in (Flaw, ProblemDetails):  # the codes are an open list
            schemas[model.__name__]["properties"]["code"] = {"$ref": _REF.format(model="Code")}
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
    return {status: {"description": ", ".join(names), "content": content} for status, names in by_status.items()}


def _request_body(body: Body[Any]) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=body.model.__name__)}
    return {"required": not body.optional, "content": {JSON: {"schema": schema}}}
