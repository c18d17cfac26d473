"""The HTTP API, put together. Run it with `lanka api`; what uvicorn alone runs has no bounds at its edge."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version

from fastapi import APIRouter, Depends, FastAPI
from fastapi_offline import FastAPIOffline

from api import (
    catalogue,
    chains,
    drills,
    events,
    funnel,
    health,
    hours,
    live,
    operations,
    orders,
    payments,
    sessions,
    subjects,
    webhooks,
)
from api.answers import answer_with_problems, edge_answers, problem_response
from api.auth import Callers
from api.backlog import Backlog, BacklogLimits
from api.closing import beside
from api.commands import Commands
from api.drills import Drills
from api.events import SentEvent
from api.funnel import Counts
from api.head import HeadAsGet
from api.known_subject import MOVES_WITHIN
from api.live import Picture, running_picture
from api.openapi import document_routes, operation_id
from api.order_links import OrderLinks
from api.paths import RoutablePaths, decoded_path
from api.problems import Code, Problem
from api.sandbox import Sandbox
from api.shared import Shared
from api.stream import running_stream
from api.streams import Streams
from api.subjects import ExternalLinks
from dispatch import checks
from dispatch.dispatcher import Batching, Wakeup, running_dispatcher
from dispatch.temporal import Temporal
from edge.bounds import Bounds
from edge.protocol import Edge
from gateways.choice import PaymentSettings, payment_webhooks
from lanka.settings import ApiSettings, load_settings
from store.api_keys import ApiKeys
from store.catalogue import Catalogue
from store.database import open_pool
from store.health import Health
from store.intake import Intake, one_chain_each
from store.journal import Journal
from store.operations import Operations
from store.orders import CHAIN, Orders
from store.overview import Overview
from store.sessions import Sessions
from store.subjects import Subjects
from store.webhooks import Webhooks
from telemetry.exposition import Exposition, compensation
from telemetry.logs import set_up_logs
from telemetry.requests import Requests
from telemetry.switch import Tracing, tracing_of
from web import routes as pages
from workflows.chains import CHAINS, TYPES, accepted, module_of, schemas

PARTS = (
    orders, events, catalogue, chains, operations, live, funnel, hours, drills, subjects, webhooks, sessions, payments,
    health,
)  # fmt: skip


def create_app() -> FastAPI:
    """The whole API. PostgreSQL and Temporal may be away when it starts, and later. Raises `TwoChainsError`."""
    settings = load_settings(ApiSettings)
    one_chain_each(accepted())
    tracing = tracing_of("lanka-api", settings.database_url)
    set_up_logs(*tracing.processors)
    app = FastAPIOffline(  # /docs, with what it shows from this machine
        title="Lanka",
        summary="Confirms orders as a chain of events.",
        version=version("lanka"),
        redirect_slashes=False,
        redoc_url=None,
        favicon_url="/static/kit/mark.svg",
        swagger_ui_parameters={"validatorUrl": None},  # which would be somebody else's
        lifespan=_lifespan(settings, tracing),
        telemetry=tracing.web,
        dependencies=[Depends(decoded_path)],
        generate_unique_id_function=operation_id,
    )
    for router in (*(part.router for part in PARTS), *_of_the_chains(), pages.router):
        app.include_router(router)
    for folder in pages.FOLDERS:
        app.mount(f"/static/{folder}", pages.static_files(folder))
    answer_with_problems(app, lambda request: pages.nowhere(chains.spoken(request)))
    document_routes(app, SentEvent, Picture)
    app.add_middleware(RoutablePaths)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Requests, our_mistake=problem_response(Problem(Code.INTERNAL_ERROR)))
    return app


def bounded(settings: ApiSettings) -> Edge:
    """The connections of an API process, within their bounds; its `protocol` is what uvicorn takes as `http`."""
    return Edge(
        Bounds(
            per_address=settings.connections_per_address,
            proxies=settings.trusted_proxies,
            answers=edge_answers(),
        )
    )


def _of_the_chains() -> list[APIRouter]:
    """What the packages of the chains bring of their own."""
    modules = [import_module(module_of(name)) for name in CHAINS]
    return [module.routes() for module in modules if hasattr(module, "routes")]


def _lifespan(
    settings: ApiSettings, tracing: Tracing
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, object]]]:
    hooks = payment_webhooks(settings.of(PaymentSettings))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        async with tracing.running(), open_pool(settings.database_url) as pool:
            wakeup, backlog, sessions = Wakeup(pool), Backlog(pool, settings.of(BacklogLimits)), Sessions(pool)
            orders, catalogue = Orders(pool, CHAINS[CHAIN].table), Catalogue(pool)
            operations = Operations(pool, compensation())
            overview = Overview(pool, moves_within=MOVES_WITHIN, compensation=compensation())
            counts = Counts(pool, overview)
            async with (
                running_dispatcher(pool, wakeup, settings.of(Batching), tracing.interceptors),
                running_stream(pool) as live_journal,
                beside(backlog.run()),
                beside(counts.run()),
                Temporal(tracing.interceptors) as temporal,
                aclosing(Sandbox(settings.payments_url)) as sandbox,
                aclosing(Drills(sandbox, orders, catalogue, wakeup, tracing)) as drills,
                running_picture(overview, drills, temporal) as picture,
            ):
                shared = Shared(
                    pool=pool,
                    orders=orders,
                    order_links=OrderLinks(settings.link_secret),
                    journal=Journal(pool, TYPES),
                    intake=Intake(pool),
                    catalogue=catalogue,
                    sessions=sessions,
                    operations=operations,
                    subjects=Subjects(pool, overview, {name: chain.table for name, chain in CHAINS.items()}),
                    webhooks=Webhooks(pool),
                    payment_webhooks=hooks,
                    wakeup=wakeup,
                    temporal=temporal,
                    callers=Callers(ApiKeys(pool), sessions),
                    backlog=backlog,
                    commands=Commands(operations, temporal),
                    counts=counts,
                    live=live_journal,
                    picture=picture,
                    sandbox=sandbox,
                    drills=drills,
                    elsewhere=ExternalLinks(settings.temporal_ui, settings.trace_url),
                    exposition=Exposition(pool),
                    database_checks=partial(
                        checks.postgresql, Health(pool), schemas().keys(), settings.clock_skew_seconds
                    ),
                    traceparent=tracing.traceparent,
                    max_body_bytes=settings.max_body_bytes,
                    public_url=settings.public_url,
                    streams=Streams(settings.streams_per_caller),
                )
                yield {"shared": shared}

    return lifespan
