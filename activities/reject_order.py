"""finalize, going back: closes a refused order, once its stock is released and its money given back."""

from collections.abc import Sequence
from typing import Any, Protocol

from temporalio import activity

from activities.consume import Journal, consume
from chain.batch import Batch, Processed, Work
from chain.event import Event, type_of
from orders.events import OrderCancelled, OrderRejected, OrderWithdrawn, Refused
from orders.words import Reason


class Outbox(Protocol):
    async def put(self, tx: Any, events: Sequence[Event[Any]]) -> None: ...


class RejectOrder:
    def __init__(self, journal: Journal, outbox: Outbox) -> None:
        self._journal = journal
        self._outbox = outbox

    @activity.defn
    async def reject_order(self, batch: Batch) -> Processed:
        """Any rejection -> OrderRejected, or OrderCancelled if it was the customer who took the order back.

        Customers are told of it: the words of whoever took the order back stay with the OrderWithdrawn.
        """
        return await consume(self._journal, batch, Refused, self._decide)

    async def _decide(self, work: Work, events: Sequence[Refused]) -> list[Event[Any]]:
        made: list[Event[Any]] = []
        for event in events:
            end = OrderCancelled if event.data.reason is Reason.CANCELLED_BY_CUSTOMER else OrderRejected
            detail = "" if event.type == type_of(OrderWithdrawn) else event.data.detail
            made.append(work.made(end, event, {"reason": event.data.reason, "detail": detail}))
        await self._outbox.put(work.transaction, made)
        return made
