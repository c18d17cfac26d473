"""The funnel of a chain: where its subjects are now, and what became of them, link by link and hour by hour."""

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, NamedTuple, TypeVar

import structlog
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.auth import Operator
from api.chains import Spoken, chain_named, ends_of
from api.live import LinkNow, links_now
from api.problems import MAX_HOURS, Code, Problem, Time, raises, refuse_repeated
from api.shared import Here
from chain.event import BACKWARD, Kind
from chain.failures import Outage
from chain.graph import good_ends
from chain.subject import NOT_DISPATCHED, RECEIVED
from chain.table import Table
from chain.words import Language
from store.database import Pool
from store.funnel import PAUSE, Funnel, Made
from store.orders import CHAIN
from store.overview import Overview
from workflows.chains import CHAINS

log = structlog.get_logger()

FRESH = 0.5
"""Seconds for which an answer serves everybody who asks."""

T = TypeVar("T")


class LinkFunnel(BaseModel):
    """Subjects that are at this link now. `waiting`: nothing has happened to them for 0.75 s (a dependency is away, no
    worker is free), somebody outside has to answer, or they are not given to Temporal yet. `oldest_age_seconds`: since
    the oldest of them was received.

    `done` and `rejected` in the hours asked for, with the reasons; `conversion` is the part that went on.

    Durations are from the event that brought the subject here to the event that the link made, exact to a tenth.
    `received`, the first, is not a link: what was accepted, and of that what is not given to Temporal yet.
    `stage` is the link's task queue.
    """

    waiting: int = 0
    in_progress: int = 0
    parked: int = 0
    oldest_age_seconds: float | None = None
    link: str
    stage: str
    title: str
    done: int = 0
    rejected: int = 0
    conversion: float | None = None
    p50_seconds: float | None = None
    p95_seconds: float | None = None
    reasons: dict[str, int] = {}
    parked_reasons: dict[str, int] = {}


class Ends(BaseModel, extra="allow"):
    """Subjects that were received, and by its status how many came to each end, in the same time: not the same ones."""

    __pydantic_extra__: dict[str, int]

    received: int = 0


class Hour(Ends):
    """`hour` is when it begins, in UTC."""

    hour: datetime


class FunnelAnswer(Ends):
    """`conversion` is the part of the ends that were good ones."""

    since: datetime
    until: datetime
    conversion: float | None
    links: list[LinkFunnel]
    hours: list[Hour]


class Window(BaseModel, extra="forbid", populate_by_name=True):
    """The last `hours`, or `from` and `to`; whole hours are counted, in UTC. The parts about now are always of now."""

    chain: str = CHAIN
    hours: Annotated[int, Field(ge=1, le=MAX_HOURS), Code.INVALID_WINDOW] = 24
    since: Annotated[Time | None, Field(alias="from"), Code.INVALID_WINDOW] = None
    to: Annotated[Time | None, Code.INVALID_WINDOW] = None

    def bounds(self, now: datetime) -> tuple[datetime, datetime]:
        if self.since and "hours" in self.model_fields_set:
            raise Problem(Code.INVALID_WINDOW, "Send hours, or from; not both.")
        until = self.to or now
        since = self.since or hour_of(until) - timedelta(hours=self.hours - 1)
        if not since < until <= since + timedelta(hours=MAX_HOURS):
            raise Problem(Code.INVALID_WINDOW)
        return hour_of(since), until


router = APIRouter(prefix="/operations", tags=["operations"])


@router.get("/funnel")
@raises(Code.INVALID_WINDOW, Code.CHAIN_NOT_FOUND)
async def read_funnel(
    request: Request, here: Here, _: Operator, window: Annotated[Window, Query()], language: Spoken
) -> FunnelAnswer:
    """Where the subjects of a chain are now, link by link, and what became of them in the hours asked for."""
    refuse_repeated(request)
    chain_named(window.chain)
    since, until = window.bounds(await here.counts.store.now())
    return await here.counts.funnel(window.chain, since, until, language)


# ---- reading -----------------------------------------------------------------------------------------------------


class Counts:
    """The funnels of all chains, read once for all who ask at the same time."""

    def __init__(self, pool: Pool, overview: Overview) -> None:
        self.store = Funnel(pool, {name: chain.table.inputs for name, chain in CHAINS.items()})
        self._groups = _Fresh(overview.groups)

    async def funnel(self, chain: str, since: datetime, until: datetime, language: Language) -> FunnelAnswer:
        """Raises `Outage`."""
        table = CHAINS[chain].table
        groups = [group for group in await self._groups.get() if group.chain == chain]
        made, now = await self.store.made(chain, since, until), await self.store.now()
        ends = _ends(table, made)
        good = [str(event.status) for event in good_ends(table)]
        number = dict(ends)
        every = sum(number.get(status, 0) for status in set(ends_of(table).values()))
        return FunnelAnswer(
            **number,
            since=since,
            until=until,
            conversion=_part(sum(number.get(status, 0) for status in good), every),
            links=_links(table, links_now(table, groups), made, now, language),
            hours=_hours(table, made),
        )

    async def run(self) -> None:
        """Counts the journal by the hour, in one process after the other."""
        while True:
            more = False
            try:
                more = await self.store.count_on()
            except Outage:
                pass  # the dispatcher logs it
            except Exception:
                log.exception("the journal could not be counted, it is tried again")
            if not more:
                await asyncio.sleep(PAUSE.total_seconds())


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


# ---- putting together --------------------------------------------------------------------------------------------


class _Tally(NamedTuple):
    """What one link has made."""

    done: Counter[str]
    rejected: Counter[str]
    parked: Counter[str]
    seconds: Counter[float]


def _links(
    table: Table, links: dict[str, LinkNow], made: Iterable[Made], now: datetime, language: Language
) -> list[LinkFunnel]:
    tallies: dict[str, _Tally] = defaultdict(lambda: _Tally(Counter(), Counter(), Counter(), Counter()))
    for each in made:
        kind = table.types.kind(each.type)
        tally = tallies[RECEIVED if kind is Kind.START else each.link]
        if kind is Kind.PARKED:
            tally.parked[each.reason or "unknown"] += each.events
        elif kind is not Kind.RELEASED:
            (tally.rejected if kind in BACKWARD else tally.done)[each.reason or ""] += each.events
            if each.seconds is not None:
                tally.seconds[each.seconds] += each.events
    words = table.words
    shown = [(RECEIVED, NOT_DISPATCHED, words.status(RECEIVED))]
    shown += [(link.name, link.queue, words.link(link.name).title) for link in table.links if link is not table.note]
    return [
        _link(name, queue, title.in_language(language), links[name], now, tallies[name]) for name, queue, title in shown
    ]


def _link(name: str, queue: str, title: str, link: LinkNow, now: datetime, tally: _Tally) -> LinkFunnel:
    done, rejected = tally.done.total(), tally.rejected.total()
    return LinkFunnel(
        link=name,
        stage=queue,
        title=title,
        waiting=link.waiting,
        in_progress=link.in_progress,
        parked=link.parked,
        oldest_age_seconds=max(0.0, (now - link.oldest).total_seconds()) if link.oldest else None,
        done=done,
        rejected=rejected,
        conversion=_part(done, done + rejected),
        p50_seconds=percentile(tally.seconds, 0.50),
        p95_seconds=percentile(tally.seconds, 0.95),
        reasons=dict(tally.rejected.most_common()),
        parked_reasons=dict(tally.parked.most_common()),
    )


def _ends(table: Table, made: Iterable[Made]) -> Ends:
    statuses = {table.starts: RECEIVED, **ends_of(table)}
    ends: Counter[str] = Counter(dict.fromkeys(statuses.values(), 0))
    for each in made:
        if status := statuses.get(table.types[each.type]):
            ends[status] += each.events
    return Ends(**ends)


def _hours(table: Table, made: Sequence[Made]) -> list[Hour]:
    by_hour: dict[datetime, list[Made]] = defaultdict(list)
    for each in made:
        by_hour[each.hour].append(each)
    return [Hour(hour=hour, **dict(_ends(table, of_it))) for hour, of_it in sorted(by_hour.items())]


def _part(some: int, of_all: int) -> float | None:
    return round(some / of_all, 4) if of_all else None


def percentile(seconds: Counter[float], part: float) -> float | None:
    wanted = math.ceil(seconds.total() * part)
    for duration in sorted(seconds):
        wanted -= seconds[duration]
        if wanted <= 0:
            return round(duration, 4)
    return None


def hour_of(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
