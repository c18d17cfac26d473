"""`lanka chains`: every chain, drawn from its table, as text for a terminal and as a picture for Mermaid."""

from collections.abc import Iterator, Sequence
from typing import Any

from chain.event import Event, class_of
from chain.table import Link, Route, Table
from workflows.chain import Chain

Kinds = Sequence[type[Event[Any]]]


def text(name: str, chain: Chain) -> str:
    """What becomes of each event, in the order of the table."""
    return "\n".join([name, *(f"  {line}" for line in _lines(chain.workflow.table))])


def mermaid(chain: Chain) -> str:
    """A flowchart. Solid arrows lead on; dashed ones into waiting, and into the way back."""
    return "\n".join(["flowchart LR", *(f"    {line}" for line in _Picture(chain.workflow.table).lines())])


def _routes(table: Table) -> list[tuple[list[type[Event[Any]]], Route]]:
    """The routes with the events that take each, as several may take the same."""
    together: list[tuple[list[type[Event[Any]]], Route]] = []
    for event_type, route in table.routes.items():
        kind = class_of(event_type)
        if known := next((kinds for kinds, other in together if other == route), None):
            known.append(kind)
        else:
            together.append(([kind], route))
    return together


def _names(kinds: Kinds, between: str) -> str:
    return between.join(kind.__name__ for kind in kinds)


def _consumer(link: Link) -> str:
    return f"{link.queue}: {link.consumer.__name__}"


# ---- text --------------------------------------------------------------------------------------------------------


def _lines(table: Table) -> Iterator[str]:
    for kinds, route in _routes(table):
        yield _names(kinds, ", ") + (" (the way back)" if route.back else "")
        together = len(route.links) > 1
        if together:
            yield "  side by side"
        for link in route.links:
            yield f"{'    ' if together else '  '}{_step(link)}"
        if route.join:
            yield f"  {_names(route.join.of, ' + ')} -> {route.join.into.__name__}"
        for link in route.then:
            yield f"  then {_step(link)}"
    yield _names([table.parked, table.released, table.withdrawn], ", ") + " (told by the router)"
    yield f"  {_step(table.note)}"


def _step(link: Link) -> str:
    made = " | ".join(f"{kind.__name__}{' (end)' if kind.ends else ''}" for kind in link.makes)
    again = f", asked again after {link.asks_again.total_seconds():g} s" if link.asks_again else ""
    return f"{_consumer(link)} -> {made or 'nothing'}{again}"


# ---- the picture -------------------------------------------------------------------------------------------------


class _Picture:
    """A node is called by its event, or by the link that makes it. It is described where it stands first."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._routes = _routes(table)
        self._taking = {kind: (kinds, route) for kinds, route in self._routes for kind in kinds}
        self._described: set[str] = set()

    def lines(self) -> Iterator[str]:
        yield f"outside([from outside]) --> {' & '.join(self._node(kinds) for kinds in self._from_outside())}"
        for kinds, route in self._routes:
            if route.back and (refusing := self._refusing(kinds)):
                yield f"{' & '.join(refusing)} -. no .-> {self._node(kinds)}"
            if route.join or route.then:
                yield from self._together(kinds, route)
            else:
                for link in route.links:
                    yield from self._on(self._node(kinds), link, link.makes)

    def _from_outside(self) -> Sequence[Kinds]:
        """What begins a route and is made neither by a link nor by the router."""
        table = self._table
        made = {kind for link in table.links for kind in link.makes}
        made |= {route.join.into for route in table.routes.values() if route.join}
        made |= {table.parked, table.released, table.withdrawn}
        return [kinds for kinds, _ in self._routes if made.isdisjoint(kinds)]

    def _refusing(self, kinds: Kinds) -> Sequence[str]:
        """From where the way back is taken that begins with any of `kinds`."""
        return [
            self._node(others)
            for others, route in self._routes
            if not route.then
            and any(kind in kinds and kind not in self._straight(link) for link in route.links for kind in link.makes)
        ]

    def _straight(self, link: Link) -> Kinds:
        """What a link makes when it neither refuses nor has to wait; all of it, where it can do nothing else."""

        def aside(kind: type[Event[Any]]) -> bool:
            _, route = self._taking.get(kind, ((), None))
            return route is not None and (route.back or any(link.asks_again for link in route.links))

        return [kind for kind in link.makes if not aside(kind)] or link.makes

    def _together(self, kinds: Kinds, route: Route) -> Iterator[str]:
        nodes = []
        for link in route.links:
            agreed = [kind for kind in link.makes if not route.join or kind in route.join.of]
            yield f"{self._node(kinds)} -->|{_consumer(link)}| {self._node(agreed, link)}"
            yield from self._on(self._node(kinds), link, [kind for kind in link.makes if kind not in agreed])
            nodes.append(self._node(agreed, link))
        if route.join:
            joined, _ = self._taking.get(route.join.into, ([route.join.into], None))
            yield f"{' & '.join(nodes)} --> {self._node(joined)}"
        for link in route.then:
            yield from self._on(" & ".join(nodes), link, link.makes)

    def _on(self, given: str, link: Link, makes: Kinds) -> Iterator[str]:
        """From `given` to each event that is routed, and to those with which it is over."""
        straight = self._straight(link)
        over = [kind for kind in makes if kind not in self._taking]
        aside = [kind for kind in makes if kind not in straight]
        on = [self._taking[kind][0] for kind in makes if kind not in (*over, *aside)]
        for kinds in [*on, *([over] if over else [])]:
            yield f"{given} -->|{_consumer(link)}| {self._node(kinds)}"
        if not link.makes:
            yield f"{given} -->|{_consumer(link)}| {self._node([], link)}"
        for kinds, route in (self._taking[kind] for kind in aside):
            if not route.back:
                yield f"{given} -. waits .-> {self._node(kinds)}"

    def _node(self, kinds: Kinds, maker: Link | None = None) -> str:
        if maker:
            node = f"{maker.name.replace('-', '_')}_made"
        else:
            node = _names(kinds[:1] if kinds[0] in self._taking else kinds, "_")
        if node in self._described:
            return node
        self._described.add(node)
        if not kinds:
            return f'{node}((" "))'
        label = _names(kinds, "<br>")
        if all(kind.ends for kind in kinds):
            return f"{node}([{label}])"
        return node if label == node else f"{node}[{label}]"
