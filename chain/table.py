"""What a chain is made of: links, routes, and the table that says which consumer takes which event."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal

from chain.batch import Processed
from chain.event import BACKWARD, AnyEvent, Event, EventTypes, Kind, source_of, type_of
from chain.subject import PROCESSING, RECEIVED, Parked, Released, Withdrawn
from chain.words import Words


@dataclass(frozen=True, eq=False)
class Link:
    """One consumer at one place of the chain. `name` makes the idempotency keys, so it never changes.

    `makes`: the events that may come of it, one for each subject; first the one that leads straight on.
    `asks_again`: what the consumer leaves out is brought to it again after this long, or when the event's
    `deadline` comes, whichever is first; without it, at once.
    `since`: the version of the table from which on the link exists. Subjects that were dispatched before pass by.
    `once`: it works once on a subject, and a second event gets the first's answer; or once on each event.
    `undoes`: the link whose effect is taken back here. `refunds`: money is given back here, and owed until it is.
    `calls_out`: somebody outside is called, who is not to be hit by everybody at once.
    """

    name: str
    consumer: Callable[..., Awaitable[Processed]]
    queue: str
    makes: tuple[type[Event[Any]], ...]
    start_to_close: timedelta = timedelta(seconds=30)  # above the longest external call and its transaction
    asks_again: timedelta | None = None
    since: int = 1
    once: Literal["subject", "event"] = "subject"
    undoes: str | None = None
    refunds: bool = False
    calls_out: bool = False


@dataclass(frozen=True, eq=False)
class Join:
    """When all links of a route have agreed, the router makes `into` of the event that they were given."""

    name: str
    into: type[Event[Any]]


@dataclass(frozen=True, eq=False)
class Route:
    """The stages that take an event, one after the other, all given this event; the links of a stage go side by side.

    Behind a stage, whatever a link has made that has a route of its own goes on along that, the first "no" in the order
    of the links before all else; only then comes the next stage. Behind the last, what its links have made goes on, or
    with a `join` the event that says that all have agreed.

    `too_late`: from here on the customer can no longer cancel. `back`: the way back, from which nobody withdraws.
    """

    stages: tuple[tuple[Link, ...], ...]
    join: Join | None = None
    too_late: bool = False
    back: bool = False

    @property
    def links(self) -> Sequence[Link]:
        return [link for stage in self.stages for link in stage]

    def of_version(self, version: int) -> Sequence[Sequence[Link]]:
        """The stages for a subject that was dispatched with this version of the table."""
        there = ([link for link in stage if link.since <= version] for stage in self.stages)
        return [stage for stage in there if stage]


def route(*stages: Link | tuple[Link, ...], join: Join | None = None, too_late: bool = False) -> Route:
    """`route(PAYMENT)`; `route((CART, PRICE), join=CHECKED)` for two side by side."""
    return Route(tuple(stage if isinstance(stage, tuple) else (stage,) for stage in stages), join, too_late)


def way_back(*stages: Link | tuple[Link, ...]) -> Route:
    """A route from which nobody withdraws."""
    forward = route(*stages, too_late=True)
    return Route(forward.stages, too_late=True, back=True)


@dataclass(frozen=True, eq=False)
class Table:
    """One chain: what it begins with, the routes of its events, and what everything in it is called.

    `back`: where every refusal and withdrawal leads; without it a subject that is taken back has ended.
    `note`: the consumer that journals what the router itself makes.
    """

    starts: type[Event[Any]]
    routes: Mapping[type[Event[Any]], Route]
    note: Link
    back: Route | None = None
    parked: type[Event[Any]] = Parked
    released: type[Event[Any]] = Released
    withdrawn: type[Event[Any]] = Withdrawn
    also: tuple[type[Event[Any]], ...] = ()
    """Events that no link takes or makes, such as what comes from outside."""
    words: Words = field(default_factory=Words)

    def __post_init__(self) -> None:
        assert self.starts.kind is Kind.START, f"{self.starts.__name__} begins a chain, so its kind is START"
        assert (self.withdrawn.kind is Kind.WITHDRAWAL) is bool(self.back), "who is taken back needs a way back"
        silent = [event.__name__ for event in self.events if event.kind is Kind.END and not event.status]
        assert not silent, f"{', '.join(silent)}: an END gives a status, by which it is counted and shown"

    @cached_property
    def by_type(self) -> Mapping[str, Route]:
        """The route of each type that has one."""
        back = {type_of(each): self.back for each in self.events if self.back and each.kind in BACKWARD}
        return {**{type_of(each): route for each, route in self.routes.items()}, **back}

    @cached_property
    def all_routes(self) -> Sequence[Route]:
        return [*self.routes.values(), *([self.back] if self.back else [])]

    @cached_property
    def links(self) -> Sequence[Link]:
        """Every link of the chain, in the order of the table, and the note."""
        return [*dict.fromkeys(link for route in self.all_routes for link in route.links), self.note]

    @cached_property
    def by_name(self) -> Mapping[str, Link]:
        return {link.name: link for link in self.links}

    @cached_property
    def events(self) -> Sequence[type[Event[Any]]]:
        """Every event that this chain declares."""
        joined = [route.join.into for route in self.routes.values() if route.join]
        made = [event for route in self.all_routes for link in route.links for event in link.makes]
        own = [self.parked, self.released, self.withdrawn]
        return list(dict.fromkeys([self.starts, *self.routes, *made, *joined, *self.also, *own]))

    @cached_property
    def statuses(self) -> AbstractSet[str]:
        """Those that a subject may have."""
        return {RECEIVED, PROCESSING, *(event.status for event in self.events if event.status)}

    @cached_property
    def types(self) -> EventTypes:
        return EventTypes(self.events)

    @cached_property
    def version(self) -> int:
        """Rises with each link that is added."""
        return max(link.since for link in self.links)

    @cached_property
    def own(self) -> frozenset[str]:
        """Types of the events that the router makes and routes: the next consumer journals them."""
        joined = {type_of(route.join.into) for route in self.routes.values() if route.join}
        return frozenset(joined | {type_of(self.withdrawn)})

    @cached_property
    def forward(self) -> Sequence[Link]:
        """The links that lead to an effect which the way back takes back."""
        late = (route for event, route in self.routes.items() if event.kind in (Kind.LATE, Kind.END))
        aside = {link for route in late for link in route.links}
        links = (link for event, route in self.routes.items() if not route.back for link in route.links)
        return [link for link in dict.fromkeys(links) if link not in aside]

    @cached_property
    def straight(self) -> Sequence[Sequence[Link]]:
        """The stages of a subject that nothing comes between, from its start to its end."""
        stages: list[Sequence[Link]] = []
        ahead: list[type[Event[Any]]] = [self.starts]
        walked: set[type[Event[Any]]] = set()
        while ahead:
            event = ahead.pop(0)
            route = self.by_type.get(type_of(event))
            if route is None or event in walked:
                continue
            walked.add(event)
            stages += route.stages
            ahead += [route.join.into] if route.join else [each for link in route.stages[-1] for each in link.makes[:1]]
        return stages

    @cached_property
    def settles(self) -> Mapping[str, str]:
        """The links that wait for somebody outside: which link each of them answers for."""
        pending = {event: route for event, route in self.routes.items() if event.kind is Kind.PENDING}
        return {
            waits.name: link.name
            for link in reversed(self.links)
            for event in link.makes
            if event in pending
            for waits in pending[event].links
        }

    def closes(self, link: Link) -> Sequence[str]:
        """Links that have nothing more to do with a subject once `link` has worked on it.

        The first on the way back close all forward ones: an attempt of theirs that was thought dead may come to life.
        """
        if self.back is None or link not in self.back.stages[0]:
            return ()
        return [each.name for each in self.forward]

    def answering(self, *kinds: Kind, refunds: bool = False) -> Sequence[str]:
        """The names of the links that take events of these kinds; with `refunds` those that give money back."""
        routes = dict.fromkeys(self.by_type[each] for each in self.by_type if self.types.kind(each) in kinds)
        return [link.name for route in routes for link in route.links if link.refunds or not refunds]

    @cached_property
    def inputs(self) -> Mapping[str, frozenset[str]]:
        """For each link the types of the events that bring a subject to it: the latest of them is when it came."""
        found: dict[str, set[str]] = {}
        for kind, route in self.by_type.items():
            before: set[str] = set()
            for stage in route.stages:
                for link in stage:
                    found.setdefault(link.name, set()).update(before, [kind])
                before = {type_of(each) for link in stage for each in link.makes}
        return {link: frozenset(types) for link, types in found.items()}

    def undone_by(self, link: Link) -> Sequence[Link]:
        """The links that take back what `link` has done."""
        return [each for each in self.links if each.undoes == link.name]


def in_order(table: Table, events: Sequence[AnyEvent]) -> list[AnyEvent]:
    """The journal of a subject with what links side by side have made in the order of the links.

    They commit in whichever order they please; a reader should not see the same story in two ways.
    """
    sorted_so_far = list(events)
    for stage in _side_by_side(table):
        ranks = {source_of(link.name): rank for rank, link in enumerate(stage)}
        places = [place for place, event in enumerate(sorted_so_far) if event.source in ranks]
        sorted_events = sorted((sorted_so_far[place] for place in places), key=lambda event: ranks[event.source])
        for place, event in zip(places, sorted_events, strict=True):
            sorted_so_far[place] = event
    return sorted_so_far


def _side_by_side(table: Table) -> Iterator[Sequence[Link]]:
    return (stage for route in table.all_routes for stage in route.stages if len(stage) > 1)
