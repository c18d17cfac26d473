"""The router on a chain that nobody has: stages, versions, links side by side, and one link for each event."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.failures import Failures
from chain.batch import Batch, Processed
from chain.commands import BulkCommand, Command, Verdict
from chain.event import AnyEvent, Event
from tests import bakery
from tests.bakery import Cold, Complained, Ordered, Rising, Spoiled, Tasted
from tests.servers import HANGS_AFTER, until
from tests.shop import untyped
from tests.workflows.conftest import Handle, ended
from workflows.chain_workflow import ChainWorkflow

pytestmark = pytest.mark.usefixtures("short_pauses")

Start = Callable[..., Awaitable[Handle]]


@workflow.defn
class Bakery(ChainWorkflow):
    table = bakery.TABLE

    @workflow.run
    async def run(self, version: int = 1) -> None:
        await self.until_done()


class TwinBaker:
    """Makes what leads on, or what `makes` says of (link, subject); `broken`: how often a link fails for a subject.

    `asked`: the link and the ids of the events it was given. `may_go_on`: what a link waits for.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.batches: list[Batch] = []
        self.told: list[AnyEvent] = []
        self.makes: dict[tuple[str, str], type[Event[Any]]] = {}
        self.broken: dict[tuple[str, str], int] = {}
        self.may_go_on: dict[str, asyncio.Event] = {}

    @activity.defn
    async def bake(self, batch: Batch) -> Processed:
        self.asked.append((batch.link, [event.id for event in batch.events]))
        self.batches.append(batch)
        if batch.link in self.may_go_on:
            await self.may_go_on[batch.link].wait()
        for event in batch.events:
            if self.broken.get((batch.link, event.subject), 0):
                self.broken[batch.link, event.subject] -= 1
                raise ZeroDivisionError("a bug, says the story")
        return Processed(events=[made for event in batch.events if (made := self._made(batch, event))])

    @activity.defn
    async def note_events(self, batch: Batch) -> Processed:
        self.told += batch.events
        return Processed(events=[])

    def _made(self, batch: Batch, event: AnyEvent) -> AnyEvent | None:
        usual = bakery.TABLE.by_name[batch.link].makes[:1]
        kinds = [self.makes[batch.link, event.subject]] if (batch.link, event.subject) in self.makes else usual
        given = event.id if batch.each else None
        return untyped(kinds[0].made_by(batch.link, event.subject, datetime.now(UTC), {}, given)) if kinds else None

    def links(self, subject: str) -> list[str]:
        """Which links were asked about the subject; those side by side in alphabetical order."""
        return [link for link, events in self.asked if any(event.startswith(subject) for event in events)]

    def told_types(self, subject: str) -> list[str]:
        return [event.type.partition(".")[2] for event in self.told if event.subject == subject]


def event(kind: type[Event[Any]], subject: str, nth: int = 1) -> AnyEvent:
    made = kind.made_by("shop", subject, datetime.now(UTC), {})
    return untyped(made.model_copy(update={"id": f"{subject}.{nth}"}))


@pytest.fixture
async def baker(client: Client) -> AsyncIterator[TwinBaker]:
    baker = TwinBaker()
    async with (
        Worker(
            client,
            task_queue="bakery-router",
            workflows=[Bakery],
            workflow_runner=UnsandboxedWorkflowRunner(),  # the test's own module is too heavy for the other
        ),
        Worker(client, task_queue="bakery", activities=[baker.bake, baker.note_events], interceptors=[Failures()]),
    ):
        yield baker


@pytest.fixture
def start(client: Client, baker: TwinBaker) -> Start:
    async def start(*events: AnyEvent, version: int = 2) -> Handle:
        return await client.start_workflow(
            Bakery.run,
            version,
            id=f"bakery-{events[0].subject}",
            task_queue="bakery-router",
            start_signal="received",
            start_signal_args=[list(events)],
        )

    return start


async def test_each_stage_begins_when_the_one_before_has_agreed(baker: TwinBaker, start: Start) -> None:
    await ended(await start(event(Ordered, "rye")))

    assert baker.links("rye")[0] == "weigh"
    assert sorted(baker.links("rye")[1:3]) == ["heat", "knead"]
    assert baker.links("rye")[3:] == ["bake", "sell"]
    assert baker.asked[:4] == [(link, ["rye.1"]) for link in baker.links("rye")[:4]], "all are given the same event"


async def test_an_order_that_was_dispatched_before_a_link_was_there_passes_it_by(
    baker: TwinBaker, start: Start
) -> None:
    await ended(await start(event(Ordered, "old"), version=1))

    assert baker.links("old") == ["weigh", "knead", "bake", "sell"]


async def test_a_refusal_ends_the_route_where_it_is_made(baker: TwinBaker, start: Start) -> None:
    baker.makes = {("weigh", "bad"): Spoiled, ("heat", "cold"): Cold}

    await ended(await start(event(Ordered, "bad"), event(Ordered, "cold"), event(Ordered, "good")))

    assert baker.links("bad") == ["weigh", "clean", "write-off"]
    assert sorted(baker.links("cold")) == ["clean", "heat", "knead", "weigh", "write-off"]
    assert baker.links("good")[-2:] == ["bake", "sell"]
    assert {tuple(batch.closes) for batch in baker.batches if batch.link == "clean"} == {
        ("weigh", "knead", "heat", "bake", "watch", "sell", "taste")
    }


async def test_what_a_link_waits_for_goes_on_along_a_route_of_its_own(baker: TwinBaker, start: Start) -> None:
    baker.makes["bake", "slow"] = Rising

    handle = await start(event(Ordered, "slow"))
    await until(lambda: "bake" in baker.links("slow"), HANGS_AFTER, "the oven")
    await handle.signal("news", ["slow"])
    await ended(handle)

    assert baker.links("slow")[3:] == ["bake", "watch", "sell"]


async def test_events_of_one_subject_are_worked_on_each_by_itself(baker: TwinBaker, start: Start) -> None:
    await ended(await start(*(event(Tasted, "loaf", nth) for nth in (1, 2)), event(Tasted, "roll")))

    assert sorted(baker.asked) == [("taste", ["loaf.1", "roll.1"]), ("taste", ["loaf.2"])]
    assert all(batch.each for batch in baker.batches)


async def test_what_came_late_is_answered_though_the_subject_has_ended(baker: TwinBaker, start: Start) -> None:
    baker.may_go_on["sell"] = asyncio.Event()
    handle = await start(event(Ordered, "sold"))
    await until(lambda: "sell" in baker.links("sold"), HANGS_AFTER, "the sale")
    baker.broken["repay", "sold"] = 3

    await handle.signal("received", [event(Complained, "sold", 2)])
    await until(lambda: baker.told_types("sold") == ["Parked"], HANGS_AFTER, "the repayment to be parked")
    baker.may_go_on["sell"].set()
    await until(lambda: _nobody_is_at(handle, "sell"), HANGS_AFTER, "the end")
    assert await _ask(handle, "cancel") == Verdict.TOO_LATE
    assert await _ask(handle, "reject") == Verdict.NOT_PARKED
    assert await _ask(handle, "release") == Verdict.RELEASED
    await ended(handle)

    assert baker.links("sold").count("repay") == 4


async def test_what_comes_late_too_early_stops_nobody(baker: TwinBaker, start: Start) -> None:
    baker.may_go_on["knead"] = asyncio.Event()
    handle = await start(event(Ordered, "early"))
    await until(lambda: "knead" in baker.links("early"), HANGS_AFTER, "the kneading")

    await handle.signal("received", [event(Complained, "early", 2)])
    await until(lambda: "repay" in baker.links("early"), HANGS_AFTER, "the repayment")
    baker.may_go_on["knead"].set()
    await ended(handle)

    assert baker.links("early")[-1] == "sell"


async def test_an_event_that_is_delivered_twice_at_once_is_worked_on_once(baker: TwinBaker, start: Start) -> None:
    await ended(await start(event(Ordered, "same"), event(Ordered, "same")))

    assert len(baker.links("same")) == 5


async def test_a_subject_goes_back_once_whatever_is_still_under_way_for_it(baker: TwinBaker, start: Start) -> None:
    """Two orders of one name; the first is refused, and the other does not go on."""
    baker.makes["weigh", "twice"] = Spoiled

    await ended(await start(event(Ordered, "twice", 1), event(Ordered, "twice", 2)))

    assert sorted(baker.links("twice")) == ["clean", "weigh", "weigh", "write-off"]


async def test_a_parking_is_released_by_its_own_id_and_another_stays(baker: TwinBaker, start: Start) -> None:
    baker.broken = {("knead", "both"): 3, ("heat", "both"): 3}
    handle = await start(event(Ordered, "both"))
    await until(lambda: baker.told_types("both") == ["Parked", "Parked"], HANGS_AFTER, "both to be parked")
    parkings = {event.data["link"]: event.id for event in baker.told}

    assert await _ask(handle, "release", parking="both.knead.parked.0") == Verdict.NOT_PARKED
    assert await _ask(handle, "release", parking=parkings["knead"]) == Verdict.RELEASED
    await until(lambda: baker.links("both").count("knead") == 4, HANGS_AFTER, "the kneading to go on")
    assert baker.links("both").count("heat") == 3
    assert await _ask(handle, "release", parking=parkings["knead"]) == Verdict.NOT_PARKED
    assert await _ask(handle, "release") == Verdict.RELEASED
    await ended(handle)

    assert [event.id for event in baker.told[2:]] == [f"{parkings[link]}.released" for link in ("knead", "heat")]


async def test_a_bulk_release_of_a_link_leaves_the_others_of_its_queue(baker: TwinBaker, start: Start) -> None:
    baker.broken = {("knead", "a"): 4, ("heat", "b"): 4}
    handle = await start(event(Ordered, "a"), event(Ordered, "b"))
    await until(lambda: sorted(event.subject for event in baker.told) == ["a", "b"], HANGS_AFTER, "both to be parked")

    await handle.signal("release", BulkCommand(by="ann", why="mended", link="heat"))
    await until(lambda: baker.told_types("b") == ["Parked", "Released"], HANGS_AFTER, "the release")
    assert baker.told_types("a") == ["Parked"]
    await handle.signal("release", BulkCommand(by="ann", why="mended", link="knead"))
    await ended(handle)


async def test_a_bulk_release_that_names_parkings_leaves_the_others_of_the_same_subject(
    baker: TwinBaker, start: Start
) -> None:
    baker.broken = {("knead", "both"): 3, ("heat", "both"): 3}
    handle = await start(event(Ordered, "both"))
    await until(lambda: baker.told_types("both") == ["Parked", "Parked"], HANGS_AFTER, "both to be parked")
    parkings = {event.data["link"]: event.id for event in baker.told}

    bulk = BulkCommand(by="ann", why="mended", subjects=["both"], parkings=[parkings["knead"]])
    await handle.signal("release", bulk)
    await until(lambda: baker.links("both").count("knead") == 4, HANGS_AFTER, "the kneading to go on")
    assert baker.links("both").count("heat") == 3
    assert await _ask(handle, "release") == Verdict.RELEASED
    await ended(handle)


async def test_a_bulk_release_of_a_queue_releases_no_compensation(baker: TwinBaker, start: Start) -> None:
    baker.makes["weigh", "back"] = Spoiled
    baker.broken = {("clean", "back"): 3, ("knead", "on"): 3}
    handle = await start(event(Ordered, "back"), event(Ordered, "on"))
    await until(
        lambda: sorted(event.subject for event in baker.told) == ["back", "on"], HANGS_AFTER, "both to be parked"
    )

    await handle.signal("release", BulkCommand(by="ann", why="mended", stage="bakery"))
    await until(lambda: "sell" in baker.links("on"), HANGS_AFTER, "the one to go on")
    assert baker.told_types("back") == ["Parked"]
    await handle.signal("release", BulkCommand(by="ann", why="mended", link="clean"))
    await ended(handle)


async def _ask(handle: Handle, command: str, parking: str | None = None) -> Verdict:
    subject = handle.id.removeprefix("bakery-")
    wanted = Command(subject=subject, by="ann", why="mended", parking=parking)
    return Verdict(await handle.execute_update(command, wanted))


async def _nobody_is_at(handle: Handle, link: str) -> bool:
    shown = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return f"at `{link}`" not in shown.current_details
