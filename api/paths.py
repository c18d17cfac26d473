"""Ids in paths may hold any printable character, percent-encoded: `/catalogue/ART%2012%2F3` is the SKU `ART 12/3`.

A server decodes a path before it is routed, and then an encoded slash is a slash. So routes are found by a path in
which it stays encoded, and the ids in it are decoded once the route is found: here, for all routes.
"""

from urllib.parse import quote, unquote

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send


class RoutablePaths:
    """ASGI middleware: in `scope["path"]` an encoded slash, and so an encoded percent sign, stays encoded.

    Bytes that are no UTF-8 become lone surrogates, which no id may hold.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and b"%" in (raw := scope.get("raw_path") or quote(scope["path"]).encode()):
            segments = raw.decode("latin-1").split("/")
            # In place: whoever is around this looks for the route in the scope afterwards.
            scope["path"] = "/".join(map(_with_its_slashes_encoded, segments))
        await self._app(scope, receive, send)


def _with_its_slashes_encoded(segment: str) -> str:
    text = unquote(segment, errors="surrogateescape")
    return text.replace("%", "%25").replace("/", "%2F")


async def decoded_path(request: Request) -> None:
    """The first dependency of every route."""
    for name, value in request.path_params.items():
        request.path_params[name] = unquote(value, errors="surrogateescape")
