"""Every event is a CloudEvent 1.0, the same in Temporal, the journal and HTTP."""

from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError
from temporalio.contrib.pydantic import pydantic_data_converter

from chain.batch import Batch
from chain.event import AnyEvent, Event, EventTypes, Kind, id_of, source_of, type_of
from chain.subject import Refusal
from orders.events import OrderReceived, OrderWithdrawn, Refused
from orders.words import Reason
from tests.shop import an_order, batch, paid, untyped
from tests.unit.twins import NOW
from workflows.chains import TYPES
from workflows.order_confirmation import TABLE

EVENTS = TABLE.events

ORDER = an_order(cup=2, tea=1)
DATA: dict[str, Any] = {
    "ReceivedOrder": {"order": ORDER},
    "AwaitedPayment": {"order": ORDER, "deadline": NOW},
    "PaidOrder": {"order": ORDER, "payment": paid(ORDER)},
    "Refusal": {"reason": Reason.OUT_OF_STOCK, "detail": "cup: 2 wanted, 1 available"},
    "Withdrawal": {"reason": Reason.OUT_OF_STOCK, "detail": "counted again", "by": "ann"},
    "Parking": {"link": "cart", "reason": "key_error", "attempts": 3, "last_error": "KeyError: 'cup'"},
    "Release": {"link": "cart", "by": "ann", "why": "mended"},
    "LatePayment": {"payment_id": "pay_1"},
    "ReservedStock": {"reservations": [{"sku": "cup", "quantity": 2}]},
    "CheckedTotal": {"total": 750, "currency": "EUR"},
    "ConfirmedOrder": {
        "order_number": "L-1",
        "customer_id": "cus_1",
        "payment_id": "pay_1",
        "total": 750,
        "currency": "EUR",
    },
    "Refund": {"payment_id": "pay_1", "amount": 750, "currency": "EUR"},
}


def made(kind: type[Event[Any]]) -> Event[Any]:
    data = kind.model_fields["data"].annotation
    assert data is not None
    return kind.made_by("link", "order1", NOW, DATA[data.__name__])


every_event = pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)


def test_an_event_is_a_cloudevent() -> None:
    event = made(OrderReceived).model_dump(mode="json")

    assert event == {
        "specversion": "1.0",
        "id": "order1.link",
        "source": "/lanka/link",
        "type": "lanka.OrderReceived",
        "subject": "order1",
        "time": "2030-01-01T12:00:00Z",
        "data": {"order": ORDER.model_dump(mode="json")},
    }


@every_event
def test_the_type_is_the_name_of_the_event(kind: type[Event[Any]]) -> None:
    assert made(kind).type == type_of(kind) == f"lanka.{kind.__name__}"


@every_event
def test_an_event_is_known_by_its_type(kind: type[Event[Any]]) -> None:
    assert TYPES[type_of(kind)] is TABLE.types[type_of(kind)] is kind


def test_an_event_that_nobody_knows_moves_nothing() -> None:
    unknown = TYPES["lanka.OrderForgotten"]

    assert (unknown.status, unknown.kind) == (None, Kind.FACT)


def test_events_are_found_by_their_kind() -> None:
    assert EventTypes([OrderReceived, OrderWithdrawn]).of(Kind.WITHDRAWAL, Kind.END) == {"lanka.OrderWithdrawn"}


@every_event
def test_an_event_is_read_back_as_what_it_was(kind: type[Event[Any]]) -> None:
    event = made(kind)

    assert TYPES[event.type].model_validate_json(event.model_dump_json()) == event


@every_event
async def test_an_event_goes_through_temporal_unchanged(kind: type[Event[Any]]) -> None:
    sent = batch("link", [untyped(made(kind))])

    (received,) = await pydantic_data_converter.decode(await pydantic_data_converter.encode([sent]), [Batch])

    assert received == sent
    assert kind.model_validate(received.events[0].model_dump()) == made(kind)


@every_event
def test_an_event_does_not_change(kind: type[Event[Any]]) -> None:
    event = made(kind)

    for field in type(event).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(event, field, getattr(event, field))
    for field in type(event.data).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(event.data, field, getattr(event.data, field))


@every_event
def test_unknown_fields_are_refused_in_the_envelope_and_in_the_data(kind: type[Event[Any]]) -> None:
    event = made(kind).model_dump()

    for garbage in (event | {"extra": 1}, event | {"data": event["data"] | {"extra": 1}}):
        with pytest.raises(ValidationError, match="extra"):
            kind.model_validate(garbage)


@pytest.mark.parametrize(
    "changes",
    [
        {"specversion": "0.3"},
        {"type": "lanka.OrderForgotten"},
        {"type": "OrderReceived"},
        {"time": datetime(2030, 1, 1)},  # noqa: DTZ001, the point
        {"data": {}},
        {"id": None},
    ],
)
def test_what_is_no_event_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OrderReceived.model_validate(made(OrderReceived).model_dump() | changes)


def test_making_an_event_twice_makes_the_same_event() -> None:
    assert made(OrderReceived) == made(OrderReceived)
    assert (id_of("order1", "cart"), source_of("cart")) == ("order1.cart", "/lanka/cart")
    assert id_of("order1", "refund", "part2") == "order1.refund.part2", "where the link takes each event by itself"


def test_any_rejection_can_be_read_by_those_who_only_want_to_know_why() -> None:
    rejections = [event for event in map(made, EVENTS) if isinstance(event.data, Refusal)]

    read = [Refused.model_validate(event.model_dump()) for event in rejections]

    assert {event.data.reason for event in read} == {Reason.OUT_OF_STOCK}
    assert len(rejections) == 6


def test_the_router_needs_no_types() -> None:
    event = made(OrderReceived)

    assert AnyEvent.model_validate(event.model_dump()).model_dump(mode="json") == event.model_dump(mode="json")


def test_who_has_taken_an_order_back_is_not_lost_on_the_way_back() -> None:
    """The first consumer there may be the one that journals it."""
    data = {"reason": "rejected_by_operator", "detail": "the customer has called", "by": "ann"}
    withdrawn = OrderWithdrawn.made_by("withdrawal", "ord_1", NOW, data)
    read = Refused.model_validate(withdrawn.model_dump())
    assert read.model_dump(mode="json")["data"] == data
