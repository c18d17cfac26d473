"""Whether this process lives, and whether it can accept orders."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from api.problems import Code, Problem, raises
from api.shared import Here
from dispatch import checks
from dispatch.checks import State
from telemetry.exposition import CONTENT_TYPE

RETRY_AFTER = 5
"""Seconds, as often as a probe asks."""

_CODES = {
    checks.POSTGRESQL: Code.DATABASE_UNAVAILABLE,
    checks.MIGRATIONS: Code.DATABASE_NOT_MIGRATED,
    checks.CLOCK: Code.CLOCKS_DISAGREE,
}


class Readiness(BaseModel):
    """Orders are accepted while PostgreSQL answers, has our tables and agrees on the time.

    While Temporal is away they are accepted and wait. `notes`: what is not as it should be, and how to mend it.
    """

    postgresql: Literal["up"] = "up"
    temporal: Literal["up", "away"]
    notes: list[str]


router = APIRouter(tags=["health"])


@router.get("/livez")
async def live() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz")
@raises(*_CODES.values())
async def ready(here: Here) -> Readiness:
    """The same that `lanka doctor` finds."""
    needed, (told, *_) = await asyncio.gather(here.database_checks(), checks.temporal(here.temporal.connected))
    if not_ready := checks.first_failed(needed):
        code = _CODES[not_ready.name]
        raise Problem(code, not_ready.sentence, headers={"Retry-After": str(RETRY_AFTER)})
    here.temporal.begin()
    notes = [check.sentence for check in (*needed, *told) if check.state in (State.WARNING, State.FAILED)]
    return Readiness(temporal="away" if checks.first_failed(told) else "up", notes=notes)


@router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE: {}}}})
async def metrics(here: Here) -> Response:
    """For Prometheus; what each means stands in its HELP."""
    return Response(await here.exposition.text(), media_type=CONTENT_TYPE)
