"""What the table of a chain knows, asked of an invented one and of the chain of an order."""

from dataclasses import replace
from typing import ClassVar

import pytest

from chain.event import Kind, type_of
from chain.table import Link, Table, route
from tests import bakery
from tests.bakery import BAKE, CLEAN, HEAT, KNEAD, REPAY, SELL, TASTE, WATCH, WEIGH, WRITE_OFF
from workflows.order_confirmation import FINALIZE, REFUND, REJECT, RELEASE
from workflows.order_confirmation import TABLE as ORDERS

TABLE = bakery.TABLE


def names(*links: Link) -> list[str]:
    return [link.name for link in links]


def test_every_refusal_and_whoever_is_taken_back_goes_the_way_back() -> None:
    back = {kind for kind, route in TABLE.by_type.items() if route is TABLE.back}

    assert back == {f"bakery.{name}" for name in ("Spoiled", "Torn", "Cold", "TakenBack")}
    assert all(
        route.back and route.too_late for route in (TABLE.by_type["bakery.Complained"], TABLE.by_type[back.pop()])
    )


def test_a_table_without_a_way_back_takes_nobody_back() -> None:
    with pytest.raises(AssertionError, match="who is taken back needs a way back"):
        replace(TABLE, back=None)
    with pytest.raises(AssertionError, match="needs a way back"):
        replace(TABLE, withdrawn=Table.withdrawn)


def test_a_chain_begins_with_an_event_that_says_so() -> None:
    with pytest.raises(AssertionError, match="its kind is START"):
        replace(TABLE, starts=bakery.Weighed)


def test_an_end_gives_a_status() -> None:
    class Vanished(bakery.Sold):
        status: ClassVar = ""

    with pytest.raises(AssertionError, match="Vanished: an END gives a status"):
        replace(TABLE, also=(Vanished,))


def test_the_version_rises_with_each_link_that_is_added() -> None:
    ordered = TABLE.routes[bakery.Ordered]

    assert TABLE.version == 2
    assert ORDERS.version == 1
    assert [names(*stage) for stage in ordered.of_version(2)] == [["weigh"], ["knead", "heat"], ["bake"]]
    assert [names(*stage) for stage in ordered.of_version(1)] == [["weigh"], ["knead"], ["bake"]]
    assert route(HEAT, KNEAD).of_version(1) == [[KNEAD]], "a stage of newer links is none"


def test_the_straight_way_is_what_nothing_comes_between() -> None:
    assert [names(*stage) for stage in TABLE.straight] == [["weigh"], ["knead", "heat"], ["bake"], ["sell"]]
    assert [names(*stage) for stage in ORDERS.straight] == [["payment"], ["cart", "price"], ["finalize"]]


def test_forward_is_what_the_way_back_takes_back() -> None:
    assert TABLE.forward == [WEIGH, KNEAD, HEAT, BAKE, WATCH, SELL, TASTE]
    assert names(*ORDERS.forward) == ["payment", "settlement", "cart", "price", "finalize"]


def test_the_first_links_on_the_way_back_close_all_forward_ones() -> None:
    assert TABLE.closes(CLEAN) == names(*TABLE.forward)
    assert TABLE.closes(WRITE_OFF) == TABLE.closes(KNEAD) == TABLE.closes(REPAY) == ()
    assert ORDERS.closes(RELEASE) == ORDERS.closes(REFUND) == names(*ORDERS.forward)
    assert ORDERS.closes(REJECT) == ORDERS.closes(FINALIZE) == ()


def test_a_link_that_waits_for_somebody_outside_answers_for_another() -> None:
    assert TABLE.settles == {"watch": "bake"}
    assert ORDERS.settles == {"settlement": "payment"}


def test_what_is_owed_follows_from_who_gives_money_back() -> None:
    assert TABLE.answering(Kind.REFUSAL, Kind.WITHDRAWAL) == ["clean", "write-off"]
    assert TABLE.answering(Kind.LATE, refunds=True) == ["repay"]
    assert ORDERS.answering(Kind.REFUSAL, Kind.WITHDRAWAL, refunds=True) == ["refund"]
    assert ORDERS.answering(Kind.LATE, refunds=True) == ["late-refund"]


def test_a_subject_comes_to_a_link_by_the_last_event_before_it() -> None:
    inputs = {link: {kind.partition(".")[2] for kind in kinds} for link, kinds in ORDERS.inputs.items()}

    assert inputs["payment"] == {"OrderReceived"}
    assert inputs["cart"] == inputs["price"] == {"PaymentConfirmed"}
    assert inputs["finalize"] == {"CartConfirmed"}
    assert {"StockReleased", "PaymentRefunded", "OrderWithdrawn"} <= inputs["reject"]
    assert TABLE.inputs["bake"] == {"bakery.Ordered", "bakery.Kneaded", "bakery.Torn", "bakery.Heated", "bakery.Cold"}


def test_what_the_router_makes_is_journalled_by_the_next_consumer() -> None:
    assert TABLE.own == {"bakery.TakenBack"}
    assert ORDERS.own == {"lanka.CartConfirmed", "lanka.OrderWithdrawn"}


def test_a_chain_declares_each_event_once() -> None:
    types = [type_of(event) for event in TABLE.events]

    assert len(types) == len(set(types))
    assert set(types) == set(map(type_of, TABLE.types))
    assert {"lanka.Parked", "lanka.Released", "bakery.Tasted", "bakery.Complained"} <= set(types)


def test_what_undoes_a_link_is_known() -> None:
    assert TABLE.undone_by(KNEAD) == [CLEAN]
    assert names(*ORDERS.undone_by(ORDERS.by_name["payment"])) == ["refund"]
