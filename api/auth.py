"""Who is calling, and what they may do: a program has an API key, a person at a browser a session in a cookie."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.problems import Code, Problem, raises
from api.shared import Here, shared_by
from store.api_keys import ApiKeys, Scope, hash_of
from store.sessions import Sessions

REMEMBERED = 10_000
"""Callers that are remembered at most."""

TRUSTED_FOR = 5.0
"""Seconds for which a known key or session is not looked up again: so long a revoked one may still work."""

SHOP_COOKIE, CONSOLE_COOKIE = "lanka_shop", "lanka_console"

_PORTS = {"http": 80, "https": 443}

SAFE = {"GET", "HEAD", "OPTIONS"}
_INSUFFICIENT = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
_bearer = HTTPBearer(auto_error=False, description="An API key of scope `shop` or `operator`.")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


class Caller(NamedTuple):
    """`name` tells callers apart and gives nothing away, for others read it.

    With a `customer_id`, only that customer's orders exist.
    """

    scope: Scope
    name: str
    customer_id: str | None = None


class Callers:
    """The callers of this process, remembered for some seconds to save a round trip for each request."""

    def __init__(self, keys: ApiKeys, sessions: Sessions) -> None:
        self._keys = keys
        self._sessions = sessions
        self._known: dict[bytes, tuple[Caller, float]] = {}

    async def with_key(self, key: str) -> Caller | None:
        """None for a key that is unknown or revoked. Raises `Outage`."""
        return await self._remembered(hash_of(key), self._by_key)

    async def with_session(self, token: str) -> Caller | None:
        """None for a session that is unknown or over. Raises `Outage`."""
        return await self._remembered(hash_of(token), self._by_session)

    def forget(self, token: str) -> None:
        self._known.pop(hash_of(token), None)

    async def _remembered(self, secret: bytes, look_up: Callable[[bytes], Awaitable[Caller | None]]) -> Caller | None:
        caller, until = self._known.get(secret, (None, 0.0))
        if caller and time.monotonic() < until:
            return caller
        self._known.pop(secret, None)
        caller = await look_up(secret)
        if caller:
            if len(self._known) >= REMEMBERED:
                self._known.clear()  # they are looked up again
            self._known[secret] = (caller, time.monotonic() + TRUSTED_FOR)
        return caller

    async def _by_key(self, key_hash: bytes) -> Caller | None:
        key = await self._keys.find(key_hash)
        return Caller(key.scope, f"{key.scope}:{key.id}") if key else None

    async def _by_session(self, token_hash: bytes) -> Caller | None:
        session = await self._sessions.find(token_hash)
        if session is None:
            return None
        return Caller(session.scope, f"{session.scope}:{session.customer_id or session.key_id}", session.customer_id)


@raises(Code.API_KEY_MISSING, Code.API_KEY_INVALID, Code.OTHER_ORIGIN, Code.DATABASE_UNAVAILABLE)
async def anybody(
    request: Request, here: Here, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """The caller: a customer, a shop or an operator."""
    if credentials is not None and credentials.credentials:
        caller = await here.callers.with_key(credentials.credentials)
        if caller is None:
            raise Problem(Code.API_KEY_INVALID, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return caller
    # Who is both at this browser is the operator, who may do whatever the customer may.
    for cookie in (CONSOLE_COOKIE, SHOP_COOKIE):
        token = request.cookies.get(cookie)
        caller = await here.callers.with_session(token) if token else None
        if caller:
            if request.method not in SAFE:
                await from_our_page(request)
            return caller
    raise Problem(Code.API_KEY_MISSING, headers={"WWW-Authenticate": "Bearer"})


@raises(Code.OTHER_ORIGIN)
async def from_our_page(request: Request) -> None:
    """Raises the problem `other_origin`. A cookie comes along wherever the request was made."""
    origin = _origin(request.headers.get("origin", ""))
    public_url = (await shared_by(request)).public_url
    if origin is None or (not _asked_for(request, origin) and origin != _origin(public_url or "")):
        raise Problem(Code.OTHER_ORIGIN)


def by_https(request: Request) -> bool:
    """Whether the page of ours that sent it came by https, which we may not see behind a proxy."""
    return request.headers.get("origin", "").lower().startswith("https:")


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int


def _origin(url: str) -> Origin | None:
    """That of a URL; None for what has none, as `null` and nonsense."""
    try:
        parts = urlsplit(url)
        return (
            Origin(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme]) if parts.hostname else None
        )
    except (ValueError, KeyError):
        return None


def _asked_for(request: Request, origin: Origin) -> bool:
    """Whether it names the host of the request. That a request without TLS came by https nobody but a proxy knows."""
    downgraded = request.scope["scheme"] == "https" != origin.scheme
    return not downgraded and origin == _origin(f"{origin.scheme}://{request.headers.get('host', '')}")


@raises(Code.SHOP_KEY_REQUIRED)
async def shop_or_operator(caller: Annotated[Caller, Depends(anybody)]) -> Caller:
    if caller.scope is Scope.CUSTOMER:
        raise Problem(Code.SHOP_KEY_REQUIRED, headers=_INSUFFICIENT)
    return caller


@raises(Code.OPERATOR_KEY_REQUIRED)
async def operator_only(caller: Annotated[Caller, Depends(anybody)]) -> Caller:
    if caller.scope is not Scope.OPERATOR:
        raise Problem(Code.OPERATOR_KEY_REQUIRED, headers=_INSUFFICIENT)
    return caller


async def may_still_operate(request: Request) -> bool:
    """For an answer that takes long: False once the operator's key is revoked or the session over. Raises `Outage`."""
    try:
        await operator_only(await anybody(request, await shared_by(request), await _bearer(request)))
    except Problem:
        return False
    return True


Anybody = Annotated[Caller, Depends(anybody)]
Shop = Annotated[Caller, Depends(shop_or_operator)]
Operator = Annotated[Caller, Depends(operator_only)]
