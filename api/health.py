"""Whether this process lives, and whether it can accept orders."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from api.problems import Code, raises
from api.shared import Here
from dispatch.temporal import ANSWERS_WITHIN
from store.database import connected
from telemetry.exposition import CONTENT_TYPE


class Readiness(BaseModel):
    """Orders are accepted while PostgreSQL answers; while Temporal is away they are accepted and wait."""

    postgresql: Literal["up"] = "up"
    temporal: Literal["up", "away"]


router = APIRouter(tags=["health"])


@router.get("/livez")
async def live() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz")
@raises(Code.DATABASE_UNAVAILABLE)
async def ready(here: Here) -> Readiness:
    async with connected(here.pool) as connection:
        await connection.execute("SELECT 1", timeout=ANSWERS_WITHIN)
    return Readiness(temporal="up" if await here.temporal.answers() else "away")


@router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE: {}}}})
async def metrics(here: Here) -> Response:
    """For Prometheus; what each means stands in its HELP."""
    return Response(await here.exposition.text(), media_type=CONTENT_TYPE)
