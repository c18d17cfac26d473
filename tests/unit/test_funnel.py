"""What a journal says about the links: the same story that the router would go on with."""

from collections.abc import Sequence

import pytest

from chain.position import Places, Told, inputs, places
from chain.table import FORWARD, ORDER_TABLE

RECEIVED = "intake OrderReceived"
PAID = (RECEIVED, "payment PaymentConfirmed")
STOCK, NO_STOCK = "cart StockReserved", "cart CartUnavailable"
PRICE = "price PriceConfirmed"
CANCELLED = "withdrawal OrderWithdrawn"
BACK = ("release", "refund", *FORWARD)


def at(*links: str, parked: Sequence[str] = ()) -> Places:
    return Places(frozenset(links), frozenset(parked))


@pytest.mark.parametrize(
    ("told", "done", "where"),
    [
        ([RECEIVED], (), at("payment")),
        ([RECEIVED, "payment PaymentPending"], (), at("settlement")),
        ([RECEIVED, "payment PaymentPending", "settlement PaymentConfirmed"], (), at("cart", "price")),
        (PAID, (), at("cart", "price")),
        ([*PAID, STOCK], (), at("price")),
        ([*PAID, PRICE, STOCK], (), at("finalize")),
        ([*PAID, STOCK, PRICE, "checks CartConfirmed", "finalize OrderConfirmed"], (), at()),
        ([*PAID, NO_STOCK], (), at("price")),
        ([*PAID, NO_STOCK, PRICE], (), at("release", "refund")),
        ([*PAID, NO_STOCK, PRICE, "refund PaymentRefunded"], ("refund", *FORWARD), at("release")),
        ([*PAID, NO_STOCK, PRICE, "refund PaymentRefunded"], BACK, at("reject")),
        ([RECEIVED, "payment PaymentDeclined"], (), at("release", "refund")),
        ([RECEIVED, "payment PaymentDeclined"], BACK, at("reject")),
        ([RECEIVED, "payment PaymentDeclined", "reject OrderRejected"], (*BACK, "reject"), at()),
        ([RECEIVED, "payment OrderParked"], (), at("payment", parked=["payment"])),
        ([RECEIVED, "payment OrderParked", "payment OrderReleased"], (), at("payment")),
        ([*PAID, "cart OrderParked"], (), at("cart", "price", parked=["cart"])),
        ([*PAID, "cart OrderParked", CANCELLED], (), at("release", "refund")),
        ([RECEIVED, CANCELLED], (), at("release", "refund")),
        ([RECEIVED, CANCELLED, "refund OrderParked"], ("release",), at("refund", parked=["refund"])),
        ([RECEIVED, CANCELLED, "reject OrderCancelled", "webhooks PaymentArrivedLate"], BACK, at("late-refund")),
    ],
)
def test_an_order_is_at_the_links_that_the_router_would_bring_it_to(
    told: Sequence[str], done: Sequence[str], where: Places
) -> None:
    events = [Told(link, f"lanka.{kind}") for link, _, kind in (each.partition(" ") for each in told)]
    assert places(ORDER_TABLE, events, done) == where


def test_an_order_comes_to_a_link_by_the_last_event_before_it() -> None:
    brought = {link: {kind.removeprefix("lanka.") for kind in kinds} for link, kinds in inputs(ORDER_TABLE).items()}
    assert brought["payment"] == {"OrderReceived"}
    assert brought["cart"] == brought["price"] == {"PaymentConfirmed"}
    assert brought["finalize"] == {"CartConfirmed"}
    assert {"StockReleased", "PaymentRefunded", "OrderWithdrawn"} <= brought["reject"]
