"""Sessions for people at a browser: a customer begins one by coming, an operator with a key."""

import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict
from ulid import ULID

from api.auth import CONSOLE_COOKIE, SHOP_COOKIE, Callers, same_origin
from api.body import Body, takes
from api.commands import Text
from api.problems import Code, Problem, documented
from store.api_keys import Scope
from store.sessions import Sessions

CUSTOMER_STAYS = timedelta(days=30)
OPERATOR_STAYS = timedelta(hours=12)


class CustomerSession(BaseModel):
    customer_id: str


class LogIn(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Text


def _from_our_page(request: Request) -> None:
    if not same_origin(request):
        raise Problem(Code.OTHER_ORIGIN)


router = APIRouter(tags=["sessions"], dependencies=[Depends(_from_our_page)])


@router.post("/shop/session", responses=documented(Code.OTHER_ORIGIN, Code.DATABASE_UNAVAILABLE))
async def begin_shopping(request: Request, response: Response) -> CustomerSession:
    """The customer of this browser; a new one where it has none yet."""
    callers: Callers = request.state.callers
    sessions: Sessions = request.state.sessions
    token = request.cookies.get(SHOP_COOKIE)
    known = await callers.with_session(token) if token else None
    if known and known.customer_id:
        return CustomerSession(customer_id=known.customer_id)
    token, customer_id = secrets.token_urlsafe(), f"cus_{ULID()}".lower()
    await sessions.begin_for_customer(token, customer_id, CUSTOMER_STAYS)
    _keep(request, response, SHOP_COOKIE, token, CUSTOMER_STAYS)
    return CustomerSession(customer_id=customer_id)


@router.post(
    "/console/session",
    status_code=204,
    **takes(LogIn, Code.API_KEY_INVALID, Code.OPERATOR_KEY_REQUIRED, Code.OTHER_ORIGIN, Code.DATABASE_UNAVAILABLE),
)
async def log_in(request: Request, response: Response, wanted: Annotated[LogIn, Depends(Body(LogIn))]) -> None:
    """Opens the console in this browser, with an operator's API key."""
    callers: Callers = request.state.callers
    sessions: Sessions = request.state.sessions
    caller = await callers.with_key(wanted.key)
    if caller is None:
        raise Problem(Code.API_KEY_INVALID)
    if caller.scope is not Scope.OPERATOR:
        raise Problem(Code.OPERATOR_KEY_REQUIRED)
    token = secrets.token_urlsafe()
    await sessions.begin_for_operator(token, wanted.key, OPERATOR_STAYS)
    _keep(request, response, CONSOLE_COOKIE, token, OPERATOR_STAYS)


@router.delete("/console/session", status_code=204, responses=documented(Code.OTHER_ORIGIN, Code.DATABASE_UNAVAILABLE))
async def log_out(request: Request, response: Response) -> None:
    callers: Callers = request.state.callers
    sessions: Sessions = request.state.sessions
    if token := request.cookies.get(CONSOLE_COOKIE):
        await sessions.end(token)
        callers.forget(token)
    response.delete_cookie(CONSOLE_COOKIE)


def _keep(request: Request, response: Response, name: str, token: str, lifetime: timedelta) -> None:
    seconds = int(lifetime.total_seconds())
    secure = request.url.scheme == "https"
    response.set_cookie(name, token, max_age=seconds, httponly=True, samesite="strict", secure=secure)
