"""Hand-written twins of the store, in memory: what a consumer needs to decide, and nothing of how it is stored."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from chain.batch import Batch, Decide, Work
from chain.event import AnyEvent, Event
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
        self, batch: Batch, events: Sequence[Any], decide: Decide[Any], attempt: int
    ) -> list[AnyEvent]:
        self.attempts.append(attempt)
        self.transactions.append([event.subject for event in events])
        fresh = {name: event for event in events if (name := batch.made_id(event)) not in self.made}
        made = {event.id: untyped(event) for event in await decide(Work(None, batch, NOW), [*fresh.values()])}
        self.recorded += [*([untyped(event) for event in fresh.values()] if batch.unrecorded else []), *made.values()]
        self.made |= {name: made.get(name) for name in fresh}
        known = [self.made[batch.made_id(event)] for event in events]
        return [event for event in known if event]

    async def append(self, events: Sequence[AnyEvent]) -> None:
        self.recorded += events

    async def now(self) -> datetime:
        return NOW

    def about(self, subject: str) -> AbstractContextManager[object]:
        return nullcontext()

    async def done(self, batch: Batch, events: Sequence[Event[Any]]) -> set[str]:
        return {batch.made_id(event) for event in events} & self.made.keys()


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
