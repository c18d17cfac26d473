"""Where a subject stands: the one function that says so, from its events, its claims and the table.

`GET /orders/{id}`, the pages, the funnel, the metrics, the terminal and the reconciliation ask here.
"""

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from chain.event import BACKWARD, Kind, type_of
from chain.table import Link, Route, Table


class Entry(NamedTuple):
    """An event of the journal, as far as it matters here. `link` made it; `reason` is what a refusal gives."""

    link: str
    type: str
    reason: str | None = None


class Position(NamedTuple):
    """`at`: the links where the subject stands, in the order of the table; none after the end, or where nobody does
    anything. `link`: the first of them, and after the end the one that decided. `reason`: why it goes or went back.
    """

    at: tuple[str, ...]
    link: str | None
    reason: str | None


def links_at(
    table: Table, types: Collection[str], done: Collection[str], version: int | None = None, *, ended: bool = False
) -> tuple[str, ...]:
    """The links where a subject stands.

    `types`: of its events, at least those that are not of a straight way. `done`: the links that have claimed it,
    with an event or without a word. `version`: that of the table which it was dispatched with; None: today's.
    """
    return _links_at(table, frozenset(types), frozenset(done), version, ended)


@lru_cache(maxsize=10_000)  # the subjects of a chain are many, and the ways in which they stand are few
def _links_at(
    table: Table,
    types: frozenset[str],
    done: frozenset[str],
    version: int | None,
    ended: bool,
) -> tuple[str, ...]:
    return _Standing(table, types, done, version, ended=ended).at()


def position(table: Table, journal: Sequence[Entry], done: Collection[str], version: int | None = None) -> Position:
    """All that follows from a whole journal, oldest event first."""
    at = links_at(table, {each.type for each in journal}, done, version)
    decisive = decisive_of(table, journal)
    link = at[0] if at else _decided(table, journal, decisive, version)
    return Position(at, link, decisive.reason if decisive else None)


def decisive_of(table: Table, journal: Sequence[Entry]) -> Entry | None:
    """What sent the subject back: a withdrawal before all else, of several refusals that of the earliest link."""
    backward = [each for each in journal if table.types.kind(each.type) in BACKWARD]
    withdrawn = [each for each in backward if table.types.kind(each.type) is Kind.WITHDRAWAL]
    ranks = {link.name: rank for rank, link in enumerate(table.links)}
    return min(withdrawn or backward, key=lambda each: ranks.get(each.link, len(ranks)), default=None)


def _decided(table: Table, journal: Sequence[Entry], decisive: Entry | None, version: int | None) -> str | None:
    """The link that refused or that made the end; of a subject that was taken back, the one that it had come to."""
    if decisive is None:
        return next((each.link for each in reversed(journal) if table.types.kind(each.type) is Kind.END), None)
    if table.types.kind(decisive.type) is Kind.REFUSAL:
        return decisive.link
    came = [each for each in journal if table.types.kind(each.type) in (Kind.START, Kind.FACT, Kind.PENDING)]
    here = links_at(table, {each.type for each in came}, {each.link for each in came}, version)
    return here[0] if here else None


class _Standing:
    def __init__(
        self, table: Table, types: Collection[str], done: Collection[str], version: int | None, *, ended: bool
    ) -> None:
        self._table = table
        self._done = set(done)
        self._version = table.version if version is None else version
        self._types = {type_of(table.starts), *types}
        self._types |= set(self._silent())
        self._kinds = {table.types.kind(each) for each in self._types} | ({Kind.END} if ended else set())

    def at(self) -> tuple[str, ...]:
        if Kind.END in self._kinds:
            here = self._missing(Kind.END, Kind.LATE)
        elif self._goes_back():
            here = self._missing(*BACKWARD)
        else:
            here = self._missing(Kind.START, Kind.FACT, Kind.PENDING)
        return tuple(link.name for link in self._table.links if link in here)

    def _silent(self) -> Iterator[str]:
        """The types of the events that are not given, but made: a link that has worked and of which none is given has
        made the first of what it makes. One that the way back has closed may never have worked.
        """
        worked = [link for link in self._table.links if link.name in self._done]
        closed = {name for link in worked for name in self._table.closes(link)}
        for link in worked:
            if link.makes and link.name not in closed and self._types.isdisjoint(map(type_of, link.makes)):
                yield type_of(link.makes[0])

    def _goes_back(self) -> bool:
        """Whether the way back has begun: of links side by side no refusal counts before all have spoken."""
        if Kind.WITHDRAWAL in self._kinds:
            return True
        if Kind.REFUSAL not in self._kinds:
            return False
        assert self._table.back, "a refusal leads back"
        if not self._done.isdisjoint(link.name for link in self._table.back.stages[0]):
            return True  # the first links there close the forward ones
        refusals = self._table.types.of(Kind.REFUSAL) & self._types
        return not any(self._held_up(stage, refusals) for stage in self._forward_stages())

    def _forward_stages(self) -> Iterator[Sequence[Link]]:
        return (stage for route in self._table.routes.values() for stage in route.of_version(self._version))

    def _held_up(self, stage: Sequence[Link], refusals: Collection[str]) -> bool:
        """Whether a link of the stage has refused while one beside it is still at work."""
        done = [link for link in stage if link.name in self._done]
        refused = any(type_of(each) in refusals for link in done for each in link.makes)
        return refused and len(done) < len(stage)

    def _missing(self, *kinds: Kind) -> set[Link]:
        """The links that have still to work on events of these kinds."""
        given = [each for each in self._types if self._table.types.kind(each) in kinds]
        routes = {self._table.by_type[each] for each in given if each in self._table.by_type}
        return {link for route in routes for link in self._ahead(route)}

    def _ahead(self, route: Route) -> Sequence[Link]:
        for stage in route.of_version(self._version):
            if missing := [link for link in stage if link.name not in self._done]:
                return missing
            if any(type_of(each) in self._types & self._table.by_type.keys() for link in stage for each in link.makes):
                return ()  # that goes on along a route of its own
        joined = self._table.by_type.get(type_of(route.join.into)) if route.join else None
        return self._ahead(joined) if joined else ()
