"""`lanka chains`: every chain, drawn from its table, as text for a terminal and as a picture for Mermaid."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from chain.event import Event, Kind
from chain.graph import routes
from chain.table import Link, Route, Table
from workflows.chain import Chain

Events = Sequence[type[Event[Any]]]


def text(name: str, chain: Chain) -> str:
    """What becomes of each event, in the order of the table."""
    return "\n".join([name, *(f"  {line}" for line in _lines(chain.table))])


def mermaid(chain: Chain) -> str:
    """A flowchart. Solid arrows lead on; dashed ones into waiting, and into the way back."""
    return "\n".join(["flowchart LR", *(f"    {line}" for line in _Picture(chain.table).lines())])


def _names(events: Iterable[type[Event[Any]]], between: str) -> str:
    return between.join(event.__name__ for event in events)


def _consumer(link: Link) -> str:
    return f"{link.queue}: {link.consumer.__name__}"


# ---- text --------------------------------------------------------------------------------------------------------


def _lines(table: Table) -> Iterator[str]:
    for events, route in routes(table):
        yield _names(events, ", ") + (" (the way back)" if route is table.back else "")
        for nth, stage in enumerate(route.stages):
            yield from _stage(stage, "  then " if nth else "  ")
        if route.join:
            yield f"  all agreed -> {route.join.into.__name__}"
    yield _names([table.parked, table.released, table.withdrawn], ", ") + " (made by the router)"
    yield from _stage([table.note], "  ")


def _stage(stage: Sequence[Link], begins: str) -> Iterator[str]:
    if len(stage) > 1:
        yield f"{begins}side by side"
    yield from (f"{begins if len(stage) == 1 else '    '}{_step(link)}" for link in stage)


def _step(link: Link) -> str:
    made = " | ".join(f"{event.__name__}{' (end)' if event.kind is Kind.END else ''}" for event in link.makes)
    again = f", asked again after {link.asks_again.total_seconds():g} s" if link.asks_again else ""
    return f"{_consumer(link)} -> {made or 'nothing'}{again}"


# ---- the picture -------------------------------------------------------------------------------------------------


class _Picture:
    """A node is called by its event, or by the link that makes it. It is described where it stands first."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._routes = routes(table)
        self._taking = {event: events for events, _ in self._routes for event in events}
        self._described: set[str] = set()

    def lines(self) -> Iterator[str]:
        yield f"outside([from outside]) --> {' & '.join(self._node(events) for events in self._from_outside())}"
        for events, route in self._routes:
            if route is self._table.back and (refusing := self._refusing()):
                yield f"{' & '.join(refusing)} -. no .-> {self._node(events)}"
            yield from self._route(self._node(events), route)

    def _from_outside(self) -> Sequence[Events]:
        """What begins a route and is made neither by a link nor by the router."""
        table = self._table
        made = {event for link in table.links for event in link.makes}
        made |= {route.join.into for route in table.routes.values() if route.join}
        made |= {table.parked, table.released, table.withdrawn}
        return [events for events, _ in self._routes if made.isdisjoint(events)]

    def _refusing(self) -> Sequence[str]:
        """From where the way back is taken."""
        return [
            self._node(events)
            for events, route in self._routes
            if any(event.kind is Kind.REFUSAL for link in route.links for event in link.makes)
        ]

    def _route(self, given: str, route: Route) -> Iterator[str]:
        for stage in route.stages:
            if stage is route.stages[-1] and not route.join:
                for link in stage:
                    yield from self._on(given, link, link.makes)
                return
            for link in stage:
                agreed = [event for event in link.makes if not _aside(event)]
                yield f"{given} -->|{_consumer(link)}| {self._node(agreed, link)}"
                yield from self._on(given, link, [event for event in link.makes if _aside(event)])
            given = " & ".join(self._node((), link) for link in stage)
        if route.join:
            yield f"{given} --> {self._node(self._taking.get(route.join.into, [route.join.into]))}"

    def _on(self, given: str, link: Link, makes: Events) -> Iterator[str]:
        """From `given` to each event that is routed, and to those with which it is over."""
        straight = [event for event in makes if not _aside(event)]
        over = [event for event in straight if event not in self._taking]
        on = [self._taking[event] for event in straight if event in self._taking]
        for events in [*on, *([over] if over else [])]:
            yield f"{given} -->|{_consumer(link)}| {self._node(events)}"
        if not link.makes:
            yield f"{given} -->|{_consumer(link)}| {self._node([], link)}"
        for event in makes:
            if event.kind is Kind.PENDING and event in self._taking:
                yield f"{given} -. waits .-> {self._node(self._taking[event])}"

    def _node(self, events: Events, maker: Link | None = None) -> str:
        if maker:
            node = f"{maker.name.replace('-', '_')}_made"
        else:
            node = _names(events[:1] if events[0] in self._taking else events, "_")
        if node in self._described:
            return node
        self._described.add(node)
        if not events:
            return f'{node}((" "))'
        label = _names(events, "<br>")
        if all(event.kind is Kind.END for event in events):
            return f"{node}([{label}])"
        return node if label == node else f"{node}[{label}]"


def _aside(event: type[Event[Any]]) -> bool:
    """What a link makes when it refuses or has to wait."""
    return event.kind in (Kind.REFUSAL, Kind.PENDING)
