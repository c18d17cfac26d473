"""price: what the customer saw against the catalogue as of the moment the order was received."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.check_price import CheckPrice, refusal
from orders.events import PaidOrder, PriceChanged, PriceConfirmed
from orders.money import Price
from orders.order import Order
from orders.words import Reason
from tests.shop import PRICE, an_order, batch, paid, payment_confirmed
from tests.unit.twins import TwinJournal, typed

YESTERDAY = datetime(2030, 1, 1, tzinfo=UTC)
TODAY = YESTERDAY + timedelta(days=1)


def euros(unit_price: int) -> Price:
    return Price(unit_price, "EUR")


class TwinCatalogue:
    """A price history: from when on each price holds."""

    def __init__(self, **history: Sequence[tuple[datetime, Price]]) -> None:
        self.history = history

    async def prices_as_of(
        self, tx: Any, asked: Sequence[tuple[str, datetime]]
    ) -> Mapping[tuple[str, datetime], Price]:
        return {
            (sku, moment): [price for since, price in self.history[sku] if since <= moment][-1] for sku, moment in asked
        }


def paid_order(order: Order, amount: int | None = None) -> PaidOrder:
    payment = paid(order)
    return PaidOrder(order=order, payment=payment.model_copy(update={"amount": amount or payment.amount}))


def refused(catalogue_price: Price | None, tolerance: int = 0, amount: int | None = None) -> tuple[Reason, str] | None:
    """Reason and detail for an order of two cups at PRICE (EUR 2.50)."""
    order = an_order(cup=2)
    prices = {("cup", order.received_at): catalogue_price} if catalogue_price else {}
    said = refusal(paid_order(order, amount), prices, tolerance)
    return (said.reason, said.detail) if said else None


def test_the_price_the_customer_saw_holds_while_the_catalogue_agrees() -> None:
    assert refused(euros(PRICE)) is None


@pytest.mark.parametrize("now", [PRICE + 1, PRICE - 1])
def test_without_a_tolerance_one_cent_is_too_much(now: int) -> None:
    assert refused(euros(now)) == (
        Reason.PRICE_CHANGED,
        f"cup: EUR 2.50 seen, EUR {now / 100:.2f} in the catalogue",
    )


@pytest.mark.parametrize(
    ("now", "tolerance", "holds"),
    [
        (240, 417, True),  # 10 of 240 are 416.7 basis points
        (240, 416, False),
        (260, 385, True),  # 10 of 260 are 384.6 basis points
        (260, 384, False),
        (250, 0, True),
    ],
)
def test_a_tolerance_is_a_share_of_the_price_in_the_catalogue(now: int, tolerance: int, holds: bool) -> None:
    assert (refused(euros(now), tolerance) is None) is holds


def test_the_same_number_in_another_currency_is_another_price() -> None:
    assert refused(Price(PRICE, "USD"), tolerance=10_000) == (
        Reason.PRICE_CHANGED,
        "cup: EUR 2.50 seen, USD 2.50 in the catalogue",
    )


def test_what_has_no_price_cannot_be_sold() -> None:
    assert refused(None) == (Reason.UNKNOWN_SKU, "cup has no price")


def test_the_payment_must_come_to_the_sum_of_the_lines() -> None:
    assert refused(euros(PRICE), amount=499) == (
        Reason.PAYMENT_AMOUNT_MISMATCH,
        "paid EUR 4.99, the lines come to EUR 5.00",
    )


async def test_the_price_of_the_moment_of_the_order_counts_not_the_price_of_now() -> None:
    catalogue = TwinCatalogue(cup=[(YESTERDAY, euros(PRICE)), (TODAY, euros(PRICE + 50))])
    before = an_order(cup=1).model_copy(update={"received_at": TODAY - timedelta(seconds=1)})
    after = an_order(cup=1).model_copy(update={"received_at": TODAY})

    processed = await CheckPrice(TwinJournal(), catalogue, tolerance=0).check_price(
        batch("price", [payment_confirmed(before), payment_confirmed(after)])
    )

    confirmed, changed = (typed(event) for event in processed.events)
    assert isinstance(confirmed, PriceConfirmed)
    assert (confirmed.data.total, confirmed.data.currency) == (PRICE, "EUR")
    assert isinstance(changed, PriceChanged)
    assert changed.data.reason is Reason.PRICE_CHANGED
