"""What `lanka order` shows in a terminal."""

import re
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from chain.event import AnyEvent, Event
from lanka.order_progress import OrderProgress
from orders.events import (
    CartUnavailable,
    OrderConfirmed,
    OrderParked,
    OrderReceived,
    OrderRejected,
    OrderReleased,
    OrderWithdrawn,
    PaymentConfirmed,
    PaymentPending,
    PaymentRefunded,
    PriceConfirmed,
    StockReleased,
    StockReserved,
)
from tests.shop import an_order, paid, untyped

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
PARKING = {"link": "price", "reason": "a_bug", "attempts": 3, "last_error": "ouch"}


def made(kind: type[Event[Any]], link: str, /, **data: Any) -> AnyEvent:
    return untyped(kind.made_by(link, ORDER.order_id, datetime.now(UTC), data))


PAID = (
    made(OrderReceived, "intake", order=ORDER),
    made(PaymentConfirmed, "payment", order=ORDER, payment=paid(ORDER)),
)
STOCK = made(StockReserved, "cart", reservations=[])
PRICE = made(PriceConfirmed, "price", total=500, currency="EUR")


def shown(*events: AnyEvent, page: dict[str, Any] | None = None) -> list[str]:
    progress = OrderProgress()
    for event in events:
        progress.line(event)
    if page:
        list(progress.waits(page))
    console = Console(width=120, record=True, file=StringIO())
    console.print(progress)
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
def test_the_links_light_up_one_after_the_other_and_two_side_by_side(events: tuple[AnyEvent, ...], marks: str) -> None:
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
    assert lines[-1] == "rejected, out of stock: only [1] cup is left; EUR 5.00 goes back"
    assert "".join(line[0] for line in lines[:7]) == "✔✘✔○✔✔✘"


def test_a_parked_order_tells_why_and_what_can_be_done() -> None:
    lines = shown(*PAID, STOCK, made(OrderParked, "price", **PARKING))
    assert "parked, a bug, after 3 attempts: ouch" in lines[2]
    assert "lanka parked release" in lines[-2]
    released = made(OrderReleased, "price", link="price", by="Ann", why="mended")
    assert "parked" not in " ".join(shown(*PAID, STOCK, made(OrderParked, "price", **PARKING), released))


def a_page(link: str, state: str, error: str | None = None, attempts: int | None = None) -> dict[str, Any]:
    """What the operators see of the order, as far as it matters here."""
    step = {"link": link, "state": state, "last_error": error, "attempts": attempts}
    return {"order": {"status": "processing"}, "workflow_id": "order-1", "steps": [step]}


def test_an_order_whose_payment_is_pending_waits_for_that() -> None:
    pending = made(PaymentPending, "payment", order=ORDER, deadline=datetime.now(UTC))
    lines = shown(PAID[0], pending, page=a_page("settlement", "waiting"))
    assert "".join(line[0] for line in lines[:5]) == "✔*○○○"
    assert "settlement waits, payment is not decided yet" in lines[1]


def test_a_way_back_is_shown_to_whoever_takes_it() -> None:
    back = made(OrderWithdrawn, "customer", reason="cancelled_by_customer", detail="changed my mind", by="cus_1")
    lines = shown(*PAID, back)
    assert [line.split()[1] for line in lines[:7]] == ["payment", "┬", "└", "finalize", "┬", "└", "reject"]
    assert "".join(line[0] for line in lines[:7]) == "✔○○○**○"
    parked = made(OrderParked, "price", **PARKING)
    assert "parked" not in " ".join(shown(*PAID, STOCK, parked, back)), "who takes it back does not wait for a person"


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (a_page("cart", "waiting", "the [database] is away", 4), "waits, attempt 4: the [database] is away"),
        (a_page("cart", "waiting"), "waits, no answer yet"),
        (a_page("cart", "in_progress"), "…"),
        (a_page("cart", "parked", "ouch", 3), "…"),
    ],
)
def test_an_order_that_waits_tells_what_for(page: dict[str, Any], told: str) -> None:
    assert shown(*PAID, page=page)[1].rstrip().endswith(told)


def test_an_order_that_no_workflow_has_taken_says_so() -> None:
    page = a_page("payment", "waiting") | {"order": {"status": "received"}, "workflow_id": None}
    assert "no workflow has taken it yet" in shown(PAID[0], page=page)[0]


def test_into_a_pipe_the_same_reason_is_told_once() -> None:
    progress = OrderProgress()
    told = [
        list(progress.waits(a_page("cart", "waiting", error, nth)))
        for nth, error in enumerate(["down", "down", "busy"])
    ]
    assert [len(lines) for lines in told] == [1, 0, 1]
    assert list(progress.waits(a_page("cart", "done"))) == []
