from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from chain.batch import Batch, Processed
from chain.event import Event, Kind
from chain.graph import Stages, good_ends, graph, routes
from chain.subject import Data
from chain.table import Link, Table, route
from workflows.chains import CHAINS

TABLE, SUPPORT = CHAINS["orders"].table, CHAINS["support"].table


class Sown(Event[Data]):
    kind: ClassVar = Kind.START
    type: Literal["garden.Sown"] = "garden.Sown"


class Watered(Event[Data]):
    type: Literal["garden.Watered"] = "garden.Watered"


class Thirsty(Event[Data]):
    kind: ClassVar = Kind.PENDING
    type: Literal["garden.Thirsty"] = "garden.Thirsty"


class Weeded(Event[Data]):
    type: Literal["garden.Weeded"] = "garden.Weeded"


class Harvested(Event[Data]):
    kind: ClassVar = Kind.END
    status: ClassVar = "harvested"
    type: Literal["garden.Harvested"] = "garden.Harvested"


async def worked(batch: Batch) -> Processed:
    return Processed(events=[])


DIG = Link("dig", worked, queue="garden", makes=())
WATER = Link("water", worked, queue="garden", makes=(Watered, Thirsty))
WEED = Link("weed", worked, queue="garden", makes=(Weeded,))
HARVEST = Link("harvest", worked, queue="garden", makes=(Harvested,))
RAIN = Link("rain", worked, queue="garden", makes=(Watered,))
GARDEN = Table(
    starts=Sown,
    routes={Sown: route(DIG, (WATER, WEED), HARVEST), Thirsty: route(RAIN), Harvested: route(DIG)},
    note=Link("note", worked, queue="garden", makes=()),
)


def names(stages: Stages) -> list[list[str]]:
    return [[link.name for link in stage] for stage in stages]


def taken(table: Table) -> list[tuple[list[str], list[list[str]]]]:
    return [([event.__name__ for event in events], names(route.stages)) for events, route in routes(table)]


def called(events: Sequence[type[Event[Any]]]) -> list[str]:
    return [event.__name__ for event in events]


def test_an_order_goes_straight_on_back_or_has_late_money_given_back() -> None:
    shape = graph(TABLE)

    assert names(shape.forward) == [["payment"], ["cart", "price"], ["finalize"]]
    assert names(shape.back) == [["release", "refund"], ["reject"]]
    assert names(shape.aside) == [["late-refund"]]


def test_a_call_has_no_way_back_and_its_end_stands_aside() -> None:
    shape = graph(SUPPORT)

    assert (names(shape.forward), names(shape.back), names(shape.aside)) == ([["assign"]], [], [["free"]])


def test_of_a_chain_that_nobody_has_heard_of_all_stages_are_drawn_and_each_link_once() -> None:
    shape = graph(GARDEN)

    assert names(shape.forward) == [["dig"], ["water", "weed"], ["harvest"]]
    assert (names(shape.back), names(shape.aside)) == ([], [])


def test_a_link_that_answers_for_another_is_drawn_at_its_place() -> None:
    assert GARDEN.settles == {"rain": "water"}
    assert "rain" not in str(graph(GARDEN))


def test_each_route_is_named_with_all_events_that_take_it() -> None:
    backward = ["PaymentDeclined", "CartUnavailable", "PriceChanged", "OrderWithdrawn"]

    assert taken(GARDEN) == [
        (["Sown"], [["dig"], ["water", "weed"], ["harvest"]]),
        (["Thirsty"], [["rain"]]),
        (["Harvested"], [["dig"]]),
    ]
    assert sorted(taken(TABLE)[-1][0]) == sorted(backward)
    assert taken(TABLE)[2] == (["PaymentConfirmed"], [["cart", "price"]])


def test_the_end_of_the_straight_way_is_good_and_so_is_one_from_outside() -> None:
    assert called(good_ends(TABLE)) == ["OrderConfirmed"]
    assert called(good_ends(SUPPORT)) == ["SupportCallEnded"]
    assert called(good_ends(GARDEN)) == ["Harvested"]
