"""The operators of support over HTTP: who they are, what they can, and whether they take calls now."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from api import auth
from api.body import Body, documented_body
from api.problems import MAX_NAME, MAX_SKILLS, Code, documented
from dispatch.dispatcher import Wakeup
from orders.order import Identifier
from support.store import KnownOperator, Operator, Support

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class OperatorRequest(BaseModel):
    """Somebody who takes calls in these languages about these things, one at a time, while `available`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^\P{Cc}+$", max_length=MAX_NAME)]
    languages: Annotated[list[Language], Field(min_length=1, max_length=MAX_SKILLS)]
    skills: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_SKILLS)]
    available: Annotated[bool, Field(strict=True)]


router = APIRouter(prefix="/support", tags=["support"])

_NOT_ALLOWED = (Code.API_KEY_MISSING, Code.API_KEY_INVALID, Code.OPERATOR_KEY_REQUIRED, Code.OTHER_ORIGIN)


@router.put(
    "/operators/{operator_id}",
    response_description="From now on; a call that the operator is in goes on.",
    responses=documented(
        *_NOT_ALLOWED,
        Code.MALFORMED_JSON,
        Code.BODY_TOO_LARGE,
        Code.UNSUPPORTED_MEDIA_TYPE,
        Code.UNKNOWN_FIELD,
        Code.REPEATED_FIELD,
        Code.MISSING_FIELD,
        Code.NOT_AN_OBJECT,
        Code.NOT_AN_ARRAY,
        Code.NOT_A_STRING,
        Code.INVALID_ID,
        Code.INVALID_NAME,
        Code.INVALID_LANGUAGE,
        Code.INVALID_SKILLS,
        Code.INVALID_AVAILABILITY,
        Code.DATABASE_UNAVAILABLE,
    ),
    openapi_extra=documented_body(OperatorRequest),
)
async def put_operator(
    request: Request,
    _: auth.Operator,
    operator_id: Annotated[Identifier, Path()],
    wanted: Annotated[OperatorRequest, Depends(Body(OperatorRequest))],
) -> Operator:
    """Callers who wait are connected at once, the oldest first."""
    support: Support = request.state.support
    wakeup: Wakeup = request.state.wakeup
    operator = Operator(operator_id=operator_id, **dict(wanted))
    await support.put(operator)
    wakeup.ring()
    return operator


@router.get("/operators", responses=documented(*_NOT_ALLOWED, Code.DATABASE_UNAVAILABLE))
async def list_operators(request: Request, _: auth.Operator) -> list[KnownOperator]:
    """All, and the call that each is in."""
    support: Support = request.state.support
    return await support.operators()
