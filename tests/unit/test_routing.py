"""The routing table, walked: every order reaches an end, and everything in the table is on the way to one."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from operator import attrgetter

import pytest
from temporalio import activity

from activities import consume
from chain.event import BACKWARD, AnyEvent, Kind, source_of, type_of
from chain.table import Link, Route, in_order
from orders.events import (
    CartConfirmed,
    OrderCancelled,
    OrderReceived,
    OrderRejected,
    PaymentArrivedLate,
    PaymentDeclined,
    PaymentRefunded,
)
from tests.unit.twins import NOW
from workflows.order_confirmation import PAYMENT, TABLE

EVENTS = {type_of(event): event for event in TABLE.events}

QUEUES = {"payment", "cart", "price", "finalize"}


def leads_to(route: Route) -> set[str]:
    """The types of the events that go on along the table from this route."""
    made = {event for stage in route.stages[:-1] for link in stage for event in link.makes if event.kind in BACKWARD}
    last = {event for link in route.stages[-1] for event in link.makes}
    if route.join:
        return set(map(type_of, made | {event for event in last if event.kind in BACKWARD} | {route.join.into}))
    return set(map(type_of, made | last))


def paths(routes: Mapping[str, Route], kind: str, *before: str) -> Iterator[tuple[str, ...]]:
    """Every way from an event of this type until nothing follows."""
    assert kind not in before, f"an order could go in circles: {' -> '.join([*before, kind])}"
    way = (*before, kind)
    if kind not in routes:
        yield way
        return
    for following in sorted(leads_to(routes[kind])):
        yield from paths(routes, following, *way)


ROUTES = TABLE.by_type
WAYS = [way for start in (OrderReceived, TABLE.withdrawn) for way in paths(ROUTES, type_of(start))]
AFTER_THE_END = list(paths(ROUTES, type_of(PaymentArrivedLate)))


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_every_way_of_an_order_reaches_an_end(way: tuple[str, ...]) -> None:
    assert EVENTS[way[-1]].kind is Kind.END


def test_money_that_arrives_after_the_end_is_given_back() -> None:
    assert [(type_of(PaymentArrivedLate), type_of(PaymentRefunded))] == AFTER_THE_END


def test_the_way_back_ends_without_an_order_and_nobody_withdraws_from_it() -> None:
    for kind, route in ROUTES.items():
        if route is TABLE.back:
            assert leads_to(route) == {type_of(OrderRejected), type_of(OrderCancelled)}, kind
        assert not route.back or route.too_late, kind


def test_it_is_too_late_to_cancel_from_the_finalisation_on() -> None:
    assert {kind for kind, route in ROUTES.items() if route.too_late and not route.back} == {type_of(CartConfirmed)}


def test_every_event_happens_on_some_way() -> None:
    made = {type_of(kind) for link in TABLE.links for kind in link.makes}
    passed = {kind for way in (*WAYS, *AFTER_THE_END) for kind in way}
    noted = {type_of(TABLE.parked), type_of(TABLE.released)}

    assert EVENTS.keys() == made | passed | noted


def test_every_route_is_on_some_way() -> None:
    assert ROUTES.keys() <= {kind for way in (*WAYS, *AFTER_THE_END) for kind in way}


def test_nothing_follows_an_end() -> None:
    assert not TABLE.types.of(Kind.END) & ROUTES.keys()


def test_what_is_only_noted_does_not_go_on() -> None:
    assert not {type_of(TABLE.parked), type_of(TABLE.released)} & ROUTES.keys()


def test_a_join_waits_for_links_that_can_agree() -> None:
    for route in ROUTES.values():
        for link in route.links if route.join else ():
            assert [event for event in link.makes if event.kind is Kind.FACT] == [link.makes[0]], link.name


def test_link_names_are_unique_as_the_idempotency_keys_are_made_of_them() -> None:
    joins = [route.join.name for route in ROUTES.values() if route.join]
    names = [link.name for link in TABLE.links] + joins

    assert len(names) == len(set(names))


def test_link_names_never_change() -> None:
    assert {link.name for link in TABLE.links} == {
        "payment",
        "settlement",
        "cart",
        "price",
        "finalize",
        "release",
        "refund",
        "late-refund",
        "note",
        "reject",
    }


def test_each_consumer_works_on_a_queue_of_the_contract() -> None:
    assert {link.queue for link in TABLE.links} == QUEUES


def test_each_link_has_a_consumer_of_its_own() -> None:
    names = [activity._Definition.must_from_callable(link.consumer).name for link in TABLE.links]

    assert len(names) == len(set(names))


def test_links_side_by_side_do_not_wait_for_one_queue() -> None:
    for stage in (stage for route in ROUTES.values() for stage in route.stages):
        assert all(one.queue != other.queue for one, other in combinations(stage, 2))


@pytest.mark.parametrize("link", sorted(TABLE.links, key=attrgetter("name")), ids=attrgetter("name"))
def test_an_attempt_outlasts_its_external_calls(link: Link) -> None:
    """Or Temporal would start the next attempt while the first is still at work."""
    full_batch = 100 / consume.CALLS_AT_ONCE * consume.IN_COMPANY

    assert link.start_to_close.total_seconds() > max(consume.ALONE, full_batch)


def test_a_story_is_told_in_the_order_of_the_table_however_the_links_side_by_side_committed() -> None:
    made = [
        AnyEvent(id=f"order1.{link}", source=source_of(link), type=link, subject="order1", time=NOW, data={})
        for link in ("intake", "payment", "price", "cart", "checks", "refund", "release", "reject")
    ]

    told = [event.type for event in in_order(TABLE, made)]

    assert told == ["intake", "payment", "cart", "price", "checks", "release", "refund", "reject"]
    assert in_order(TABLE, made[:3]) == made[:3], "what is not there yet is not missed"


def test_a_table_that_goes_in_circles_is_noticed() -> None:
    circle = {**ROUTES, type_of(PaymentDeclined): Route(((PAYMENT,),))}

    with pytest.raises(AssertionError, match="circles"):
        list(paths(circle, type_of(OrderReceived)))
