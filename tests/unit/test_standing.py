import pytest

from orders.standing import Standing, standing
from orders.words import Reason, Stage

RECEIVED = {"lanka.OrderReceived": None}
PAID = RECEIVED | {"lanka.PaymentConfirmed": None}
RESERVED = {"lanka.StockReserved": None}
PRICED = {"lanka.PriceConfirmed": None}
SOLD_OUT = {"lanka.CartUnavailable": "out_of_stock"}
DEARER = {"lanka.PriceChanged": "price_changed"}


@pytest.mark.parametrize(
    ("journal", "stage"),
    [
        (RECEIVED, Stage.PAYMENT),
        (RECEIVED | {"lanka.PaymentPending": None}, Stage.PAYMENT),
        (PAID, Stage.CART),
        (PAID | PRICED, Stage.CART),
        (PAID | RESERVED, Stage.PRICE),
        (PAID | RESERVED | PRICED, Stage.FINALIZE),
        (PAID | RESERVED | PRICED | {"lanka.CartConfirmed": None, "lanka.OrderConfirmed": None}, Stage.FINALIZE),
    ],
)
def test_an_order_stands_at_the_first_stage_that_is_not_complete(journal: dict[str, str | None], stage: Stage) -> None:
    assert standing(journal) == Standing(stage, None)


@pytest.mark.parametrize(
    ("refusals", "stage", "reason"),
    [
        ({"lanka.PaymentDeclined": "payment_expired"}, Stage.PAYMENT, Reason.PAYMENT_EXPIRED),
        (PAID | SOLD_OUT | PRICED, Stage.CART, Reason.OUT_OF_STOCK),
        (PAID | DEARER | RESERVED, Stage.PRICE, Reason.PRICE_CHANGED),
        (PAID | DEARER | SOLD_OUT, Stage.CART, Reason.OUT_OF_STOCK),
    ],
)
def test_a_refused_order_stands_where_it_was_refused(
    refusals: dict[str, str | None], stage: Stage, reason: Reason
) -> None:
    assert standing(RECEIVED | refusals) == Standing(stage, reason)
    ended = {"lanka.StockReleased": None, "lanka.OrderRejected": reason.value}
    assert standing(RECEIVED | refusals | ended) == Standing(stage, reason)


def test_an_order_that_a_person_refused_stands_where_it_had_come_to() -> None:
    journal = PAID | RESERVED | {"lanka.OrderWithdrawn": "rejected_by_operator"}
    assert standing(journal) == Standing(Stage.PRICE, Reason.REJECTED_BY_OPERATOR)
