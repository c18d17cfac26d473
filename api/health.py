"""Whether this process lives, and whether it can accept orders."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from api.problems import Code, documented
from dispatch.temporal import ANSWERS_WITHIN, Temporal
from store.database import Pool, connected
from telemetry.exposition import CONTENT_TYPE, Exposition


class Readiness(BaseModel):
    """Orders are accepted while PostgreSQL answers; while Temporal is away they are accepted and wait."""

    postgresql: Literal["up"] = "up"
    temporal: Literal["up", "away"]


router = APIRouter(tags=["health"])


@router.get("/livez", responses=documented())
async def live() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/readyz", responses=documented(Code.DATABASE_UNAVAILABLE))
async def ready(request: Request) -> Readiness:
    pool: Pool = request.state.pool
    temporal: Temporal = request.state.temporal
    async with connected(pool) as connection:
        await connection.execute("SELECT 1", timeout=ANSWERS_WITHIN)
    return Readiness(temporal="up" if await temporal.answers() else "away")


@router.get("/metrics", response_class=Response, responses=documented() | {200: {"content": {CONTENT_TYPE: {}}}})
async def metrics(request: Request) -> Response:
    """For Prometheus; what each means stands in its HELP."""
    exposition: Exposition = request.state.exposition
    return Response(await exposition.text(), media_type=CONTENT_TYPE)
