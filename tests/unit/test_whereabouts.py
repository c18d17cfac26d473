"""At which links an order stands, by what was done and told."""

import pytest

from workflows.whereabouts import stands_at

BACK = {"payment", "settlement", "cart", "price", "finalize"}
"""The links forward are closed by the first link of the way back."""


@pytest.mark.parametrize(
    ("done", "told", "at"),
    [
        (set(), (), ("payment",)),
        ({"payment"}, ("PaymentPending",), ("settlement",)),
        ({"payment", "settlement"}, ("PaymentPending",), ("cart", "price")),
        ({"payment"}, (), ("cart", "price")),
        ({"payment", "price"}, (), ("cart",)),
        ({"payment", "cart"}, ("CartUnavailable",), ("price",)),
        ({"payment", "cart", "price"}, (), ("finalize",)),
        ({"payment", "cart", "price"}, ("CartUnavailable",), ("release", "refund")),
        ({"payment"}, ("PaymentDeclined",), ("release", "refund")),
        ({"payment"}, ("OrderParked", "OrderWithdrawn"), ("release", "refund")),
        ({*BACK, "release"}, ("PriceChanged",), ("refund",)),
        ({*BACK, "release", "refund"}, ("PaymentDeclined",), ("reject",)),
    ],
)
def test_an_order_stands_at_every_link_that_has_it_and_is_not_done(
    done: set[str], told: tuple[str, ...], at: tuple[str, ...]
) -> None:
    assert stands_at(done, [f"lanka.{name}" for name in told]) == at
