"""Hand-written twins of the store, in memory: what a consumer needs to decide, and nothing of how it is stored."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from chain.batch import Work
from chain.event import AnyEvent, Event
from orders.payment import Payment
from tests.shop import untyped

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


class TwinJournal:
    """Each (subject, link) once. `transactions` tells which subjects each transaction was opened for."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str], AnyEvent | None] = {}
        self.recorded: list[AnyEvent] = []
        self.transactions: list[list[str]] = []
        self.attempts: list[int] = []

    async def once(
        self,
        link: str,
        events: Sequence[Any],
        decide: Callable[[Work, Sequence[Any]], Awaitable[Sequence[Event[Any]]]],
        *,
        unrecorded: bool = False,
        closes: Sequence[str] = (),
        attempt: int = 1,
    ) -> list[AnyEvent]:
        self.attempts.append(attempt)
        self.transactions.append([event.subject for event in events])
        fresh = [event for event in events if (event.subject, link) not in self.made]
        made = {event.subject: untyped(event) for event in await decide(Work(None, link, NOW), fresh)}
        self.recorded += [*([untyped(event) for event in fresh] if unrecorded else []), *made.values()]
        self.made |= {(event.subject, link): made.get(event.subject) for event in fresh}
        known = [self.made[event.subject, link] for event in events]
        return [event for event in known if event]

    async def note(self, events: Sequence[AnyEvent]) -> None:
        self.recorded += events

    def about(self, subject: str) -> AbstractContextManager[object]:
        return nullcontext()

    async def done(self, link: str, subjects: Sequence[str]) -> set[str]:
        return {subject for subject in subjects if (subject, link) in self.made}


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
