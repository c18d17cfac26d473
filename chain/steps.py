"""The steps of one subject: every link that concerns it, in the order of the table, and how it is there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from chain.event import BACKWARD, AnyEvent, Kind, maker_of, type_of
from chain.position import links_at
from chain.subject import RECEIVED
from chain.table import Link, Route, Table


class State(StrEnum):
    """How a subject is at a link. `refused` and `undone` are ways of being done."""

    AHEAD = "ahead"
    IN_PROGRESS = "in_progress"
    WAITING = "waiting"
    PARKED = "parked"
    DONE = "done"
    REFUSED = "refused"
    UNDONE = "undone"
    LEFT_OUT = "left_out"


class Trying(NamedTuple):
    """What is tried at a link, or what was when it parked."""

    attempts: int | None
    last_error: str | None


@dataclass(frozen=True)
class Seen:
    """What is known of a subject: its journal (oldest first), its claims with their attempts, where it is parked, what
    is being tried (by the name of the consumer), and whether something has happened to it just now.

    Not `dispatched`: it is at no link.
    """

    events: Sequence[AnyEvent]
    done: Mapping[str, int | None]
    version: int | None = None
    parked: Mapping[str, Trying] | None = None
    trying: Mapping[str, Trying] | None = None
    moves: bool = False
    dispatched: bool = True


@dataclass(frozen=True)
class Step:
    """A subject at one link. `since`: when the event came that the link takes; `ended`: when it had made the next.

    `attempts` and `last_error` are of what is being tried now, or of the parking. Where it is done, `attempts` are
    those that it took if the first did not succeed. `reason` is what it was refused for there.
    """

    link: Link
    state: State
    since: datetime | None = None
    ended: datetime | None = None
    attempts: int | None = None
    last_error: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Group:
    """Subjects of which the same is known. `fresh`: something has happened to them just now. `ended`: they have, but
    what came later is not answered. `done`: links that have worked on them. `types`: of their events that are not those
    of a straight way, parkings apart. `parked`: link and reason of each place where they wait for a person.
    """

    version: int | None
    dispatched: bool
    fresh: bool
    ended: bool
    done: frozenset[str]
    types: frozenset[str]
    parked: tuple[tuple[str, str], ...]


def states_at(table: Table, group: Group) -> Mapping[str, State]:
    """The links where the subjects of a group stand, and how. `RECEIVED` is no link: accepted, and not dispatched."""
    if not group.dispatched:
        return {RECEIVED: State.WAITING}
    at = links_at(table, group.types, group.done, group.version, ended=group.ended)
    here = {name: manner(table.by_name[name], moves=group.fresh) for name in at}
    return here | {link: State.PARKED for link, _ in group.parked}


def steps(table: Table, seen: Seen) -> Sequence[Step]:
    """The links of the straight way, and of each other way that the subject has taken."""
    return _Steps(table, seen).all()


def manner(link: Link, *, moves: bool) -> State:
    """How an open subject is where it stands. Who waits for somebody outside waits, even if something happens."""
    return State.IN_PROGRESS if moves and not link.asks_again else State.WAITING


class _Steps:
    def __init__(self, table: Table, seen: Seen) -> None:
        self._table = table
        self._seen = seen
        self._version = table.version if seen.version is None else seen.version
        self._times = {event.type: event.time for event in reversed(seen.events)}
        self._made: dict[str, list[AnyEvent]] = {}
        for event in seen.events:
            if table.types.kind(event.type) not in (Kind.PARKED, Kind.RELEASED, Kind.WITHDRAWAL):
                self._made.setdefault(maker_of(event.source), []).append(event)
        kinds = {table.types.kind(each) for each in self._times}
        self._back = not kinds.isdisjoint(BACKWARD)
        self._over = self._back or Kind.END in kinds
        self._at = links_at(table, self._times, seen.done, self._version) if seen.dispatched else ()

    def all(self) -> Sequence[Step]:
        straight = {link for stage in self._table.straight for link in stage}
        routes = [(self._began(route), route) for route in self._table.all_routes]
        found: dict[Link, datetime | None] = {}
        for began, route in routes:
            for link, since in self._along(route, began):
                if began or link in straight:
                    found[link] = found.get(link) or since
        in_table = (link for link in self._table.links if link in found and link.since <= self._version)
        return [self._step(link, found[link]) for link in in_table]

    def _began(self, route: Route) -> datetime | None:
        """When the event came that takes this route; of several the first."""
        types = [kind for kind, other in self._table.by_type.items() if other is route]
        joined = [other for other in self._table.routes.values() if other.join and type_of(other.join.into) in types]
        times = [self._times[each] for each in types if each in self._times]
        return min(times, default=None) or next((self._through(other.stages[-1]) for other in joined), None)

    def _along(self, route: Route, began: datetime | None) -> Iterable[tuple[Link, datetime | None]]:
        since = began
        for stage in route.of_version(self._version):
            yield from ((link, since) for link in stage)
            since = (self._through(stage) or began) if route.back and began else self._through(stage)

    def _through(self, stage: Sequence[Link]) -> datetime | None:
        """When all links of the stage had spoken, those that have something to say."""
        if not all(link.name in self._made or link.name in self._seen.done for link in stage):
            return None
        return max((self._made[link.name][-1].time for link in stage if link.name in self._made), default=None)

    def _step(self, link: Link, since: datetime | None) -> Step:
        made = self._made.get(link.name, [])
        parked = (self._seen.parked or {}).get(link.name)
        trying = (self._seen.trying or {}).get(link.consumer.__name__) or Trying(None, None)
        if parked:
            return Step(link, State.PARKED, since, None, *parked)
        if made:
            reason = made[-1].data.get("reason")
            return Step(link, self._how(link, made), since, made[-1].time, self._seen.done.get(link.name), None, reason)
        if link.name in self._at:
            return Step(link, manner(link, moves=self._seen.moves), since, None, *trying)
        if link.name in self._seen.done and link not in self._table.forward:
            return Step(link, State.DONE, since, None, self._seen.done[link.name])  # and made nothing
        return Step(link, State.LEFT_OUT if self._over else State.AHEAD, since)

    def _how(self, link: Link, made: Sequence[AnyEvent]) -> State:
        if any(self._table.types.kind(event.type) is Kind.REFUSAL for event in made):
            return State.REFUSED
        return State.UNDONE if any(each.name in self._made for each in self._table.undone_by(link)) else State.DONE
