"""Every error the API answers with, as RFC 9457 `application/problem+json`."""

import json
from collections.abc import Callable
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.problems import Code, Problem, ProblemDetails, code_of, flawed, in_parameter
from chain.failures import Outage, Unmigrated
from chain.problems import ProblemCode
from edge.bounds import Answer, Refusal

MEDIA_TYPE = "application/problem+json"

log = structlog.get_logger()


def answer_with_problems(app: FastAPI, nowhere: Callable[[Request], Response]) -> None:
    """Makes every error of the app a problem. Unexpected exceptions are up to `telemetry.requests`.

    `nowhere`: the page that a browser shows for a wrong address.
    """

    async def answer(request: Request, error: Exception) -> Response:
        match error:
            case HTTPException(status_code=HTTPStatus.NOT_FOUND) if _by_a_browser(request):
                return nowhere(request)
            case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED) if request.method == "OPTIONS":
                return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": ", ".join(_allowed(request))})
        return problem_response(_problem_of(request, error))

    for kind in (Problem, RequestValidationError, HTTPException, Outage):
        app.add_exception_handler(kind, answer)


def _by_a_browser(request: Request) -> bool:
    accepted = ",".join(request.headers.getlist("accept")).lower().split(",")
    return request.method == "GET" and any(each.partition(";")[0].strip() == "text/html" for each in accepted)


def problem_response(problem: Problem) -> Response:
    details = ProblemDetails(
        type=f"urn:lanka:problem:{problem.code}",
        title=problem.code.heading,
        status=problem.code.status,
        detail=problem.detail,
        code=problem.code,
        errors=problem.errors,
    )
    content = json.dumps(details.model_dump(mode="json", exclude_none=True))
    return Response(content, problem.code.status, problem.headers, MEDIA_TYPE)


_AT_THE_EDGE = {
    Refusal.UNREADABLE: Code.BAD_REQUEST,
    Refusal.TOO_SLOW: Code.REQUEST_TOO_SLOW,
    Refusal.URL_TOO_LONG: Code.URL_TOO_LONG,
    Refusal.TOO_MANY_OF_ONE: Code.TOO_MANY_CONNECTIONS,
    Refusal.HEADERS_TOO_LARGE: Code.HEADERS_TOO_LARGE,
    Refusal.UNKNOWN_METHOD: Code.METHOD_UNKNOWN,
    Refusal.TOO_MANY: Code.CONNECTIONS_FULL,
}


def edge_answers() -> dict[Refusal, Answer]:
    """What the edge says to whom it refuses, before any route is asked."""
    return {
        refusal: _raw(problem_response(Problem(code, headers=_later(code)))) for refusal, code in _AT_THE_EDGE.items()
    }


def _later(code: Code) -> dict[str, str]:
    return {"Retry-After": "5"} if code in {Code.TOO_MANY_CONNECTIONS, Code.CONNECTIONS_FULL} else {}


def _raw(response: Response) -> Answer:
    return Answer(response.status_code, response.raw_headers, bytes(response.body))


def codes_of_parameters(dependant: Dependant) -> dict[str, ProblemCode]:
    """The code of each parameter that has one, by its name."""
    fields = get_flat_params(dependant)
    return {field.alias: code for field in fields if (code := code_of(field.alias, field.field_info))}


def _problem_of(request: Request, error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case RequestValidationError():  # of the path, the query or a header; bodies are read by `api.body`
            codes = codes_of_parameters(request.scope["route"].dependant)
            return flawed([in_parameter(each["type"], each["loc"], codes) for each in error.errors()])
        case Outage():
            log.warning("database unavailable", error=str(error))
            seconds = max(1, round(error.retry_after or 1))
            code = Code.DATABASE_NOT_MIGRATED if isinstance(error, Unmigrated) else Code.DATABASE_UNAVAILABLE
            return Problem(code, headers={"Retry-After": str(seconds)})
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return Problem(Code.NOT_FOUND)
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            return Problem(Code.METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(_allowed(request))})
    return Problem(Code.BAD_REQUEST)


def _allowed(request: Request) -> list[str]:
    # Starlette names the methods of the first route with this path only.
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    methods = methods or {"GET"}  # a folder of files, whose route is found no more
    return sorted({*methods, "OPTIONS", *(["HEAD"] if "GET" in methods else [])})
