"""Logs: JSON on standard output, one line for each request."""

import logging
import sys
import time

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import Code, Problem, problem_response

_QUIET = {"/livez", "/readyz", "/metrics"}
_WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # they hold the API key

log = structlog.get_logger()


def set_up_logs(*more: structlog.types.Processor) -> None:
    """One form for our own lines and those of the libraries. To be called once, by a root."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        *more,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_WITHOUT_LOCALS),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


class RequestLog:
    """ASGI middleware. An unexpected exception is logged here with its trace, and the client is told nothing of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        structlog.contextvars.clear_contextvars()
        began = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:
            log.info("client went away before its request was whole", method=scope["method"], path=scope["path"])
            return
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if status:
                raise  # the answer has begun: all that is left is to break the connection
            await problem_response(Problem(Code.INTERNAL_ERROR))(scope, receive, noting)
        if scope["path"] not in _QUIET:
            ms = round((time.perf_counter() - began) * 1000, 1)
            log.info("request", method=scope["method"], path=scope["path"], status=status, ms=ms)
