"""Hand-written twins of the store, in memory: what a consumer needs to decide, and nothing of how it is stored."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from chain.batch import Work
from chain.event import AnyEvent, Event, id_of
from orders.payment import Payment
from tests.shop import untyped
from workflows.order_confirmation import TABLE

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def typed(event: AnyEvent) -> Any:
    """The event as the class that the chain of orders declares."""
    return TABLE.types[event.type].model_validate(event.model_dump())


class TwinJournal:
    """Each (subject, link) once, or each event. `transactions` tells which subjects each transaction was opened for."""

    def __init__(self) -> None:
        self.made: dict[str, AnyEvent | None] = {}
        self.recorded: list[AnyEvent] = []
        self.transactions: list[list[str]] = []
        self.attempts: list[int] = []

    async def process_once(
        self,
        link: str,
        events: Sequence[Any],
        decide: Callable[[Work, Sequence[Any]], Awaitable[Sequence[Event[Any]]]],
        *,
        unrecorded: bool = False,
        closes: Sequence[str] = (),
        attempt: int = 1,
        each: bool = False,
    ) -> list[AnyEvent]:
        self.attempts.append(attempt)
        self.transactions.append([event.subject for event in events])
        fresh = {name: event for event in events if (name := _made_id(link, event, each=each)) not in self.made}
        made = {event.id: untyped(event) for event in await decide(Work(None, link, NOW, each), [*fresh.values()])}
        self.recorded += [*([untyped(event) for event in fresh.values()] if unrecorded else []), *made.values()]
        self.made |= {name: made.get(name) for name in fresh}
        known = [self.made[_made_id(link, event, each=each)] for event in events]
        return [event for event in known if event]

    async def append(self, events: Sequence[AnyEvent]) -> None:
        self.recorded += events

    def about(self, subject: str) -> AbstractContextManager[object]:
        return nullcontext()

    async def done(self, link: str, events: Sequence[Event[Any]], *, each: bool = False) -> set[str]:
        there = [event for event in events if _made_id(link, event, each=each) in self.made]
        return {event.id if each else event.subject for event in there}


def _made_id(link: str, event: Event[Any], *, each: bool) -> str:
    """The id of what `link` makes of the event."""
    return id_of(event.subject, link, event.id if each else None)


class TwinPayments:
    """Who claims a payment first has it; `became` notes what became of an order's payment."""

    def __init__(self) -> None:
        self.claims: dict[str, str] = {}
        self.outcome: dict[str, str] = {}

    async def claim(self, tx: Any, wanted: Mapping[str, Payment]) -> set[str]:
        return {
            order_id
            for order_id, payment in wanted.items()
            if self.claims.setdefault(payment.payment_id, order_id) == order_id
        }

    async def became(self, tx: Any, order_ids: Sequence[str], status: str) -> None:
        self.outcome |= dict.fromkeys(order_ids, status)
