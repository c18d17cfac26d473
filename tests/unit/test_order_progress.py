"""What `lanka order` shows in a terminal."""

import re
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from chain.event import AnyEvent, Event, maker_of, type_of
from chain.steps import Seen, Trying
from chain.steps import steps as progress_of
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
from workflows.order_confirmation import TABLE

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


PAUSES = {type_of(OrderParked), type_of(OrderReleased)}


def a_page(*events: AnyEvent, **changed: dict[str, Any]) -> dict[str, Any]:
    """What the operators see of the order. `changed`: what is not as its events alone say, by link."""
    parked: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.type.endswith("OrderParked"):
            parked[event.data["link"]] = event.data
        elif event.type.endswith(("OrderReleased", "OrderWithdrawn")):
            parked.clear()
    made = {maker_of(event.source): None for event in events if event.type not in PAUSES}
    trying = {link: Trying(each["attempts"], each["last_error"]) for link, each in parked.items()}
    seen = Seen(events, made, parked=trying, moves=True)
    steps = [{**vars(step), "link": step.link.name} for step in progress_of(TABLE, seen)]
    return {
        "order": {"status": "processing"},
        "workflow_id": "order-1",
        "steps": [step | changed.get(step["link"], {}) for step in steps],
        "parked": [*parked.values()],
        "events": [event.model_dump(mode="json") for event in events],
    }


def drawn(page: dict[str, Any]) -> list[str]:
    progress = OrderProgress()
    list(progress.update(page))
    console = Console(width=120, record=True, file=StringIO())
    console.print(progress)
    # The spinner of a link that is at work turns.
    return re.sub("[\u2800-\u28ff]", "*", console.export_text()).splitlines()


def shown(*events: AnyEvent) -> list[str]:
    return drawn(a_page(*events))


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


@pytest.mark.parametrize(
    ("was", "said"),
    [("captured", "EUR 5.00 goes back"), ("authorized", "EUR 5.00 is free again, it was only reserved")],
)
def test_a_rejected_order_tells_why_and_what_becomes_of_the_money(was: str, said: str) -> None:
    lines = shown(
        *PAID,
        made(CartUnavailable, "cart", **NO_STOCK),
        PRICE,
        made(StockReleased, "release", reservations=[]),
        made(PaymentRefunded, "refund", **REFUND, was=was),
        made(OrderRejected, "reject", **NO_STOCK),
    )
    assert lines[-1] == f"rejected, out of stock: only [1] cup is left; {said}"
    assert said in lines[5]
    assert "".join(line[0] for line in lines[:7]) == "✔✘✔○✔✔✘"


def test_a_parked_order_tells_why_and_what_can_be_done() -> None:
    lines = shown(*PAID, STOCK, made(OrderParked, "price", **PARKING))
    assert "parked, a bug, after 3 attempts: ouch" in lines[2]
    assert "lanka parked release" in lines[-2]
    released = made(OrderReleased, "price", link="price", by="Ann", why="mended")
    assert "parked" not in " ".join(shown(*PAID, STOCK, made(OrderParked, "price", **PARKING), released))


def test_an_order_whose_payment_is_pending_waits_for_that() -> None:
    pending = made(PaymentPending, "payment", order=ORDER, deadline=datetime.now(UTC))
    lines = drawn(a_page(PAID[0], pending, settlement={"state": "waiting"}))
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
    ("cart", "told"),
    [
        (
            {"state": "waiting", "last_error": "the [database] is away", "attempts": 4},
            "waits, attempt 4: the [database] is away",
        ),
        ({"state": "waiting"}, "waits, no answer yet"),
        ({"state": "in_progress"}, "…"),
    ],
)
def test_an_order_that_waits_tells_what_for(cart: dict[str, Any], told: str) -> None:
    assert drawn(a_page(*PAID, cart=cart))[1].rstrip().endswith(told)


def test_an_order_that_no_workflow_has_taken_says_so() -> None:
    page = a_page(PAID[0], payment={"state": "ahead"}) | {"order": {"status": "received"}, "workflow_id": None}
    assert "not given to Temporal yet" in drawn(page)[0]


def test_into_a_pipe_each_event_is_told_once_and_the_same_reason_too() -> None:
    progress = OrderProgress()
    pages = [
        a_page(*PAID, cart={"state": "waiting", "last_error": error, "attempts": nth})
        for nth, error in enumerate(["down", "down", "busy"])
    ]
    assert [len(list(progress.update(page))) for page in pages] == [3, 0, 1]
    # The one that was journalled second may be seen first.
    assert ["PriceConfirmed" in line for line in progress.update(a_page(*PAID, PRICE))] == [True]
    assert ["StockReserved" in line for line in progress.update(a_page(*PAID, STOCK, PRICE))] == [True]
