"""What a journal says about links: at which of them a subject is now, and what led to the events that they made."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orders.envelope import type_of
from workflows.routing import Link, Route, Table


class Told(NamedTuple):
    """An event of the journal, as far as it matters here: which link made it, and its type."""

    link: str
    type: str


class Places(NamedTuple):
    """Where a subject is: links that have it, and of them those where it is parked."""

    at: frozenset[str]
    parked: frozenset[str]


def places(table: Table, told: Sequence[Told], done: Sequence[str] = ()) -> Places:
    """At which links a subject with this journal (oldest first) is. `done`: links that have worked without a word."""
    parked: set[str] = set()
    spoken = set(done)
    types = {each.type for each in told}
    for each in told:
        if each.type == type_of(table.parked):
            parked.add(each.link)
        elif each.type == type_of(table.released):
            parked.discard(each.link)
        else:
            spoken.add(each.link)
    withdrawn = type_of(table.withdrawn) in types
    going_on = _going_on(table, types)
    routes = [route for kind, route in table.routes.items() if kind in going_on and (route.back or not withdrawn)]
    at = {link.name for route in routes for link in _missing(route, spoken)}
    return Places(frozenset(at), frozenset(parked & at))


def inputs(table: Table) -> Mapping[str, frozenset[str]]:
    """For each link the types of the events that bring a subject to it: the latest of them is when it came."""
    found: dict[str, set[str]] = {}
    for kind, route in table.routes.items():
        for link in route.links:
            found.setdefault(link.name, set()).add(kind)
        for link in route.then:
            made = (type_of(each) for before in route.links for each in before.makes)
            found.setdefault(link.name, set()).update(made, [kind])
    return {link: frozenset(types) for link, types in found.items()}


def refusals(table: Table) -> frozenset[str]:
    """The types of the events that send a subject back."""
    return frozenset(kind for kind, route in table.routes.items() if route.then)


def _going_on(table: Table, types: set[str]) -> set[str]:
    """What is directed on: of links side by side nothing before all have spoken, then also what the router makes."""
    going_on = set(types)
    for kind, route in table.routes.items():
        if route.join and kind in types:
            said = [types & {type_of(each) for each in link.makes} for link in route.links]
            if not all(said):
                going_on -= set().union(*said)
            elif {type_of(each) for each in route.join.of} <= types:
                going_on.add(type_of(route.join.into))
    return going_on


def _missing(route: Route, spoken: set[str]) -> Sequence[Link]:
    missing = [link for link in route.links if link.name not in spoken]
    return missing or [link for link in route.then if link.name not in spoken]
