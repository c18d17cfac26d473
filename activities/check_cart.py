"""cart: reserves every line of the order or none; the earliest order gets the last item."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from temporalio import activity

from activities.consume import Journal, consume
from chain.batch import Batch, Processed, Work
from chain.event import Event
from orders.events import CartUnavailable, PaymentConfirmed, Refusal, Reservation, StockReserved
from orders.words import Reason


class Stock(Protocol):
    async def reserve(self, tx: Any, wanted: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int | None]]: ...


class CheckCart:
    def __init__(self, journal: Journal, stock: Stock) -> None:
        self._journal = journal
        self._stock = stock

    @activity.defn
    async def check_cart(self, batch: Batch) -> Processed:
        """PaymentConfirmed -> StockReserved | CartUnavailable."""
        return await consume(self._journal, batch, PaymentConfirmed, self._decide)

    async def _decide(self, work: Work, events: Sequence[PaymentConfirmed]) -> list[Event[Any]]:
        wanted = {event.subject: event.data.order.quantities() for event in events}
        missing = await self._stock.reserve(work.transaction, wanted)
        return [
            work.made(CartUnavailable, event, refusal(wanted[event.subject], missing[event.subject]))
            if event.subject in missing
            else work.made(StockReserved, event, {"reservations": reservations(wanted[event.subject])})
            for event in events
        ]


def reservations(quantities: Mapping[str, int]) -> list[Reservation]:
    return [Reservation(sku=sku, quantity=quantity) for sku, quantity in sorted(quantities.items())]


def refusal(wanted: Mapping[str, int], missing: Mapping[str, int | None]) -> Refusal:
    """What is missing, in words; a SKU that nobody knows weighs more than one that is sold out."""
    unknown = sorted(sku for sku, available in missing.items() if available is None)
    if unknown:
        return Refusal(reason=Reason.UNKNOWN_SKU, detail=f"not in the catalogue: {', '.join(unknown)}")
    short = ", ".join(f"{sku}: {wanted[sku]} wanted, {missing[sku]} available" for sku in sorted(missing))
    return Refusal(reason=Reason.OUT_OF_STOCK, detail=short)
