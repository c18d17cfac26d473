"""cart, going back: gives the reserved stock of a refused order to those who come next."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from temporalio import activity

from activities.consume import Journal, consume
from chain.batch import Batch, Processed, Work
from chain.event import Event
from orders.events import Refused, Reservation, StockReleased


class Stock(Protocol):
    async def release(self, tx: Any, order_ids: Sequence[str]) -> Mapping[str, Sequence[Reservation]]: ...


class ReleaseStock:
    def __init__(self, journal: Journal, stock: Stock) -> None:
        self._journal = journal
        self._stock = stock

    @activity.defn
    async def release_stock(self, batch: Batch) -> Processed:
        """Any rejection -> StockReleased; nothing where nothing was reserved."""
        return await consume(self._journal, batch, Refused, self._decide)

    async def _decide(self, work: Work, events: Sequence[Refused]) -> list[Event[Any]]:
        released = await self._stock.release(work.transaction, [event.subject for event in events])
        return [
            work.made(StockReleased, event, {"reservations": released[event.subject]})
            for event in events
            if event.subject in released
        ]
