"""The operators' live picture: where all open subjects stand, looked up once a second for however many watch."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import Literal, NamedTuple

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AwareDatetime, BaseModel

from api.auth import Operator, may_still_operate
from api.chains import ends_of
from api.closing import before_shutdown
from api.drills import Drills, Faults
from api.problems import Problem
from api.shared import Here
from api.streams import one_stream
from chain.event import maker_of, type_of
from chain.failures import Outage
from chain.steps import states_at
from chain.subject import RECEIVED
from chain.table import Table
from dispatch import checks
from dispatch.temporal import Temporal
from store.link_failures import Failing
from store.overview import Group, Made, Moment, Overview
from workflows.chains import CHAINS

log = structlog.get_logger()

EVERY = 1.0
"""Seconds between two looks, while somebody watches."""

SHARE = 4
"""A look that takes long is followed by a pause of this many times as long: it has a fifth of the time at most."""

LEAVES_WITHIN = timedelta(seconds=2)
"""What waits for longer to be given to Temporal: then Temporal is asked whether it is there."""

HEARTBEAT = 5.0
"""Seconds of silence after which a comment is sent, so that a lost connection is noticed."""

RECHECKED = 10.0
"""Seconds after which a watcher must show again that it may watch: a session ends, a key is revoked."""


class Why(BaseModel):
    """Why subjects wait at a link: what most of them meet, since when. `outage`: somebody who is needed is away, it is
    tried again by itself. `fault`: it is parked (or about to be) until a person decides. `pending`: nothing is wrong,
    somebody outside has to answer; there is no `error` then, and `since` is when the oldest of them was received.
    """

    kind: Literal["outage", "pending", "fault"]
    error: str | None
    subjects: int
    since: AwareDatetime


class LinkNow(BaseModel):
    """Open subjects at a link; links side by side count a subject more than once. It waits when nothing has happened to
    it for 0.75 s, when somebody outside has to answer, and before it is given to Temporal: the first, `received`, is no
    link. `oldest` is when the oldest of them was received; `done` counts since the picture's `counted_since`.
    """

    name: str
    waiting: int = 0
    in_progress: int = 0
    parked: int = 0
    oldest: AwareDatetime | None = None
    per_second: float = 0
    done: int = 0
    why: Why | None = None


class EndNow(BaseModel):
    status: str
    per_second: float = 0
    done: int = 0


class ChainNow(BaseModel):
    name: str
    links: list[LinkNow]
    ends: list[EndNow]
    open: int = 0


class ParkedNow(BaseModel):
    """Subjects that wait for a person at the same link for the same reason."""

    chain: str
    link: str
    reason: str
    subjects: int = 0
    since: AwareDatetime | None = None


class Picture(BaseModel):
    """`position` rises whenever anything happens. `owed`: orders with money to get back. `faults`: how the sandbox
    provider is broken, if it is there.
    """

    chains: list[ChainNow]
    parked: list[ParkedNow]
    owed: int
    position: int
    counted_since: AwareDatetime
    faults: Faults | None


def pictured(chains: Mapping[str, Table], moment: Moment, faults: Faults | None, away: str | None = None) -> Picture:
    """`away`: what Temporal's absence is called, if it is."""
    groups = [group for group in moment.groups if group.chain in chains]
    return Picture(
        chains=[_chain(name, table, moment, away) for name, table in chains.items()],
        parked=_parked(groups),
        owed=sum(group.owed for group in groups),
        position=moment.position,
        counted_since=moment.made_since.replace(second=0, microsecond=0),
        faults=faults,
    )


def _chain(name: str, table: Table, moment: Moment, away: str | None) -> ChainNow:
    groups = [group for group in moment.groups if group.chain == name]
    links = links_now(table, groups)
    status_of = ends_of(table)
    ends = {status: EndNow(status=status) for status in status_of.values()}
    for made in moment.made:
        for moving in (links.get(_maker(table, made)), ends.get(status_of.get(table.types[made[1]], ""))):
            if moving:
                moving.done += moment.made[made]
                moving.per_second = round(moving.per_second + moment.per_second.get(made, 0), 1)
    for link in links.values():
        link.why = _why(table, link, groups, [each for each in moment.failing if each.chain == name])
    received = links[RECEIVED]
    if away and received.oldest:
        received.why = Why(kind="outage", error=away, subjects=received.waiting, since=received.oldest)
    still_open = sum(group.subjects for group in groups if not group.ended)
    return ChainNow(name=name, links=list(links.values()), ends=list(ends.values()), open=still_open)


def links_now(table: Table, groups: Iterable[Group]) -> dict[str, LinkNow]:
    """`received` and all links of the table, with the subjects of these groups where they stand."""
    links = {RECEIVED: LinkNow(name=RECEIVED)}
    links |= {link.name: LinkNow(name=link.name) for link in table.links if link is not table.note}
    for group in groups:
        for at, state in states_at(table, group).items():
            if link := links.get(at):
                link.oldest = min(link.oldest or group.oldest, group.oldest)
                setattr(link, state, getattr(link, state) + group.subjects)
    return links


def _why(table: Table, here: LinkNow, groups: Sequence[Group], failing: Sequence[Failing]) -> Why | None:
    """Of those that wait, as what is parked is told apart: what fails comes before what is only not answered yet. Of
    those that are parked where nobody waits. A failure that nobody stands there for is over.
    """
    standing = here.waiting + here.in_progress
    retried = [
        Why(kind="outage" if each.kind == "outage" else "fault", error=each.error, subjects=number, since=each.since)
        for each in failing
        if each.link == here.name and (number := min(each.subjects, standing))
    ]
    if retried:
        return max(retried, key=lambda why: why.subjects)
    link = table.by_name.get(here.name)
    if link and link.asks_again and here.waiting and here.oldest:
        return Why(kind="pending", error=None, subjects=here.waiting, since=here.oldest)
    return max(_faults_at(here.name, groups), key=lambda why: why.subjects, default=None)


def _faults_at(link: str, groups: Sequence[Group]) -> Iterator[Why]:
    """What is parked there, by the reason that it failed for. The error is told if it is that of all."""
    found: dict[str, list[tuple[Group, str | None]]] = {}
    for group in groups:
        for (where, reason), error in zip(group.parked, group.parked_errors, strict=True):
            if where == link:
                found.setdefault(reason, []).append((group, error))
    for reason, parked in found.items():
        errors = {error for _, error in parked}
        said = errors.pop() if len(errors) == 1 else None
        since = min(group.parked_since or group.oldest for group, _ in parked)
        yield Why(kind="fault", error=said or reason, subjects=sum(each.subjects for each, _ in parked), since=since)


def _maker(table: Table, made: Made) -> str:
    """The link that the picture shows as having made events of this source and type; none for what was only noted."""
    source, kind = made
    if kind == type_of(table.starts):
        return RECEIVED
    link = table.by_name.get(maker_of(source))
    return link.name if link and kind in map(type_of, link.makes) else ""


def _parked(groups: Sequence[Group]) -> list[ParkedNow]:
    """The most first."""
    found: dict[tuple[str, str, str], ParkedNow] = {}
    for group in groups:
        for link, reason in group.parked:
            place = group.chain, link, reason
            known = found.setdefault(place, ParkedNow(chain=group.chain, link=link, reason=reason))
            known.subjects += group.subjects
            known.since = min(filter(None, (known.since, group.parked_since)), default=None)
    return sorted(found.values(), key=lambda each: (-each.subjects, each.link, each.reason))


# ---- for however many watch --------------------------------------------------------------------------------------


class Frame(NamedTuple):
    """What those who watch are sent: a `picture`, or that the database is `away`."""

    kind: str
    data: str


class LivePicture:
    """Looks while somebody watches, and wakes them when what it sees has changed. Nobody looks while nobody watches."""

    def __init__(self, look: Callable[[], Awaitable[Picture]], *, every: float = EVERY) -> None:
        self._look = look
        self._every = every
        self._watchers = 0
        self._looking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self.frame: Frame | None = None
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
                self._looking = self.frame = None

    def close(self) -> None:
        """Ends all streams; those who watch go on at another process."""
        self.closing = True
        self._wake()

    async def news_since(self, seen: Frame | None) -> None:
        """Returns when there is something else to see than `seen`, or the process ends."""
        while self.frame is seen and not self.closing:
            await self._news.wait()

    async def _keep_looking(self) -> None:
        while True:
            began = asyncio.get_running_loop().time()
            frame = await self._frame()
            if frame != self.frame:
                self.frame = frame
                self._wake()
            took = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(self._every - took, SHARE * took))

    async def _frame(self) -> Frame:
        try:
            return Frame("picture", (await self._look()).model_dump_json())
        except Outage as outage:
            log.warning("the live picture waits for PostgreSQL", error=str(outage))
        except Exception:
            log.exception("the live picture failed, it is tried again")
        return Frame("away", "{}")

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@asynccontextmanager
async def running_picture(overview: Overview, drills: Drills, temporal: Temporal) -> AsyncIterator[LivePicture]:
    """Ends its streams when the process is told to stop."""

    async def look() -> Picture:
        moment, faults = await asyncio.gather(overview.look(), _faults(drills))
        away = await _away(temporal) if _left_lying(moment) else None
        return pictured({name: chain.table for name, chain in CHAINS.items()}, moment, faults, away)

    live = LivePicture(look)
    with before_shutdown(live.close):
        yield live


def _left_lying(moment: Moment) -> bool:
    """Whether something waits for longer to be given to Temporal than that takes."""
    oldest = min((group.oldest for group in moment.groups if not group.dispatched), default=None)
    return oldest is not None and moment.at - oldest > LEAVES_WITHIN


async def _away(temporal: Temporal) -> str | None:
    found, *_ = await checks.temporal(temporal.connected)
    failed = checks.first_failed(found)
    return f"{failed.name}: {failed.seen}" if failed else None


async def _faults(drills: Drills) -> Faults | None:
    with suppress(Problem):  # there is no sandbox, or it does not answer
        return await drills.faults()
    return None


router = APIRouter(prefix="/operations", tags=["operations"])


@router.get(
    "/live",
    response_class=EventSourceResponse,
    dependencies=[Depends(one_stream)],
    responses={
        200: {
            "description": "Server-sent events: a `picture` when it has changed, at most one a second; `away` while "
            "the database does not answer. It ends when the caller may no longer watch, or the process stops.",
            "content": {EventSourceResponse.media_type: {"schema": {"$ref": "#/components/schemas/Picture"}}},
        }
    },
)
async def watch(request: Request, here: Here, _: Operator) -> AsyncIterator[ServerSentEvent]:
    """Where all open subjects of every chain stand, live."""
    now = asyncio.get_running_loop().time
    check_at = now() + RECHECKED
    seen: Frame | None = None
    yield ServerSentEvent(comment="the live picture")
    with here.picture.watching():
        while not here.picture.closing:
            frame = here.picture.frame
            if frame is not seen and frame is not None:
                seen = frame
                yield ServerSentEvent(event=frame.kind, raw_data=frame.data)
            if now() >= check_at:
                if not await may_still_operate(request):
                    return
                check_at = now() + RECHECKED
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await here.picture.news_since(seen)
            except TimeoutError:
                yield ServerSentEvent(comment="")
