"""What is kept of each request: how quickly it was answered, and one line in the log."""

import time

import structlog
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

answered = Histogram(
    "lanka_http_request_seconds", "From an HTTP request to the beginning of its answer.",
    ["method", "route", "status"], buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)  # fmt: skip

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_QUIET = {"/livez", "/readyz", "/metrics"}

log = structlog.get_logger()


class Requests:
    """ASGI middleware. Routes are named by their pattern, so that there are few.

    An unexpected exception is logged here with its trace, and the client is given `our_mistake`, which tells nothing.
    """

    def __init__(self, app: ASGIApp, our_mistake: ASGIApp) -> None:
        self._app = app
        self._our_mistake = our_mistake

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
                _count(scope, status, time.perf_counter() - began)
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
            await self._our_mistake(scope, receive, noting)
        if scope["path"] not in _QUIET:
            ms = round((time.perf_counter() - began) * 1000, 1)
            log.info("request", method=scope["method"], path=scope["path"], status=status, ms=ms)


def _count(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", "none")
    method = scope["method"] if scope["method"] in METHODS else "other"
    answered.labels(method, route, str(status)).observe(seconds)
