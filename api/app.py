"""The HTTP API, put together. Run it with `uvicorn --factory api.app:create_app`, or `lanka api`."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from importlib.metadata import version
from typing import TypedDict

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from pydantic import Field
from pydantic_settings import BaseSettings
from standardwebhooks import Webhook

from api import (
    catalogue,
    drills,
    events,
    funnel,
    health,
    live,
    operations,
    order_page,
    orders,
    pages,
    payments,
    sessions,
    support,
    webhooks,
)
from api.at_links import SHOWN_AFTER
from api.auth import Callers
from api.backlog import Backlog, BacklogSettings, watched_backlog
from api.body import document_models
from api.catalogue import ProductRequest
from api.commands import Commands
from api.drills import DrillRequest, Drills, Faults
from api.events import SentEvent
from api.funnel import Counts, running_count
from api.live import LivePicture, Picture, running_picture
from api.operations import BulkRequest, Decision
from api.order_page import ExternalLinks
from api.orders import CancelRequest, OrderRequest
from api.payments import BankDecision, PaymentRequest, ShopPayments
from api.problems import ProblemDetails, answer_with_problems
from api.sessions import LogIn
from api.stream import Live, running_stream
from api.webhooks import Notice, signatures
from chain.table import LATE_REFUND, REFUND
from dispatch.dispatcher import Wakeup, running_dispatcher
from dispatch.temporal import Temporal
from store.api_keys import ApiKeys
from store.catalogue import Catalogue
from store.database import Pool, open_pool
from store.intake import Intake, one_chain_each
from store.journal import Journal
from store.operations import Operations
from store.orders import Orders
from store.overview import Overview
from store.sessions import Sessions
from store.webhooks import Webhooks
from support.routes import OperatorRequest
from support.store import Support
from telemetry.exposition import Exposition
from telemetry.logs import RequestLog, set_up_logs
from telemetry.requests import RequestSeconds
from telemetry.switch import Tracing, tracing_of
from workflows.chains import outside
from workflows.connect import INTERCEPTORS


class Settings(BaseSettings):
    """From the environment. How Temporal is reached is read by its own SDK (`TEMPORAL_ADDRESS`, ...)."""

    database_url: str
    webhook_secret: str | None = Field(default=None, validation_alias="LANKA_WEBHOOK_SECRET")
    payments_url: str | None = Field(default=None, validation_alias="LANKA_PAYMENTS_URL")
    temporal_ui: str | None = Field(default=None, validation_alias="LANKA_TEMPORAL_UI")
    trace_url: str | None = Field(default=None, validation_alias="LANKA_TRACE_URL")
    max_body_bytes: int = Field(default=65_536, validation_alias="LANKA_MAX_BODY_BYTES")


class State(TypedDict):
    """What the requests of one process share."""

    pool: Pool
    orders: Orders
    journal: Journal
    live: Live
    counts: Counts
    intake: Intake
    support: Support
    catalogue: Catalogue
    callers: Callers
    sessions: Sessions
    wakeup: Wakeup
    backlog: Backlog
    temporal: Temporal
    commands: Commands
    operations: Operations
    drills: Drills
    live_picture: LivePicture
    elsewhere: ExternalLinks
    webhooks: Webhooks
    payments: ShopPayments
    signatures: Mapping[str, Webhook]
    max_body_bytes: int
    traceparent: Callable[[], str | None]
    exposition: Exposition


def create_app() -> FastAPI:
    """The whole API. PostgreSQL and Temporal may be away when it starts, and later. Raises `TwoChainsError`."""
    settings = Settings()
    one_chain_each(outside())
    tracing = tracing_of("lanka-api", settings.database_url)
    set_up_logs(*tracing.processors)
    INTERCEPTORS[:] = tracing.interceptors
    app = FastAPIOffline(  # /docs, with what it shows from this machine
        title="Lanka",
        summary="Confirms orders as a chain of events.",
        version=version("lanka"),
        redirect_slashes=False,
        redoc_url=None,
        favicon_url="/static/mark.svg",
        swagger_ui_parameters={"validatorUrl": None},  # which would be somebody else's
        lifespan=_lifespan(settings, tracing),
        telemetry=tracing.web,
    )
    for part in (
        orders,
        events,
        catalogue,
        operations,
        live,
        funnel,
        drills,
        order_page,
        support,
        webhooks,
        sessions,
        payments,
        health,
        pages,
    ):
        app.include_router(part.router)
    app.mount("/static", pages.static_files())
    answer_with_problems(app)
    by_customers = (OrderRequest, CancelRequest, PaymentRequest, BankDecision, SentEvent, Notice)
    by_operators = (Decision, BulkRequest, LogIn, Faults, DrillRequest)
    described = (ProductRequest, OperatorRequest, Picture, ProblemDetails)
    document_models(app, [*by_customers, *by_operators, *described])
    app.add_middleware(RequestLog)
    app.add_middleware(RequestSeconds)
    return app


def _lifespan(settings: Settings, tracing: Tracing) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    limits = BacklogSettings()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with tracing.running(), open_pool(settings.database_url) as pool:
            wakeup = Wakeup(pool)
            sessions = Sessions(pool)
            operations = Operations(pool, refund=REFUND.name, late_refund=LATE_REFUND.name)
            orders, catalogue = Orders(pool), Catalogue(pool)
            standing = Overview(pool, patience=SHOWN_AFTER, refund=REFUND.name, late_refund=LATE_REFUND.name)
            counts = Counts(pool, standing)
            async with (
                running_dispatcher(pool, wakeup),
                running_stream(pool) as stream,
                watched_backlog(pool, limits) as backlog,
                running_count(counts),
                Temporal() as temporal,
                aclosing(ShopPayments(settings.payments_url)) as payments,
                aclosing(Drills(settings.payments_url, orders, catalogue, wakeup, tracing)) as drills,
                running_picture(standing, drills) as picture,
            ):
                yield State(
                    pool=pool,
                    orders=orders,
                    journal=Journal(pool),
                    live=stream,
                    counts=counts,
                    intake=Intake(pool),
                    support=Support(pool),
                    catalogue=catalogue,
                    callers=Callers(ApiKeys(pool), sessions),
                    sessions=sessions,
                    wakeup=wakeup,
                    backlog=backlog,
                    temporal=temporal,
                    commands=Commands(operations, temporal),
                    operations=operations,
                    drills=drills,
                    live_picture=picture,
                    elsewhere=ExternalLinks(settings.temporal_ui, settings.trace_url),
                    webhooks=Webhooks(pool),
                    payments=payments,
                    signatures=signatures(settings.webhook_secret),
                    max_body_bytes=settings.max_body_bytes,
                    traceparent=tracing.traceparent,
                    exposition=Exposition(pool),
                )

    return lifespan
