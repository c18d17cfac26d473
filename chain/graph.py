"""The shape of a chain as a picture shows it: the straight way, the way back, and what stands aside of both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chain.event import Event, Kind, type_of
from chain.table import Link, Route, Table

Stages = Sequence[Sequence[Link]]
"""One after the other; the links of a stage side by side."""


@dataclass(frozen=True)
class Graph:
    """Each link once. One that settles another is in none of them: it is drawn at the place of the link it settles."""

    forward: Stages
    back: Stages
    aside: Stages


def graph(table: Table) -> Graph:
    seen = {*table.settles}
    forward = _unseen(seen, table.straight)
    back = _unseen(seen, table.back.stages if table.back else ())
    return Graph(forward, back, _unseen(seen, (stage for route in table.routes.values() for stage in route.stages)))


def routes(table: Table) -> Sequence[tuple[Sequence[type[Event[Any]]], Route]]:
    """Each route with the events that take it, in the order of the table."""
    taken = [(event, table.by_type.get(type_of(event))) for event in table.events]
    return [([event for event, other in taken if other is route], route) for route in dict.fromkeys(table.all_routes)]


def good_ends(table: Table) -> Sequence[type[Event[Any]]]:
    """The ends that a subject comes to when nothing goes wrong: those of the straight way, and those from outside."""
    joined = [route.join.into for route in table.routes.values() if route.join and not route.back]
    straight = [link.makes[0] for stage in table.straight for link in stage if link.makes]
    made = {event for link in table.links for event in link.makes} | {table.withdrawn}
    ends = [event for event in table.events if event.kind is Kind.END]
    return [event for event in ends if event in (*joined, *straight) or event not in made]


def _unseen(seen: set[str], stages: Iterable[Sequence[Link]]) -> Stages:
    left = []
    for stage in stages:
        links = [link for link in stage if link.name not in seen]
        seen |= {link.name for link in links}
        left += [links] if links else []
    return left
