"""The live stream: the journal of a subject as server-sent events, for thousands of readers.

One connection of the process listens for what was journalled. One look into the journal reads what is new of the
subjects that somebody watches, however many watch them; the rest happens in memory. No reader has a queue: each knows
what it has been sent, and takes what is missing when it can.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import accumulate, pairwise
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from pydantic_core import from_json
from starlette.types import Message, Receive, Send
from starlette.types import Scope as HttpScope

from api.auth import Caller
from api.closing import before_shutdown, beside
from api.problems import Code, Problem
from api.shared import shared_by
from chain.commands import CANCELLED_BY_CUSTOMER, REJECTED_BY_OPERATOR
from chain.event import AnyEvent, Kind, type_of
from chain.failures import Outage
from chain.table import in_order
from store.api_keys import Scope
from store.database import Pool, Transaction, session
from store.journal import CHANNEL, events_at, positions_of
from workflows.chains import CHAINS, TYPES

log = structlog.get_logger()

GATHER = 0.05
"""Seconds between two looks into the journal; what is journalled in the meantime is read in one."""

LOOK_ANYWAY = 5.0
"""Seconds after which all that is watched is looked at, should PostgreSQL's word have been lost."""

TOGETHER = 200
"""Subjects read in one query."""

AGAIN = 1.0
"""Seconds until the connection that broke is tried again."""

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that nobody on the way takes the connection for dead."""

READ_WITHIN = 30.0
"""Seconds that a reader may take to read; then it is dropped, and comes again when it can."""

LIVES_FOR = 900.0
"""Seconds after which a stream ends, so that its reader comes again: perhaps to another process, with a key that must
still be good."""

REMEMBERED = 100
"""Events that a mark names one by one."""

MAX_MARK = 16 * (REMEMBERED + 2)
"""Characters of a mark at most."""

_MARK = re.compile(r"[0-9a-f]{1,15}(\.[0-9a-f]{1,15})*")


def as_told(events: Sequence[AnyEvent]) -> list[AnyEvent]:
    """The journal of a subject, in the order of its chain."""
    types = {event.type for event in events}
    chain = next((chain for chain in CHAINS.values() if type_of(chain.table.starts) in types), None)
    return in_order(chain.table, events) if chain else list(events)


HELD = "something unexpected happened, and a person is looking at it"
"""What others than operators read in the place of what went wrong: there stands what providers have answered."""

THE_SHOP = "the shop"
"""Who has decided, for a customer who did not: the name of an operator is none of theirs."""

BY_PEOPLE = (Kind.RELEASED, Kind.WITHDRAWAL, Kind.END)
"""What a person may have decided. Whoever it was has not written for customers; a refusal's detail is."""


def told_to(caller: Caller | None, event: AnyEvent) -> AnyEvent:
    """The event as this caller may read it; nobody in particular reads what a customer may."""
    scope, kind = caller.scope if caller else Scope.CUSTOMER, TYPES.kind(event.type)
    told: dict[str, str] = {}
    if scope is not Scope.OPERATOR and kind is Kind.PARKED:
        told = {"last_error": HELD}
    elif scope is Scope.CUSTOMER and kind in BY_PEOPLE and _of_somebody_else(caller, event):
        customer = f"{Scope.CUSTOMER}:"
        by = event.data.get("by", "")
        told = {"by": by if by.startswith(customer) else THE_SHOP, "why": "", "detail": ""}
    told = {name: said for name, said in told.items() if name in event.data}
    return event.model_copy(update={"data": event.data | told}) if told else event


def _of_somebody_else(caller: Caller | None, event: AnyEvent) -> bool:
    """Whether a person other than the caller has decided it; the end of what was taken back names nobody."""
    by = event.data.get("by")
    taken_back = event.data.get("reason") in (CANCELLED_BY_CUSTOMER, REJECTED_BY_OPERATOR)
    return taken_back if by is None else by != (caller and caller.name)


async def journal_of(
    request: Request, response: Response, caller: Caller | None, subject: str, *, unknown: Code
) -> Sequence[AnyEvent] | Response:
    """The journal of the subject as the client wants it: as it is now, or live; and as the caller may read it."""
    here = await shared_by(request)
    if wants_stream(request):
        mark = request.headers.get("last-event-id")
        return EventStream(here.live, mark, subject, unknown=unknown, caller=caller)
    events = await here.journal.of(subject)
    if not events:
        raise Problem(unknown)
    response.headers["Vary"] = "Accept"
    return [told_to(caller, event) for event in as_told(events)]


LIVE_OR_NOT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Live, it ends after the end event. The CloudEvent is in `data`, its type in `event`.",
        "content": {EventSourceResponse.media_type: {}},
    },
    204: {"description": "Live: you have all there is (`Last-Event-ID`), and nothing will follow."},
}
"""The OpenAPI responses of a route that gives a journal."""


# ---- where a reader is -------------------------------------------------------------------------------------------


class ReadMark:
    """Which events of a subject a reader has, by their positions in the journal."""

    def __init__(self, mark: str | None) -> None:
        """Whoever comes with a mark that is none of ours has nothing."""
        ours = mark and len(mark) <= MAX_MARK and _MARK.fullmatch(mark)
        steps = mark.split(".") if mark and ours else ["0"]
        self._floor, *named = accumulate(int(step, 16) for step in steps)
        self._named = set(named)

    def __contains__(self, position: int) -> bool:
        return position <= self._floor or position in self._named

    def add(self, position: int) -> None:
        self._named.add(position)

    @property
    def mark(self) -> str:
        """The id of a server-sent event: all that the reader has with it, as differences in hex.

        Not just the last position: positions are given at the insert and become visible at the commit, so an event with
        a lower one may come later. Links side by side do that every day; "all after the last" would skip the late one
        for ever. Nor a number given in the order of the commits: links side by side would wait for each other.
        A subject has a dozen events, so naming them is short. Of a very long journal the first number stands for all
        up to there: nothing comes `REMEMBERED` events of its own subject late.
        """
        named = sorted(self._named)
        floor = self._floor if len(named) <= REMEMBERED else named[-REMEMBERED - 1]
        return ".".join(f"{later - earlier:x}" for earlier, later in pairwise([0, floor, *named[-REMEMBERED:]]))


# ---- what is watched ---------------------------------------------------------------------------------------------


class Watched:
    """A subject that somebody watches, and what is known of its journal. `lines` is replaced, never changed."""

    def __init__(self) -> None:
        self.readers = 0
        self.events: dict[int, AnyEvent] = {}
        self.lines: Sequence[tuple[int, AnyEvent, str]] = ()  # position, event and its JSON, in the order of the chain
        self.ended = False
        self.begun = False
        self.outage: str | None = None
        self.news = asyncio.Event()

    def learn(self, events: dict[int, AnyEvent]) -> None:
        """What was found at a look; the first look is news to everybody, even if it has found nothing."""
        if events:
            self.events |= events
            positions = {(event.source, event.id): position for position, event in self.events.items()}
            self.lines = [
                (positions[event.source, event.id], event, event.model_dump_json())
                for event in as_told([event for _, event in sorted(self.events.items())])
            ]
            self.ended = any(TYPES.kind(event.type) is Kind.END for event in self.events.values())
        if events or not self.begun:
            self.begun = True
            self.wake()

    def fail(self, reason: str) -> None:
        """Nothing can be read now. Those who have begun go on waiting."""
        if not self.begun:
            self.outage = reason
            self.wake()

    def wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class Live:
    """The journal as it grows, for the readers of this process."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._watched: dict[str, Watched] = {}
        self._changed: set[str] = set()
        self._woken = asyncio.Event()
        self.closing = False

    @asynccontextmanager
    async def watching(self, subject: str) -> AsyncIterator[Watched]:
        """What is known of the subject, kept up to date. Raises `Outage` when nothing can be read."""
        watched = self._watched.setdefault(subject, Watched())
        watched.readers += 1
        try:
            while not watched.begun:
                if watched.outage or self.closing:
                    raise Outage(watched.outage or "this process ends")
                self._look_at([subject])
                await watched.news.wait()
            yield watched
        finally:
            watched.readers -= 1
            if not watched.readers:
                del self._watched[subject]

    def close(self) -> None:
        """Ends all streams; their readers go on at another process."""
        self.closing = True
        for watched in self._watched.values():
            watched.wake()

    async def run(self) -> None:
        while True:
            try:
                async with session(self._pool) as connection:
                    await self._follow(connection)
            except Outage as outage:
                log.warning("the live stream waits for PostgreSQL", error=str(outage))
                reason = str(outage)
            except Exception as error:
                log.exception("the live stream failed, it starts again")
                reason = repr(error)
            for watched in self._watched.values():
                watched.fail(reason)
            await asyncio.sleep(AGAIN)

    async def _follow(self, connection: Transaction) -> None:
        def gone(_: object) -> None:
            self._woken.set()

        await connection.add_listener(CHANNEL, self._heard)
        connection.add_termination_listener(gone)
        try:
            look_at_all = 0.0  # whatever was journalled while nobody listened
            while not connection.is_closed():
                if (now := asyncio.get_running_loop().time()) >= look_at_all:
                    self._changed.update(self._watched)
                    look_at_all = now + LOOK_ANYWAY
                changed = [subject for subject in self._changed if subject in self._watched]
                self._changed.clear()
                for first in range(0, len(changed), TOGETHER):
                    await self._look(connection, changed[first : first + TOGETHER])
                await asyncio.sleep(GATHER)
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(look_at_all):
                        await self._woken.wait()
                self._woken.clear()
        finally:
            connection.remove_termination_listener(gone)
            await connection.remove_listener(CHANNEL, self._heard)
        raise Outage("PostgreSQL: the connection is gone")

    def _heard(self, *args: Any) -> None:
        """The payload names the subjects that have news; empty, it may be any."""
        named = args[-1]
        self._look_at(from_json(named) if named else self._watched)

    def _look_at(self, subjects: Collection[str]) -> None:
        watched = [subject for subject in subjects if subject in self._watched]
        if watched:
            self._changed.update(watched)
            self._woken.set()

    async def _look(self, connection: Transaction, subjects: Sequence[str]) -> None:
        found = await positions_of(connection, subjects)
        known = {position for subject in subjects for position in self._known(subject)}
        new = await events_at(connection, [position for position in found if position not in known])
        by_subject: dict[str, dict[int, AnyEvent]] = {subject: {} for subject in subjects}
        for position, event in new.items():
            by_subject[event.subject][position] = event
        for subject, events in by_subject.items():
            if watched := self._watched.get(subject):
                watched.learn(events)

    def _known(self, subject: str) -> Collection[int]:
        watched = self._watched.get(subject)
        return watched.events if watched else ()


@asynccontextmanager
async def running_stream(pool: Pool) -> AsyncIterator[Live]:
    """Follows the journal beside the requests of this process, until it is cancelled."""
    live = Live(pool)
    async with beside(live.run()):
        with before_shutdown(live.close):
            yield live


# ---- one reader --------------------------------------------------------------------------------------------------


def wants_stream(request: Request) -> bool:
    """Whether the client asks for server-sent events."""
    weights: dict[str, float] = {}
    for each in ",".join(request.headers.getlist("accept")).lower().split(","):
        kind, _, parameters = each.partition(";")
        weight = re.search(r"(?:^|;)\s*q=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", parameters)
        weights.setdefault(kind.strip(), float(weight[1]) if weight else 1.0)
    best = max(weights, key=lambda kind: weights[kind])  # of equals the first
    return best == EventSourceResponse.media_type and weights[best] > 0


class EventStream(EventSourceResponse):
    """The journal of a subject from where the reader is (`Last-Event-ID`), until its end event.

    204, which makes a browser stop asking, when the reader has all of a subject that has ended. Raises `Problem`
    `unknown` for a subject that has no journal.
    """

    def __init__(
        self, live: Live, mark: str | None, subject: str, *, unknown: Code, caller: Caller | None = None
    ) -> None:
        # A proxy must not keep events back.
        super().__init__((), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Vary": "Accept"})
        self._live = live
        self._mark = ReadMark(mark)
        self._subject = subject
        self._unknown = unknown
        self._caller = caller

    async def __call__(self, scope: HttpScope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            async with asyncio.timeout(READ_WITHIN):
                await send(message)

        async with self._live.watching(self._subject) as watched:
            if not watched.lines:
                raise Problem(self._unknown)
            if watched.ended and all(position in self._mark for position, _, _ in watched.lines):
                await Response(status_code=204, headers={"Vary": "Accept"})(scope, receive, send)
                return
            self.body_iterator = self._frames(watched)
            try:
                await super().__call__(scope, receive, sent)
            except TimeoutError:
                log.info("a reader was too slow", subject=self._subject)

    async def _frames(self, watched: Watched) -> AsyncIterator[bytes]:
        # After a restart the readers should not come all at once.
        yield format_sse_event(retry=random.randint(1000, 3000))  # noqa: S311
        now = asyncio.get_running_loop().time
        until = now() + LIVES_FOR
        while not self._live.closing:
            news = watched.news  # taken before looking: what comes meanwhile is not missed
            ended = watched.ended
            for position, event, data in watched.lines:
                if position not in self._mark:
                    self._mark.add(position)
                    told = told_to(self._caller, event)
                    text = data if told is event else told.model_dump_json()
                    yield format_sse_event(id=self._mark.mark, event=event.type, data_str=text)
            if ended or now() >= until:
                return
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await news.wait()
            except TimeoutError:
                yield format_sse_event(comment="")
