"""The provider's HTTP: payments, faults, `/livez`."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from sandbox.faults import FaultInjection, Faults
from sandbox.ledger import Decision, Ledger, Outcome, Payment
from sandbox.problems import Problem, problem
from sandbox.webhooks import Webhooks


class NewPayment(BaseModel):
    """`outcome` is what the customer's bank will have said."""

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[int, Field(strict=True, ge=1, le=2**53, description="minor units")]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    outcome: Outcome


class Settlement(BaseModel):
    model_config = ConfigDict(extra="forbid")

    outcome: Decision


class Page(BaseModel):
    """Oldest first. `next_after` is the `after` of the next page; null on the last one."""

    payments: list[Payment]
    next_after: str | None


_REFUSED: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "Refused (RFC 9457).",
        "content": {"application/problem+json": {"schema": {"type": "object"}}},
    }
    for status in (400, 404, 409, 422)
}


def create_app(ledger: Ledger, webhooks: Webhooks | None) -> FastAPI:
    app = FastAPIOffline(title="Sandbox payment provider", redoc_url=None, responses=_REFUSED)
    app.state.ledger = ledger
    app.state.webhooks = webhooks
    app.include_router(calls)
    app.add_middleware(FaultInjection, faults=ledger.faults)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    return app


async def _ledger(request: Request) -> Ledger:
    ledger: Ledger = request.app.state.ledger
    return ledger


async def _key(idempotency_key: Annotated[str | None, Header(max_length=255)] = None) -> str:
    if not idempotency_key:
        raise Problem(400, "idempotency_key_missing", "this call needs the header Idempotency-Key")
    return idempotency_key


Books = Annotated[Ledger, Depends(_ledger)]
Key = Annotated[str, Depends(_key)]

# An id that is asked for may hold a slash, and nobody else's payments are here: `:path`.
# All calls are async and use the ledger on the event loop: one thread, so that they never run side by side.
calls = APIRouter()


@calls.post("/payments", status_code=201)
async def create(
    ledger: Books, new: NewPayment, idempotency_key: Annotated[str | None, Header(max_length=400)] = None
) -> Payment:
    return ledger.create(new.amount, new.currency, new.outcome, idempotency_key)


@calls.get("/payments")
async def page(ledger: Books, limit: Annotated[int, Query(ge=1, le=1000)] = 100, after: str | None = None) -> Page:
    payments = ledger.page(limit + 1, after)
    more = len(payments) > limit
    return Page(payments=payments[:limit], next_after=payments[limit - 1].id if more else None)


@calls.get("/payments/{payment_id:path}")
async def find(ledger: Books, payment_id: str) -> Payment:
    return ledger.find(payment_id)


@calls.post("/payments/{payment_id:path}/capture")
async def capture(ledger: Books, payment_id: str, key: Key) -> Payment:
    return ledger.capture(payment_id, key)


@calls.post("/payments/{payment_id:path}/refund")
async def refund(ledger: Books, payment_id: str, key: Key) -> Payment:
    return ledger.refund(payment_id, key)


@calls.post("/payments/{payment_id:path}/settle")
async def settle(
    ledger: Books, request: Request, background: BackgroundTasks, payment_id: str, settlement: Settlement
) -> Payment:
    payment = ledger.settle(payment_id, settlement.outcome)
    if request.app.state.webhooks:
        background.add_task(request.app.state.webhooks.send, payment)
    return payment


@calls.get("/faults")
async def faults(ledger: Books) -> Faults:
    return ledger.faults()


@calls.put("/faults")
async def set_faults(ledger: Books, faults: Faults) -> Faults:
    ledger.set_faults(faults)
    return faults


@calls.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


def _refused(_request: Request, error: Exception) -> JSONResponse:
    """What the ledger refuses, and what is no call at all."""
    assert isinstance(error, HTTPException)
    code = getattr(error, "code", HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    return problem(error.status_code, code, str(error.detail), error.headers)


def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    said = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return problem(422, "invalid_request", said)
