"""The steps of one subject: every link that concerns it, and how it is there."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from chain.event import AnyEvent, source_of
from chain.steps import Seen, State, Step, Trying, steps
from tests import bakery
from tests.unit.twins import NOW

TABLE = bakery.TABLE
BY_LINK = dict.fromkeys(("weigh", "knead", "heat", "bake", "sell"), "ahead")
OPENED = ("shop Ordered", "weigh Weighed")


def event(nth: int, link: str, name: str, reason: str | None = None) -> AnyEvent:
    """One that was made so many seconds after the start."""
    time = NOW + timedelta(seconds=nth)
    data = {"reason": reason}
    return AnyEvent(id=f"{nth}", source=source_of(link), type=name, subject="loaf", time=time, data=data)


def seen(
    *events: str, done: Mapping[str, int | None] | None = None, version: int | None = None, **rest: object
) -> Seen:
    parts = [each.split() for each in events]
    made = [event(nth, link, f"bakery.{name}", *more) for nth, (link, name, *more) in enumerate(parts)]
    claims = {link: None for link, *_ in parts if link in TABLE.by_name}
    return Seen(made, {**claims, **(done or {})}, version, **rest)  # type: ignore[arg-type]


def states(given: Seen) -> dict[str, str]:
    return {step.link.name: step.state for step in steps(TABLE, given)}


def step(given: Seen, link: str) -> Step:
    (found,) = [each for each in steps(TABLE, given) if each.link.name == link]
    return found


def test_what_lies_ahead_is_shown_from_the_start() -> None:
    assert states(seen("shop Ordered")) == BY_LINK | {"weigh": "waiting"}
    assert states(seen("shop Ordered", moves=True)) == BY_LINK | {"weigh": "in_progress"}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (2, {"weigh": "done", "knead": "waiting", "heat": "waiting", "bake": "ahead", "sell": "ahead"}),
        (1, {"weigh": "done", "knead": "waiting", "bake": "ahead", "sell": "ahead"}),
    ],
)
def test_a_link_is_no_step_of_what_was_dispatched_before_it_was_there(version: int, expected: dict[str, str]) -> None:
    assert states(seen(*OPENED, version=version)) == expected


def test_links_side_by_side_are_steps_of_their_own() -> None:
    assert states(seen(*OPENED, "heat Heated"))["knead"] == "waiting"
    assert states(seen(*OPENED, "heat Heated"))["heat"] == "done"


def test_who_waits_for_somebody_outside_waits_even_if_something_happens() -> None:
    given = seen(*OPENED, "knead Kneaded", "heat Heated", "bake Rising", moves=True)

    assert states(given) == {
        "weigh": "done",
        "knead": "done",
        "heat": "done",
        "bake": "done",
        "watch": "waiting",
        "sell": "ahead",
    }


def test_a_refusal_shows_where_what_was_undone_and_what_is_left_out() -> None:
    given = seen(*OPENED, "knead Kneaded", "heat Cold no_gas", "clean Cleaned")

    assert states(given) == {
        "weigh": "done",
        "knead": "undone",
        "heat": "refused",
        "bake": "left_out",
        "sell": "left_out",
        "clean": "done",
        "write-off": "waiting",
    }
    assert step(given, "heat").reason == "no_gas"


def test_what_came_after_the_end_is_a_step_of_its_own() -> None:
    done = ("knead Kneaded", "heat Heated", "bake Baked", "sell Sold")

    assert "repay" not in states(seen(*OPENED, *done))
    assert states(seen(*OPENED, *done, "shop Complained"))["repay"] == "waiting"
    assert states(seen(*OPENED, *done, "shop Complained", done={"repay": None}))["repay"] == "done"


def test_a_step_begins_with_the_event_that_leads_to_it_and_ends_with_what_it_made() -> None:
    given = seen(*OPENED, "knead Kneaded", "heat Heated")

    assert step(given, "weigh").since == NOW
    assert step(given, "knead").since == step(given, "heat").since == step(given, "weigh").ended
    assert step(given, "bake").since == NOW + timedelta(seconds=3), "when both had spoken"


def test_a_parked_step_tells_what_was_tried_and_a_running_one_what_is_being_tried() -> None:
    parked = seen(*OPENED, parked={"knead": Trying(3, "KeyError: 'flour'")})
    trying = seen(*OPENED, trying={"bake": Trying(2, "away")}, moves=True)

    assert step(parked, "knead").state is State.PARKED
    assert (step(parked, "knead").attempts, step(parked, "knead").last_error) == (3, "KeyError: 'flour'")
    assert step(parked, "heat").state is State.WAITING
    assert (step(trying, "heat").attempts, step(trying, "heat").last_error) == (2, "away")
    assert step(seen(*OPENED, done={"weigh": 4}), "weigh").attempts == 4, "as many as it took"
