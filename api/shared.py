"""What the requests of one process share. The lifespan of the app makes it once."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

if TYPE_CHECKING:  # most of them have routes of their own, which ask for `Here`
    from api.auth import Callers
    from api.backlog import Backlog
    from api.commands import Commands
    from api.drills import Drills
    from api.funnel import Counts
    from api.live import LivePicture
    from api.order_links import OrderLinks
    from api.sandbox import Sandbox
    from api.stream import Live
    from api.streams import Streams
    from api.subjects import ExternalLinks
    from dispatch.checks import Check
    from dispatch.dispatcher import Wakeup
    from dispatch.temporal import Temporal
    from orders.ports import PaymentWebhooks
    from store.catalogue import Catalogue
    from store.database import Pool
    from store.intake import Intake
    from store.journal import Journal
    from store.operations import Operations
    from store.orders import Orders
    from store.sessions import Sessions
    from store.subjects import Subjects
    from store.webhooks import Webhooks
    from telemetry.exposition import Exposition


@dataclass(frozen=True)
class Shared:
    """`traceparent`: that of the request under way, if it is traced."""

    pool: "Pool"
    orders: "Orders"
    order_links: "OrderLinks"
    journal: "Journal"
    intake: "Intake"
    catalogue: "Catalogue"
    sessions: "Sessions"
    operations: "Operations"
    subjects: "Subjects"
    webhooks: "Webhooks"
    payment_webhooks: "Mapping[str, PaymentWebhooks]"
    wakeup: "Wakeup"
    temporal: "Temporal"
    callers: "Callers"
    backlog: "Backlog"
    commands: "Commands"
    counts: "Counts"
    live: "Live"
    picture: "LivePicture"
    sandbox: "Sandbox"
    drills: "Drills"
    elsewhere: "ExternalLinks"
    exposition: "Exposition"
    database_checks: "Callable[[], Awaitable[Sequence[Check]]]"
    traceparent: Callable[[], str | None]
    max_body_bytes: int
    public_url: str | None
    streams: "Streams"


async def shared_by(request: Request) -> Shared:
    shared: Shared = request.state.shared
    return shared


Here = Annotated[Shared, Depends(shared_by)]
