"""What `lanka order` shows in a terminal."""

import re
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from lanka.way import Way
from orders.envelope import Event
from orders.events import (
    CartUnavailable,
    OrderConfirmed,
    OrderParked,
    OrderReceived,
    OrderRejected,
    PaymentConfirmed,
    PaymentRefunded,
    PriceConfirmed,
    StockReleased,
    StockReserved,
)
from tests.shop import an_order, paid

ORDER = an_order(cup=2)
NO_STOCK = {"reason": "out_of_stock", "detail": "only [1] cup is left"}
REFUND = {"payment_id": ORDER.payment_id, "amount": 500, "currency": "EUR"}
NUMBERED = {
    "order_number": "L00000007",
    "customer_id": "cus_1",
    "payment_id": ORDER.payment_id,
    "total": 500,
    "currency": "EUR",
}
PARKING = {"link": "price", "stage": "price", "reason": "a_bug", "attempts": 3, "last_error": "ouch"}


def made(kind: type[Event[Any]], link: str, /, **data: Any) -> Event[Any]:
    return kind.made_by(link, ORDER.order_id, datetime.now(UTC), data)


PAID = (
    made(OrderReceived, "intake", order=ORDER),
    made(PaymentConfirmed, "payment", order=ORDER, payment=paid(ORDER)),
)
STOCK = made(StockReserved, "cart", reservations=[])
PRICE = made(PriceConfirmed, "price", total=500, currency="EUR")


def shown(*events: Event[Any]) -> list[str]:
    way = Way()
    for event in events:
        way.line(event)
    console = Console(width=120, record=True, file=StringIO())
    console.print(way)
    # The spinner of a link that is at work turns.
    return re.sub("[\u2800-\u28ff]", "*", console.export_text()).splitlines()


@pytest.mark.parametrize(
    ("events", "marks"),
    [
        (PAID, "✔**○"),
        ((*PAID, STOCK), "✔✔*○"),
        ((*PAID, STOCK, PRICE), "✔✔✔*"),
        ((*PAID, STOCK, made(OrderParked, "price", **PARKING)), "✔✔‖○"),
    ],
)
def test_the_links_light_up_one_after_the_other_and_two_side_by_side(
    events: tuple[Event[Any], ...], marks: str
) -> None:
    lines = shown(*events)
    assert "".join(line[0] for line in lines[:4]) == marks
    assert "┬ cart" in lines[1]
    assert "└ price" in lines[2]


def test_a_confirmed_order_tells_its_number_and_what_was_taken() -> None:
    lines = shown(*PAID, STOCK, PRICE, made(OrderConfirmed, "finalize", **NUMBERED))
    assert lines[-1] == "confirmed as L00000007: EUR 5.00 is taken"


def test_a_rejected_order_tells_why_and_what_becomes_of_the_money() -> None:
    lines = shown(
        *PAID,
        made(CartUnavailable, "cart", **NO_STOCK),
        PRICE,
        made(StockReleased, "release", reservations=[]),
        made(PaymentRefunded, "refund", **REFUND),
        made(OrderRejected, "reject", **NO_STOCK),
    )
    assert lines[-1] == "rejected (out_of_stock): only [1] cup is left; EUR 5.00 goes back"
    assert "".join(line[0] for line in lines[:7]) == "✔✘✔○✔✔✘"
