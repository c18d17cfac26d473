"""price: holds what the customer saw against the catalogue as of the moment the order was received."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from temporalio import activity

from activities.consume import Journal, consume
from chain.batch import Batch, Processed, Work
from chain.event import Event
from orders.events import PaidOrder, PaymentConfirmed, PriceChanged, PriceConfirmed, Refusal
from orders.money import Price, written
from orders.words import Reason


class Catalogue(Protocol):
    async def prices_as_of(
        self, tx: Any, asked: Sequence[tuple[str, datetime]]
    ) -> Mapping[tuple[str, datetime], Price]: ...


class CheckPrice:
    """`tolerance` is how far a price may have moved from what the customer saw, in basis points (100 are 1 %)."""

    def __init__(self, journal: Journal, catalogue: Catalogue, tolerance: int) -> None:
        self._journal = journal
        self._catalogue = catalogue
        self._tolerance = tolerance

    @activity.defn
    async def check_price(self, batch: Batch) -> Processed:
        """PaymentConfirmed -> PriceConfirmed | PriceChanged."""
        return await consume(self._journal, batch, PaymentConfirmed, self._decide)

    async def _decide(self, work: Work, events: Sequence[PaymentConfirmed]) -> list[Event[Any]]:
        asked = sorted({(line.sku, e.data.order.received_at) for e in events for line in e.data.order.lines})
        prices = await self._catalogue.prices_as_of(work.transaction, asked)
        return [
            work.made(PriceChanged, event, no)
            if (no := refusal(event.data, prices, self._tolerance))
            else work.made(PriceConfirmed, event, event.data.order.model_dump(include={"total", "currency"}))
            for event in events
        ]


def refusal(paid: PaidOrder, prices: Mapping[tuple[str, datetime], Price], tolerance: int) -> Refusal | None:
    """Why the price does not hold; None if it does."""
    order = paid.order
    for line in order.lines:
        price = prices.get((line.sku, order.received_at))
        if price is None:
            return Refusal(reason=Reason.UNKNOWN_SKU, detail=f"{line.sku} has no price")
        drift = abs(line.unit_price - price.unit_price) * 10_000
        if price.currency != order.currency or drift > tolerance * price.unit_price:
            seen, now = written(line.unit_price, order.currency), written(price.unit_price, price.currency)
            return Refusal(reason=Reason.PRICE_CHANGED, detail=f"{line.sku}: {seen} seen, {now} in the catalogue")
    if paid.payment.amount != order.total:
        amount, total = written(paid.payment.amount, order.currency), written(order.total, order.currency)
        return Refusal(reason=Reason.PAYMENT_AMOUNT_MISMATCH, detail=f"paid {amount}, the lines come to {total}")
    return None
