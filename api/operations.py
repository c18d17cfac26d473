"""What waits for an operator, and the operator's decisions."""

from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.auth import Caller, Operator
from api.body import Body, documented_body
from api.commands import Answer, Commands, Text
from api.orders import OrderId, refuse_repeated
from api.problems import MAX_RATE, MAX_RELEASE, MIN_RATE, Code, documented
from chain.commands import BulkCommand, Command
from store.operations import Operations, OwedRefund, ParkedOrder
from workflows.chains import CHAINS

STAGES = sorted({link.queue for chain in CHAINS.values() for link in chain.workflow.table.links})


def _known(stage: str) -> str:
    if stage not in STAGES:
        raise ValueError(f"{stage!r} is none of {', '.join(STAGES)}")
    return stage


Stage = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": STAGES})]

SHOWN = 100
"""Orders that a dry run names."""


class Decision(BaseModel):
    """Why, and who: an API key may be shared, so `by` names the person. Both go into the journal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Text
    by: Text | None = None


class Parked(BaseModel):
    """Which parked orders to list."""

    model_config = ConfigDict(extra="forbid")

    stage: Stage | None = None
    reason: Text | None = None


class BulkRequest(BaseModel):
    """For what is parked at this stage for this reason: oldest first, at most `limit` orders, at this rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Stage | None = None
    reason: Text | None = None
    rate_per_second: Annotated[float, Field(strict=True, ge=MIN_RATE, le=MAX_RATE, allow_inf_nan=False)] = 20
    limit: Annotated[int, Field(strict=True, ge=1, le=MAX_RELEASE)] = MAX_RELEASE
    dry_run: Annotated[bool, Field(strict=True)] = False
    why: Text
    by: Text | None = None


class BulkAnswer(BaseModel):
    """`matched` orders were found. A dry run names the first; otherwise so many were `released` or `rejected`."""

    matched: int
    released: int | None = None
    rejected: int | None = None
    orders: list[str] | None = None
    dry_run: bool


router = APIRouter(prefix="/operations", tags=["operations"])

_NOT_ALLOWED = (Code.API_KEY_MISSING, Code.API_KEY_INVALID, Code.OPERATOR_KEY_REQUIRED, Code.OTHER_ORIGIN)
_BAD_BODY = (
    Code.MALFORMED_JSON,
    Code.BODY_TOO_LARGE,
    Code.UNSUPPORTED_MEDIA_TYPE,
    Code.UNKNOWN_FIELD,
    Code.REPEATED_FIELD,
    Code.MISSING_FIELD,
    Code.NOT_AN_OBJECT,
    Code.NOT_A_STRING,
    Code.INVALID_TEXT,
    Code.NOT_DECIDED,
    Code.DATABASE_UNAVAILABLE,
)
_DECIDING = documented(*_NOT_ALLOWED, Code.ORDER_NOT_FOUND, Code.INVALID_ID, *_BAD_BODY)


@router.get(
    "/parked",
    responses=documented(
        *_NOT_ALLOWED,
        Code.INVALID_STAGE,
        Code.INVALID_TEXT,
        Code.UNKNOWN_PARAMETER,
        Code.REPEATED_PARAMETER,
        Code.DATABASE_UNAVAILABLE,
    ),
)
async def list_parked(request: Request, _: Operator, wanted: Annotated[Parked, Query()]) -> list[ParkedOrder]:
    """What waits for a person, the oldest first, at most 1000."""
    refuse_repeated(request)
    operations: Operations = request.state.operations
    return await operations.parked(stage=wanted.stage, reason=wanted.reason, limit=MAX_RELEASE)


@router.post("/parked/{order_id}/release", responses=_DECIDING, openapi_extra=documented_body(Decision))
async def release_order(
    request: Request, caller: Operator, order_id: OrderId, decision: Annotated[Decision, Depends(Body(Decision))]
) -> Answer:
    """The order goes on at the same link. `released`, or `not_parked`."""
    commands: Commands = request.state.commands
    return Answer(verdict=await commands.release(_wish(caller, order_id, decision)))


@router.post("/parked/{order_id}/reject", responses=_DECIDING, openapi_extra=documented_body(Decision))
async def reject_order(
    request: Request, caller: Operator, order_id: OrderId, decision: Annotated[Decision, Depends(Body(Decision))]
) -> Answer:
    """What was done for the order is undone. `rejected`, or `not_parked`: also when it is on its way back already."""
    commands: Commands = request.state.commands
    return Answer(verdict=await commands.reject(_wish(caller, order_id, decision)))


_MANY: dict[str, Any] = {
    "response_model_exclude_none": True,
    "status_code": 202,
    "responses": documented(
        *_NOT_ALLOWED, Code.INVALID_STAGE, Code.INVALID_RATE, Code.INVALID_LIMIT, Code.NOT_AN_INTEGER, *_BAD_BODY
    )
    | {200: {"description": "A dry run: nothing was changed.", "model": BulkAnswer}},
    "openapi_extra": documented_body(BulkRequest),
}


@router.post("/parked/release", **_MANY)
async def release_many(
    request: Request, response: Response, caller: Operator, wanted: Annotated[BulkRequest, Depends(Body(BulkRequest))]
) -> BulkAnswer:
    """They go on at the links where they are parked."""
    return await _many(request, response, caller, wanted, reject=False)


@router.post("/parked/reject", **_MANY)
async def reject_many(
    request: Request, response: Response, caller: Operator, wanted: Annotated[BulkRequest, Depends(Body(BulkRequest))]
) -> BulkAnswer:
    """What was done for them is undone. One that is parked on its way back stays there."""
    return await _many(request, response, caller, wanted, reject=True)


async def _many(
    request: Request, response: Response, caller: Caller, wanted: BulkRequest, *, reject: bool
) -> BulkAnswer:
    operations: Operations = request.state.operations
    commands: Commands = request.state.commands
    parked = await operations.parked(stage=wanted.stage, reason=wanted.reason, limit=wanted.limit)
    orders = list(dict.fromkeys(each.order_id for each in parked))
    if wanted.dry_run:
        response.status_code = 200
        return BulkAnswer(matched=len(orders), orders=orders[:SHOWN], dry_run=True)
    told = await commands.release_all(_in_turn(parked, wanted, _name(caller, wanted.by), reject=reject))
    decided = {"rejected" if reject else "released": told}
    return BulkAnswer(matched=len(orders), **decided, dry_run=False)


@router.get("/refunds", responses=documented(*_NOT_ALLOWED, Code.DATABASE_UNAVAILABLE))
async def list_refunds(request: Request, _: Operator) -> list[OwedRefund]:
    """Refunds that are owed and have not succeeded yet, the oldest first. They are retried without end."""
    operations: Operations = request.state.operations
    return await operations.refunds()


def _wish(caller: Caller, order_id: str, decision: Decision) -> Command:
    return Command(subject=order_id, by=_name(caller, decision.by), why=decision.reason)


def _name(caller: Caller, by: str | None) -> str:
    return f"{by} ({caller.name})" if by else caller.name


def _in_turn(parked: list[ParkedOrder], wanted: BulkRequest, by: str, *, reject: bool) -> dict[str, BulkCommand]:
    """What each workflow is told, so that over all of them one order after the other goes on at the wanted rate.

    The orders of one workflow go on one behind the other, at the turn of its oldest.
    """
    first = {each.workflow_id: nth for nth, each in reversed(list(enumerate(parked)))}
    told: dict[str, BulkCommand] = {}
    gone = 0
    in_groups = sorted(parked, key=lambda each: first[each.workflow_id])
    for workflow_id, group in groupby(in_groups, key=lambda each: each.workflow_id):
        subjects = list(dict.fromkeys(each.order_id for each in group))
        told[workflow_id] = BulkCommand(
            by=by,
            why=wanted.why,
            subjects=subjects,
            stage=wanted.stage,
            reason=wanted.reason,
            after=gone / wanted.rate_per_second,
            apart=1 / wanted.rate_per_second,
            reject=reject,
        )
        gone += len(subjects)
    return told
