"""The operators of support over HTTP: who they are, what they can, and whether they take calls now."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field

from api import auth
from api.body import Body
from api.problems import Name
from api.shared import Here
from chain.subject import Identifier
from support.events import Language
from support.problems import MAX_SKILLS, CallCode
from support.store import KnownOperator, Operator, Support


class OperatorRequest(BaseModel, frozen=True, extra="forbid"):
    """Somebody who takes calls in these languages about these things, one at a time, while `available`."""

    name: Name
    languages: Annotated[list[Language], Field(min_length=1, max_length=MAX_SKILLS), CallCode.INVALID_LANGUAGE]
    skills: Annotated[list[Identifier], Field(min_length=1, max_length=MAX_SKILLS), CallCode.INVALID_SKILLS]
    available: Annotated[bool, Field(strict=True), CallCode.INVALID_AVAILABILITY]


router = APIRouter(prefix="/support", tags=["support"])


@router.put("/operators/{operator_id}", response_description="From now on; a call that the operator is in goes on.")
async def put_operator(
    here: Here,
    _: auth.Operator,
    operator_id: Annotated[Identifier, Path()],
    wanted: Annotated[OperatorRequest, Depends(Body(OperatorRequest))],
) -> Operator:
    """Callers who wait are connected at once, the oldest first."""
    operator = Operator(operator_id=operator_id, **dict(wanted))
    await Support(here.pool).put(operator)
    here.wakeup.wake()
    return operator


@router.get("/operators")
async def list_operators(here: Here, _: auth.Operator) -> list[KnownOperator]:
    """All, and the call that each is in."""
    return await Support(here.pool).operators()
