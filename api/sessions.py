"""Sessions for people at a browser: a customer begins one by coming, an operator with a key."""

import secrets
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel
from ulid import ULID

from api.auth import CONSOLE_COOKIE, SHOP_COOKIE, by_https, from_our_page
from api.body import Body
from api.problems import Code, Problem, Text, raises
from api.shared import Here
from store.api_keys import Scope

CUSTOMER_STAYS = timedelta(days=30)
OPERATOR_STAYS = timedelta(hours=12)


class CustomerSession(BaseModel):
    customer_id: str


class LogIn(BaseModel, frozen=True, extra="forbid"):
    key: Text


router = APIRouter(tags=["sessions"], dependencies=[Depends(from_our_page)])


@router.post("/shop/session")
@raises(Code.DATABASE_UNAVAILABLE)
async def begin_shopping(request: Request, response: Response, here: Here) -> CustomerSession:
    """The customer of this browser; a new one where it has none yet."""
    token = request.cookies.get(SHOP_COOKIE)
    known = await here.callers.with_session(token) if token else None
    if known and known.customer_id:
        return CustomerSession(customer_id=known.customer_id)
    token, customer_id = secrets.token_urlsafe(), f"cus_{ULID()}".lower()
    await here.sessions.begin_for_customer(token, customer_id, CUSTOMER_STAYS)
    _keep(request, response, SHOP_COOKIE, token, CUSTOMER_STAYS)
    return CustomerSession(customer_id=customer_id)


@router.post("/console/session", status_code=204)
@raises(Code.API_KEY_INVALID, Code.OPERATOR_KEY_REQUIRED, Code.DATABASE_UNAVAILABLE)
async def log_in(
    request: Request, response: Response, here: Here, wanted: Annotated[LogIn, Depends(Body(LogIn))]
) -> None:
    """Opens the console in this browser, with an operator's API key."""
    caller = await here.callers.with_key(wanted.key)
    if caller is None:
        raise Problem(Code.API_KEY_INVALID)
    if caller.scope is not Scope.OPERATOR:
        raise Problem(Code.OPERATOR_KEY_REQUIRED)
    token = secrets.token_urlsafe()
    await here.sessions.begin_for_operator(token, wanted.key, OPERATOR_STAYS)
    _keep(request, response, CONSOLE_COOKIE, token, OPERATOR_STAYS)


@router.delete("/console/session", status_code=204)
@raises(Code.DATABASE_UNAVAILABLE)
async def log_out(request: Request, response: Response, here: Here) -> None:
    if token := request.cookies.get(CONSOLE_COOKIE):
        await here.sessions.end(token)
        here.callers.forget(token)
    response.delete_cookie(CONSOLE_COOKIE)


def _keep(request: Request, response: Response, name: str, token: str, lifetime: timedelta) -> None:
    seconds = int(lifetime.total_seconds())
    response.set_cookie(name, token, max_age=seconds, httponly=True, samesite="strict", secure=by_https(request))
