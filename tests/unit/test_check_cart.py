"""cart: all lines or none, and in words what is missing."""

from collections.abc import Mapping
from typing import Any

from activities.check_cart import CheckCart, refusal, reservations
from orders.events import CartUnavailable, Reservation, StockReserved
from orders.order import Line
from orders.words import Reason
from tests.shop import PRICE, an_order, batch, payment_confirmed
from tests.unit.twins import TwinJournal, typed


class TwinStock:
    """Tells what is missing, and notes what was wanted."""

    def __init__(self, missing: dict[str, dict[str, int | None]] | None = None) -> None:
        self.missing = missing or {}
        self.wanted: list[tuple[str, Mapping[str, int]]] = []

    async def reserve(self, tx: Any, wanted: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int | None]]:
        self.wanted += wanted.items()
        return self.missing


def test_what_is_sold_out_is_told_with_numbers() -> None:
    said = refusal({"tea": 3, "cup": 5, "pot": 1}, {"tea": 1, "cup": 0})

    assert said.reason is Reason.OUT_OF_STOCK
    assert said.detail == "cup: 5 wanted, 0 available, tea: 3 wanted, 1 available"


def test_an_unknown_sku_weighs_more_than_one_that_is_sold_out() -> None:
    said = refusal({"cup": 5, "zen": 1, "abc": 1}, {"cup": 0, "zen": None, "abc": None})

    assert said.reason is Reason.UNKNOWN_SKU
    assert said.detail == "not in the catalogue: abc, zen"


def test_reservations_stand_in_alphabetical_order() -> None:
    assert reservations({"tea": 1, "cup": 2}) == [
        Reservation(sku="cup", quantity=2),
        Reservation(sku="tea", quantity=1),
    ]


async def test_each_order_gets_its_own_answer_and_the_earliest_asks_first() -> None:
    late, early = an_order(tea=1), an_order(cup=2)
    stock = TwinStock({late.order_id: {"tea": 0}})

    processed = await CheckCart(TwinJournal(), stock).check_cart(
        batch("cart", [payment_confirmed(early), payment_confirmed(late)])
    )

    reserved, unavailable = (typed(event) for event in processed.events)
    assert isinstance(reserved, StockReserved)
    assert reserved.data.reservations == (Reservation(sku="cup", quantity=2),)
    assert isinstance(unavailable, CartUnavailable)
    assert unavailable.data.reason is Reason.OUT_OF_STOCK
    assert [order_id for order_id, _ in stock.wanted] == [early.order_id, late.order_id]


async def test_two_lines_of_one_sku_are_reserved_as_one() -> None:
    line = Line(sku="cup", quantity=2, unit_price=PRICE)
    order = an_order(cup=3)
    order = order.model_copy(update={"lines": (*order.lines, line), "total": 5 * PRICE})
    stock = TwinStock()

    await CheckCart(TwinJournal(), stock).check_cart(batch("cart", [payment_confirmed(order)]))

    assert stock.wanted == [(order.order_id, {"cup": 5})]
