"""Where a subject stands: by its events, its claims and the table, the same story that the router would go on with."""

from collections.abc import Collection, Sequence

import pytest

from chain.event import Kind
from chain.position import Entry, Position, links_at, position
from chain.table import Table
from tests import bakery
from workflows.order_confirmation import TABLE

RECEIVED = "intake OrderReceived"
PAID = (RECEIVED, "payment PaymentConfirmed")
STOCK, NO_STOCK = "cart StockReserved", "cart CartUnavailable out_of_stock"
PRICE, OTHER_PRICE = "price PriceConfirmed", "price PriceChanged price_changed"
CANCELLED = "withdrawal OrderWithdrawn cancelled_by_customer"
FORWARD = ("payment", "settlement", "cart", "price", "finalize")
BACK = ("release", "refund", *FORWARD)


def told(*events: str, prefix: str = "lanka") -> list[Entry]:
    """`told("cart CartUnavailable out_of_stock")`: the link, the name of the event, and the reason if it has one."""
    parts = [(*event.split(), None)[:3] for event in events]
    return [Entry(str(link), f"{prefix}.{name}", reason) for link, name, reason in parts]


def made_by(events: Sequence[Entry], table: Table) -> set[str]:
    """The links that have made these, which have claimed the subject by that."""
    return {event.link for event in events} & table.by_name.keys()


@pytest.mark.parametrize(
    ("events", "silent", "at"),
    [
        ([RECEIVED], (), ("payment",)),
        ([RECEIVED, "payment PaymentPending"], (), ("settlement",)),
        ([RECEIVED, "payment PaymentPending", "settlement PaymentConfirmed"], (), ("cart", "price")),
        (PAID, (), ("cart", "price")),
        ([*PAID, STOCK], (), ("price",)),
        ([*PAID, PRICE, STOCK], (), ("finalize",)),
        ([*PAID, STOCK, PRICE, "checks CartConfirmed", "finalize OrderConfirmed"], (), ()),
        ([*PAID, NO_STOCK], (), ("price",)),
        ([*PAID, NO_STOCK, PRICE], (), ("release", "refund")),
        ([*PAID, NO_STOCK, PRICE, "refund PaymentRefunded"], FORWARD, ("release",)),
        ([*PAID, NO_STOCK, PRICE, "refund PaymentRefunded"], BACK, ("reject",)),
        ([RECEIVED, "payment PaymentDeclined payment_declined"], (), ("release", "refund")),
        ([RECEIVED, "payment PaymentDeclined payment_declined"], BACK, ("reject",)),
        ([RECEIVED, "payment PaymentDeclined payment_declined", "reject OrderRejected"], BACK, ()),
        ([RECEIVED, "payment OrderParked key_error"], (), ("payment",)),
        ([RECEIVED, "payment OrderParked key_error", "payment OrderReleased"], (), ("payment",)),
        ([*PAID, "cart OrderParked key_error"], (), ("cart", "price")),
        ([*PAID, "cart OrderParked key_error", CANCELLED], (), ("release", "refund")),
        ([RECEIVED, CANCELLED], (), ("release", "refund")),
        ([RECEIVED, CANCELLED, "refund OrderParked key_error"], ("release", *FORWARD), ("refund",)),
        ([RECEIVED, CANCELLED, "reject OrderCancelled", "webhooks PaymentArrivedLate"], BACK, ("late-refund",)),
    ],
)
def test_an_order_is_at_the_links_that_the_router_would_bring_it_to(
    events: Sequence[str], silent: Collection[str], at: tuple[str, ...]
) -> None:
    journal = told(*events)
    claimed = made_by([event for event in journal if TABLE.types.kind(event.type) is not Kind.PARKED], TABLE)
    claimed -= made_by([event for event in journal if TABLE.types.kind(event.type) is Kind.RELEASED], TABLE)
    assert position(TABLE, journal, {*claimed, *silent}).at == at


@pytest.mark.parametrize(
    ("done", "types", "at"),
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
        ({*FORWARD, "release"}, ("PriceChanged",), ("refund",)),
        ({*FORWARD, "release", "refund"}, ("PaymentDeclined",), ("reject",)),
    ],
)
def test_what_is_of_a_straight_way_need_not_be_told_where_it_is_claimed(
    done: set[str], types: tuple[str, ...], at: tuple[str, ...]
) -> None:
    assert links_at(TABLE, [f"lanka.{name}" for name in types], done) == at


@pytest.mark.parametrize(
    ("events", "where"),
    [
        ([RECEIVED], Position(("payment",), "payment", None)),
        ([*PAID, NO_STOCK, OTHER_PRICE], Position(("release", "refund"), "release", "out_of_stock")),
        ([*PAID, OTHER_PRICE, NO_STOCK, "reject OrderRejected"], Position((), "cart", "out_of_stock")),
        ([*PAID, STOCK, PRICE, "finalize OrderConfirmed"], Position((), "finalize", None)),
        ([*PAID, STOCK, CANCELLED, "reject OrderCancelled"], Position((), "price", "cancelled_by_customer")),
    ],
)
def test_after_the_end_an_order_is_shown_at_the_link_that_decided(events: Sequence[str], where: Position) -> None:
    journal = told(*events)
    assert position(TABLE, journal, made_by(journal, TABLE)) == where


BAKERY = [
    (["shop Ordered"], 2, ("weigh",)),
    (["shop Ordered", "weigh Weighed"], 2, ("knead", "heat")),
    (["shop Ordered", "weigh Weighed"], 1, ("knead",)),
    (["shop Ordered", "weigh Weighed", "knead Kneaded"], 2, ("heat",)),
    (["shop Ordered", "weigh Weighed", "knead Kneaded"], 1, ("bake",)),
    (["shop Ordered", "weigh Weighed", "knead Torn"], 2, ("heat",)),
    (["shop Ordered", "weigh Weighed", "knead Torn"], 1, ("clean",)),
    (["shop Ordered", "weigh Spoiled"], 2, ("clean",)),
    (["shop Ordered", "weigh Spoiled", "clean Cleaned"], 2, ("write-off",)),
    (["shop Ordered", "weigh Weighed", "knead Kneaded", "heat Heated", "bake Rising"], 2, ("watch",)),
    (["shop Ordered", "weigh Weighed", "knead Kneaded", "heat Heated", "bake Rising", "watch Baked"], 2, ("sell",)),
    (["shop Ordered", "weigh Weighed", "knead Kneaded", "heat Heated", "bake Baked"], 2, ("sell",)),
    (["shop Ordered", "weigh Weighed", "knead Kneaded", "heat Heated", "bake Baked", "sell Sold"], 2, ()),
    (["shop Ordered", "weigh Weighed", "knead Kneaded", "bake Baked", "sell Sold", "shop Complained"], 1, ("repay",)),
    (["shop Ordered", "weigh Weighed", "withdrawal TakenBack"], 2, ("clean",)),
]


@pytest.mark.parametrize(("events", "version", "at"), BAKERY)
def test_a_loaf_is_where_its_version_of_the_table_leads_it(
    events: Sequence[str], version: int, at: tuple[str, ...]
) -> None:
    journal = told(*events, prefix="bakery")
    assert position(bakery.TABLE, journal, made_by(journal, bakery.TABLE), version).at == at


def test_without_a_version_the_table_of_today_counts() -> None:
    assert links_at(bakery.TABLE, [], {"weigh"}) == ("knead", "heat")
    assert links_at(bakery.TABLE, [], {"weigh"}, 1) == ("knead",)


def test_who_is_known_to_have_ended_stands_nowhere_though_the_end_is_not_told() -> None:
    assert links_at(bakery.TABLE, [], {"weigh"}, ended=True) == ()
    assert links_at(bakery.TABLE, ["bakery.Complained"], {"weigh"}, ended=True) == ("repay",)
