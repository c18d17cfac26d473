"""The funnel: where the orders are now, and what became of them, link by link and hour by hour."""

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, NamedTuple, TypeVar

import structlog
from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from api.at_links import RECEIVED, at_links
from api.auth import Operator
from api.orders import refuse_repeated
from api.problems import MAX_HOURS, Code, Problem, documented
from chain.event import class_of, type_of
from chain.failures import Outage
from chain.position import inputs, refusals
from chain.table import Table
from orders.words import Status
from store.database import Pool
from store.funnel import PAUSE, Funnel, Made, Reading
from store.orders import CHAIN, LINK
from store.overview import Group, Overview
from store.standing import NOT_DISPATCHED
from workflows.chains import CHAINS

log = structlog.get_logger()

TABLE = CHAINS[CHAIN].workflow.table

FRESH = 0.5
"""Seconds for which an answer serves everybody who asks."""

T = TypeVar("T")


class LinkNow(BaseModel):
    """Orders that are at this link now. `waiting`: nothing has happened to them for 0.75 s (a dependency is away, no
    worker is free), their payment is pending, or they are not given to Temporal yet. `oldest_age_seconds`: since the
    oldest of them was received.
    """

    waiting: int = 0
    in_progress: int = 0
    parked: int = 0
    oldest_age_seconds: float | None = None


class LinkFunnel(LinkNow):
    """`done` and `rejected` in the hours asked for, with the reasons; `conversion` is the part that went on.

    Durations are from the event that brought the order here to the event that the link made, exact to a tenth.
    `received`, the first, is not a link: orders that were accepted, and of them those not given to Temporal yet.
    """

    link: str
    stage: str
    done: int = 0
    rejected: int = 0
    conversion: float | None = None
    p50_seconds: float | None = None
    p95_seconds: float | None = None
    reasons: dict[str, int] = {}
    parked_reasons: dict[str, int] = {}


class Ends(BaseModel):
    """Orders that were received, and that came to an end, in the same time: not the same orders."""

    received: int = 0
    confirmed: int = 0
    rejected: int = 0
    cancelled: int = 0


class Hour(Ends):
    """`hour` is when it begins, in UTC."""

    hour: datetime


class FunnelAnswer(Ends):
    """`conversion` is the part of the ended orders that were confirmed."""

    since: datetime
    until: datetime
    conversion: float | None
    links: list[LinkFunnel]
    hours: list[Hour]


class Window(BaseModel):
    """The last `hours`, or `from` and `to`; whole hours are counted, in UTC. The parts about now are always of now."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    hours: Annotated[int, Field(ge=1, le=MAX_HOURS)] = 24
    since: Annotated[AwareDatetime | None, Field(alias="from")] = None
    to: AwareDatetime | None = None

    def bounds(self, now: datetime) -> tuple[datetime, datetime]:
        until = self.to or now
        since = self.since or _hour(until) - timedelta(hours=self.hours - 1)
        if not since < until <= since + timedelta(hours=MAX_HOURS):
            raise Problem(Code.INVALID_WINDOW)
        return _hour(since), until


router = APIRouter(prefix="/operations", tags=["operations"])


@router.get(
    "/funnel",
    responses=documented(
        Code.API_KEY_MISSING,
        Code.API_KEY_INVALID,
        Code.OPERATOR_KEY_REQUIRED,
        Code.INVALID_WINDOW,
        Code.UNKNOWN_PARAMETER,
        Code.REPEATED_PARAMETER,
        Code.DATABASE_UNAVAILABLE,
    ),
)
async def read_funnel(request: Request, _: Operator, window: Annotated[Window, Query()]) -> FunnelAnswer:
    """Where the orders are now, link by link, and what became of them in the hours asked for."""
    refuse_repeated(request)
    counts: Counts = request.state.counts
    since, until = window.bounds(datetime.now(UTC))
    return await counts.funnel(since, until)


# ---- reading -----------------------------------------------------------------------------------------------------


class Counts:
    """The funnel of the order chain, read once for all who ask at the same time."""

    def __init__(self, pool: Pool, standing: Overview) -> None:
        self.store = _funnel(pool)
        self._standing = standing
        self._now = _Fresh(self._read_now)

    async def now(self) -> dict[str, LinkNow]:
        """The links with the orders that are at them."""
        return await self._now.get()

    async def funnel(self, since: datetime, until: datetime) -> FunnelAnswer:
        """Raises `Outage`."""
        now = await self.now()
        made = await self.store.made(since, until)
        ends = _ends(made)
        return FunnelAnswer(
            **ends.model_dump(),
            since=since,
            until=until,
            conversion=_part(ends.confirmed, ends.confirmed + ends.rejected + ends.cancelled),
            links=_links(TABLE, now, made),
            hours=_hours(made),
        )

    async def _read_now(self) -> dict[str, LinkNow]:
        return _at_links(await self._standing.groups(), datetime.now(UTC))


def _funnel(pool: Pool) -> Funnel:
    chains = [chain.workflow.table for chain in CHAINS.values()]
    brought = {link: types for table in chains for link, types in inputs(table).items()}
    kinds = {type_of(kind) for table in chains for link in table.links for kind in (*link.makes, table.parked)}
    reasoned = {kind for kind in kinds if _has_reason(kind)}
    return Funnel(pool, Reading(brought, frozenset(reasoned)))


def _has_reason(kind: str) -> bool:
    data = class_of(kind).model_fields["data"].annotation
    return isinstance(data, type) and issubclass(data, BaseModel) and "reason" in data.model_fields


class _Fresh(Generic[T]):
    """Something that is read for one and serves all who ask meanwhile, and shortly after."""

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._value: T

    async def get(self) -> T:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._value = await self._read()
                self._until = time.monotonic() + FRESH
            return self._value


@asynccontextmanager
async def running_count(counts: Counts) -> AsyncIterator[None]:
    """Counts the journal by the hour beside the requests, in one process after the other."""
    async with asyncio.TaskGroup() as tasks:
        counting = tasks.create_task(_count(counts.store))
        yield
        counting.cancel()


async def _count(funnel: Funnel) -> None:
    while True:
        more = False
        try:
            more = await funnel.count_on()
        except Outage:
            pass  # the dispatcher tells it
        except Exception:
            log.exception("the journal could not be counted, it is tried again")
        if not more:
            await asyncio.sleep(PAUSE.total_seconds())


# ---- putting together --------------------------------------------------------------------------------------------


class _Tally(NamedTuple):
    """What one link has made."""

    done: Counter[str]
    rejected: Counter[str]
    parked: Counter[str]
    seconds: Counter[float]


def _at_links(groups: Iterable[Group], now: datetime) -> dict[str, LinkNow]:
    found: dict[str, LinkNow] = defaultdict(LinkNow)
    for group in groups:
        age = max(0.0, (now - group.oldest).total_seconds())
        for name, manner in at_links(group).items():
            link = found[name]
            link.oldest_age_seconds = max(age, link.oldest_age_seconds or 0.0)
            setattr(link, manner, getattr(link, manner) + group.orders)
    return found


def _links(table: Table, now: dict[str, LinkNow], made: Iterable[Made]) -> list[LinkFunnel]:
    back = refusals(table)
    tallies: dict[str, _Tally] = defaultdict(lambda: _Tally(Counter(), Counter(), Counter(), Counter()))
    for each in made:
        tally = tallies[each.link]
        if each.type == type_of(table.parked):
            tally.parked[each.reason or "unknown"] += each.events
        elif each.type != type_of(table.released):
            (tally.rejected if each.type in back else tally.done)[each.reason or ""] += each.events
            if each.seconds is not None:
                tally.seconds[each.seconds] += each.events
    stages = {link.name: link.queue for link in table.links if link is not table.note}
    return [
        _link(RECEIVED, NOT_DISPATCHED, now.get(RECEIVED, LinkNow()), tallies[LINK]),
        *(_link(name, stage, now.get(name, LinkNow()), tallies[name]) for name, stage in stages.items()),
    ]


def _link(name: str, queue: str, now: LinkNow, tally: _Tally) -> LinkFunnel:
    done, rejected = tally.done.total(), tally.rejected.total()
    return LinkFunnel(
        link=name,
        stage=queue,
        **now.model_dump(),
        done=done,
        rejected=rejected,
        conversion=_part(done, done + rejected),
        p50_seconds=_percentile(tally.seconds, 0.50),
        p95_seconds=_percentile(tally.seconds, 0.95),
        reasons=dict(tally.rejected.most_common()),
        parked_reasons=dict(tally.parked.most_common()),
    )


def _ends(made: Iterable[Made]) -> Ends:
    ends: Counter[str] = Counter()
    for each in made:
        kind = class_of(each.type)
        if each.link == LINK:
            ends["received"] += each.events
        elif kind.ends and kind.status in _ENDS:
            ends[str(kind.status)] += each.events
    return Ends(**ends)


_ENDS = (Status.CONFIRMED, Status.REJECTED, Status.CANCELLED)


def _hours(made: Sequence[Made]) -> list[Hour]:
    by_hour: dict[datetime, list[Made]] = defaultdict(list)
    for each in made:
        by_hour[each.hour].append(each)
    return [Hour(hour=hour, **_ends(of_it).model_dump()) for hour, of_it in sorted(by_hour.items())]


def _part(some: int, of_all: int) -> float | None:
    return round(some / of_all, 4) if of_all else None


def _percentile(seconds: Counter[float], part: float) -> float | None:
    wanted = math.ceil(seconds.total() * part)
    for duration in sorted(seconds):
        wanted -= seconds[duration]
        if wanted <= 0:
            return round(duration, 4)
    return None


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
