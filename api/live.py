"""The operators' live picture: where all open orders stand, looked up once a second for however many watch."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic import AwareDatetime, BaseModel
from starlette.types import Receive, Scope, Send

from api.at_links import RECEIVED, at_links
from api.auth import Operator, may_still_operate
from api.closing import before_shutdown
from api.drills import Drills, Faults
from api.problems import Code, Problem, documented
from chain.event import source_of, type_of
from chain.failures import Outage
from chain.table import CART, FINALIZE, LATE_REFUND, PAYMENT, PRICE, REFUND, REJECT, RELEASE, SETTLEMENT
from orders.events import (
    OrderCancelled,
    OrderConfirmed,
    OrderParked,
    OrderReceived,
    OrderRejected,
    OrderReleased,
    OrderWithdrawn,
)
from orders.words import Status
from store.overview import Made, Moment, Overview

log = structlog.get_logger()

EVERY = 1.0
"""Seconds between two looks, while somebody watches."""

SHARE = 4
"""A look that takes long is followed by a pause of this many times as long: it has a fifth of the time at most."""

HEARTBEAT = 5.0
"""Seconds of silence after which a comment is sent, so that a lost connection is noticed."""

RECHECKED = 10.0
"""Seconds after which a watcher must show again that it may watch: a session ends, a key is revoked."""

PICTURED: dict[str, tuple[str, ...]] = {
    RECEIVED: (),
    PAYMENT.name: (PAYMENT.name, SETTLEMENT.name),
    CART.name: (CART.name,),
    PRICE.name: (PRICE.name,),
    FINALIZE.name: (FINALIZE.name,),
    RELEASE.name: (RELEASE.name,),
    REFUND.name: (REFUND.name, LATE_REFUND.name),
    REJECT.name: (REJECT.name,),
}
"""What the picture shows as one, in the order of the chain, and the links that stand behind it."""

_SHOWN_AT = {link: shown for shown, links in PICTURED.items() for link in links}

_NOTES = {type_of(OrderParked), type_of(OrderReleased), type_of(OrderWithdrawn)}
_ENDS = {
    Status.CONFIRMED: type_of(OrderConfirmed),
    Status.REJECTED: type_of(OrderRejected),
    Status.CANCELLED: type_of(OrderCancelled),
}


class LinkNow(BaseModel):
    """Open orders at a link; two links side by side count an order twice. It waits when nothing has happened to it for
    0.75 s, when its payment is pending, and before it is given to Temporal. `oldest` is when the oldest of them was
    received; `done` counts since the picture's `counted_since`.
    """

    name: str
    waiting: int = 0
    in_progress: int = 0
    parked: int = 0
    oldest: AwareDatetime | None = None
    per_second: float = 0
    done: int = 0


class EndNow(BaseModel):
    status: Status
    per_second: float = 0
    done: int = 0


class ParkedNow(BaseModel):
    """Orders that wait for a person at the same link for the same reason."""

    stage: str
    link: str
    reason: str
    orders: int
    since: AwareDatetime | None


class Picture(BaseModel):
    """`position` rises whenever anything happens to any order. `faults`: how the sandbox provider is broken, if it is
    there.
    """

    links: list[LinkNow]
    ends: list[EndNow]
    parked: list[ParkedNow]
    open: int
    owed: int
    position: int
    counted_since: AwareDatetime
    faults: Faults | None


def pictured(moment: Moment, faults: Faults | None) -> Picture:
    links = {name: LinkNow(name=name) for name in PICTURED}
    parked: dict[tuple[str, str, str], ParkedNow] = {}
    for group in moment.groups:
        for name, manner in {_SHOWN_AT.get(link, link): manner for link, manner in at_links(group).items()}.items():
            link = links[name]
            link.oldest = min(link.oldest or group.oldest, group.oldest)
            setattr(link, manner, getattr(link, manner) + group.orders)
        for where in group.parked:
            link_name, stage, reason = where
            known = parked.setdefault(
                where, ParkedNow(stage=stage, link=link_name, reason=reason, orders=0, since=group.parked_since)
            )
            known.orders += group.orders
            if known.since and group.parked_since:
                known.since = min(known.since, group.parked_since)
    ends = {kind: EndNow(status=status) for status, kind in _ENDS.items()}
    for made in moment.made:
        for moving in (links.get(_maker(made)), ends.get(made[1])):
            if moving:
                moving.done += moment.made[made]
                moving.per_second = round(moving.per_second + moment.per_second.get(made, 0), 1)
    return Picture(
        links=list(links.values()),
        ends=list(ends.values()),
        parked=sorted(parked.values(), key=lambda each: (-each.orders, each.link, each.reason)),
        open=sum(group.orders for group in moment.groups if not group.ended),
        owed=sum(group.owed for group in moment.groups),
        position=moment.position,
        counted_since=moment.made_since.replace(second=0, microsecond=0),
        faults=faults,
    )


def _maker(made: Made) -> str:
    """What the picture shows as having made events of this source and type."""
    source, kind = made
    if kind == type_of(OrderReceived):
        return RECEIVED
    return "" if kind in _NOTES else _SHOWN_AT.get(source.removeprefix(source_of("")), "")


# ---- for however many watch --------------------------------------------------------------------------------------


class Frame(NamedTuple):
    """What those who watch are sent: a `picture`, or that the database is `away`."""

    kind: str
    data: str


class LivePicture:
    """Looks while somebody watches, and tells when what it sees has changed. Nobody looks while nobody watches."""

    def __init__(self, look: Callable[[], Awaitable[Picture]], *, every: float = EVERY) -> None:
        self._look = look
        self._every = every
        self._watchers = 0
        self._looking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self.sight: Frame | None = None
        self.closing = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._watchers += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._looking.cancel()
                self._looking = self.sight = None

    def close(self) -> None:
        """Ends all streams; those who watch go on at another process."""
        self.closing = True
        self._tell()

    async def news_since(self, seen: Frame | None) -> None:
        """Returns when there is something else to see than `seen`, or the process ends."""
        while self.sight is seen and not self.closing:
            await self._news.wait()

    async def _keep_looking(self) -> None:
        while True:
            began = asyncio.get_running_loop().time()
            sight = await self._sight()
            if sight != self.sight:
                self.sight = sight
                self._tell()
            took = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(self._every - took, SHARE * took))

    async def _sight(self) -> Frame:
        try:
            return Frame("picture", (await self._look()).model_dump_json())
        except Outage as outage:
            log.warning("the live picture waits for PostgreSQL", error=str(outage))
        except Exception:
            log.exception("the live picture failed, it is tried again")
        return Frame("away", "{}")

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@asynccontextmanager
async def running_picture(standing: Overview, drills: Drills) -> AsyncIterator[LivePicture]:
    """Ends its streams when the process is told to stop."""

    async def look() -> Picture:
        moment, faults = await asyncio.gather(standing.look(), _faults(drills))
        return pictured(moment, faults)

    live = LivePicture(look)
    with before_shutdown(live.close):
        yield live


async def _faults(drills: Drills) -> Faults | None:
    with suppress(Problem):  # there is no sandbox, or it does not answer
        return await drills.faults()
    return None


class LiveStream(EventSourceResponse):
    def __init__(self, request: Request) -> None:
        # A proxy must not keep events back.
        super().__init__(self._frames(), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._request = request
        self._live: LivePicture = request.state.live_picture

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._live.watching():
            await super().__call__(scope, receive, send)

    async def _frames(self) -> AsyncIterator[bytes]:
        now = asyncio.get_running_loop().time
        check_at = now() + RECHECKED
        seen: Frame | None = None
        yield format_sse_event(comment="the live picture")
        while not self._live.closing:
            sight = self._live.sight
            if sight is not seen and sight is not None:
                seen = sight
                yield format_sse_event(event=sight.kind, data_str=sight.data)
            if now() >= check_at:
                if not await may_still_operate(self._request):
                    return
                check_at = now() + RECHECKED
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await self._live.news_since(seen)
            except TimeoutError:
                yield format_sse_event(comment="")


router = APIRouter(prefix="/operations", tags=["operations"])


@router.get(
    "/live",
    responses=documented(Code.API_KEY_MISSING, Code.API_KEY_INVALID, Code.OPERATOR_KEY_REQUIRED)
    | {
        200: {
            "description": "Server-sent events: a `picture` when it has changed, at most one a second; `away` while "
            "the database does not answer. It ends when the caller may no longer watch, or the process stops.",
            "content": {EventSourceResponse.media_type: {"schema": {"$ref": "#/components/schemas/Picture"}}},
        }
    },
)
async def watch(request: Request, _: Operator) -> Response:
    """Where all open orders stand, live."""
    return LiveStream(request)
