"""Stories of support calls: the real router, and a switchboard in memory in place of the consumers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from activities.failures import Failures
from chain.batch import Batch, Processed
from chain.commands import Command, Verdict
from chain.event import AnyEvent, Event
from dispatch import dispatcher
from store.dispatch import DispatchBatch
from support.events import CallerWaiting, OperatorAssigned
from tests.servers import HANGS_AFTER, until
from tests.shop import untyped
from tests.workflows.conftest import Handle, Record, ended
from tests.workflows.doubles import Consumers
from workflows import router
from workflows.chains import CHAINS

Connect = Callable[..., Awaitable[Handle]]


class Switchboard:
    """`free`: operators who take a call. `asked`: the consumer, and the calls it was asked about.

    `broken`: how often the next calls fail; `faulty`: calls that nobody can assign. `meanwhile` is awaited while a call
    is assigned for the first time.
    """

    def __init__(self) -> None:
        self.free: list[str] = []
        self.talking: dict[str, str] = {}
        self.over: set[str] = set()
        self.asked: list[tuple[str, list[str]]] = []
        self.noted: list[str] = []
        self.parkings: list[str] = []
        self.broken = 0
        self.faulty: set[str] = set()
        self.meanwhile: Callable[[], Awaitable[Any]] | None = None

    @activity.defn
    async def assign_operator(self, batch: Batch) -> Processed:
        self._note(batch)
        made = [self._connected(batch, e) or _made(batch, CallerWaiting, e, e.data) for e in batch.events]
        if self.meanwhile:
            await self.meanwhile()
        return Processed(events=made)

    @activity.defn
    async def assign_waiting(self, batch: Batch) -> Processed:
        self._note(batch)
        made = [self._connected(batch, event) for event in batch.events if event.subject not in self.over]
        done = {event.subject for event in made if event} | self.over
        return Processed(
            events=[event for event in made if event],
            left_out=[event.subject for event in batch.events if event.subject not in done],
        )

    @activity.defn
    async def free_operator(self, batch: Batch) -> Processed:
        self._note(batch)
        for event in batch.events:
            self.over.add(event.subject)
            if event.subject in self.talking:
                self.free.append(self.talking.pop(event.subject))
        return Processed(events=[])

    @activity.defn
    async def note_events(self, batch: Batch) -> Processed:
        self.noted += [event.type.removeprefix("lanka.") for event in batch.events]
        self.parkings += [event.id for event in batch.events if event.type == "lanka.Parked"]
        return Processed(events=[])

    def _note(self, batch: Batch) -> None:
        self.asked.append((activity.info().activity_type, [event.subject for event in batch.events]))
        if self.faulty.intersection(event.subject for event in batch.events) and batch.link == "assign":
            raise ZeroDivisionError("a bug, says the story")
        if self.broken:
            self.broken -= 1
            raise ZeroDivisionError("a bug, says the story")

    def _connected(self, batch: Batch, event: AnyEvent) -> AnyEvent | None:
        if event.subject not in self.talking and self.free:
            self.talking[event.subject] = self.free.pop(0)
        operator = self.talking.get(event.subject)
        return _made(batch, OperatorAssigned, event, {"operator_id": operator}) if operator else None

    def asked_of(self, consumer: str) -> list[list[str]]:
        return [calls for asked, calls in self.asked if asked == consumer]


def _made(batch: Batch, kind: type[Event[Any]], event: AnyEvent, data: Any) -> AnyEvent:
    return untyped(kind.made_by(batch.link, event.subject, datetime.now(UTC), data))


def event(kind: str, call: str, data: dict[str, Any] | None = None) -> AnyEvent:
    return AnyEvent(
        source="/pbx",
        id=f"{call}.{kind}",
        type=f"lanka.{kind}",
        subject=call,
        time=datetime.now(UTC),
        data=data or {},
    )


def started(call: str, nth: int = 1) -> AnyEvent:
    made = event("SupportCallStarted", call, {"customer_id": "cus_1", "language": "uk", "skill": "orders"})
    return made.model_copy(update={"id": f"{made.id}.{nth}"})


@pytest.fixture
async def switchboard(client: Client, consumers: Consumers) -> AsyncIterator[Switchboard]:
    """At work on the queue `support`; the router is the one of all stories."""
    switchboard = Switchboard()
    activities = [
        switchboard.assign_operator,
        switchboard.assign_waiting,
        switchboard.free_operator,
        switchboard.note_events,
    ]
    async with Worker(client, task_queue="support", activities=activities, interceptors=[Failures()]):
        yield switchboard


@pytest.fixture
def connect(client: Client, switchboard: Switchboard) -> Connect:
    """Brings calls in, together, as the dispatcher does."""

    async def connect(*calls: str) -> Handle:
        workflow_id = CHAINS["support"].workflow_id(calls)
        await dispatcher.start_workflow(
            client, DispatchBatch("support", workflow_id, 1, [started(call) for call in calls])
        )
        return client.get_workflow_handle(workflow_id)

    return connect


async def waits(handle: Handle) -> None:
    """Until somebody waits in the workflow."""

    async def is_waiting() -> bool:
        history = await handle.fetch_history()
        return any(each.HasField("timer_started_event_attributes") for each in history.events)

    await until(is_waiting, HANGS_AFTER, "the callers to wait")


async def test_a_caller_is_connected_to_an_operator(switchboard: Switchboard, connect: Connect, record: Record) -> None:
    switchboard.free = ["ann"]
    handle = await connect("call-assigned")
    await ended(handle)
    assert switchboard.asked == [("assign_operator", ["call-assigned"])]
    await record("call_assigned", handle)


async def test_a_caller_waits_and_is_connected_as_soon_as_there_are_news(
    switchboard: Switchboard, connect: Connect, record: Record
) -> None:
    handle = await connect("call-waits")
    await waits(handle)
    assert switchboard.asked_of("assign_waiting") == []

    switchboard.free = ["ann"]
    await handle.signal("news", ["call-waits"])
    await ended(handle)

    assert switchboard.talking == {"call-waits": "ann"}
    assert switchboard.asked_of("assign_waiting") == [["call-waits"]]
    await record("call_waits", handle)


async def test_news_that_come_while_a_call_is_assigned_are_not_lost(
    switchboard: Switchboard, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "_pause", lambda *_: timedelta(days=1))
    there_are_news = asyncio.Event()
    switchboard.meanwhile = there_are_news.wait
    handle = await connect("call-rung-early")
    await until(lambda: switchboard.asked, HANGS_AFTER, "the call to be assigned")

    switchboard.free = ["ann"]
    await handle.signal("news", ["call-rung-early"])
    there_are_news.set()
    await until(lambda: switchboard.talking, HANGS_AFTER, "the call to be asked for without waiting")
    await ended(handle)

    assert switchboard.talking == {"call-rung-early": "ann"}


async def test_who_hangs_up_while_waiting_is_done(switchboard: Switchboard, connect: Connect, record: Record) -> None:
    handle = await connect("call-hung-up")
    await waits(handle)

    await handle.signal("received", [event("SupportCallEnded", "call-hung-up")])
    await until(lambda: switchboard.over, HANGS_AFTER, "the end of the call")
    await handle.signal("news", ["call-hung-up"])
    await ended(handle)

    switchboard.free = ["ann"]
    assert switchboard.talking == {}
    await record("call_hung_up", handle)


async def test_of_calls_in_one_batch_those_go_on_that_can(
    switchboard: Switchboard, connect: Connect, record: Record
) -> None:
    switchboard.free = ["ann"]
    calls = [f"calls-{nth}" for nth in range(3)]
    handle = await connect(*calls)
    await waits(handle)
    assert switchboard.talking == {calls[0]: "ann"}

    for operator, call in (("bob", calls[1]), ("cyd", calls[2])):
        switchboard.free = [operator]
        await handle.signal("news", [call])
        await until(partial(switchboard.talking.get, call), HANGS_AFTER, call)
    await ended(handle)

    assert switchboard.asked_of("assign_waiting") == [calls[1:], calls[2:]]
    await record("calls_in_a_batch", handle)


async def test_an_event_told_twice_is_followed_once(switchboard: Switchboard, connect: Connect) -> None:
    handle = await connect("call-twice")
    await waits(handle)
    for _ in range(3):
        await handle.signal("received", [started("call-twice"), event("SupportCallEnded", "call-twice")])
    await until(lambda: switchboard.over, HANGS_AFTER, "the end of the call")
    await handle.signal("news", ["call-twice"])
    await ended(handle)
    assert switchboard.asked_of("assign_operator") == [["call-twice"]]
    assert switchboard.asked_of("free_operator") == [["call-twice"]]


async def test_a_call_that_nobody_can_process_is_parked_like_an_order(
    switchboard: Switchboard, connect: Connect, record: Record, short_pauses: None
) -> None:
    switchboard.free, switchboard.broken = ["ann"], 3
    handle = await connect("call-parked")
    await until(lambda: switchboard.noted == ["Parked"], HANGS_AFTER, "the call to be parked")

    command = Command(subject="call-parked", by="ann", why="mended")
    assert await handle.execute_update("release", command) == Verdict.RELEASED
    await ended(handle)

    assert switchboard.noted == ["Parked", "Released"]
    assert switchboard.talking == {"call-parked": "ann"}
    await record("call_parked", handle)


async def test_a_parked_call_ends_with_the_caller(
    switchboard: Switchboard, connect: Connect, short_pauses: None
) -> None:
    switchboard.broken = 3
    handle = await connect("call-given-up")
    await until(lambda: switchboard.noted == ["Parked"], HANGS_AFTER, "the call to be parked")

    await handle.signal("received", [event("SupportCallEnded", "call-given-up")])
    await ended(handle)
    assert switchboard.talking == {}


async def parked_twice(switchboard: Switchboard, connect: Connect, call: str) -> tuple[Handle, list[str]]:
    """A call that has begun twice, by two events, and is parked for each; five others travel with it and wait."""
    good = [f"{call}-good-{nth}" for nth in range(5)]
    switchboard.faulty = {call}
    handle = await connect(call, *good)
    await handle.signal("received", [started(call, nth=2)])
    await until(lambda: len(switchboard.parkings) == 2, HANGS_AFTER, "the call to be parked twice")
    return handle, good


async def connected(switchboard: Switchboard, handle: Handle, calls: list[str]) -> None:
    """As soon as somebody is free for each."""
    switchboard.free = [f"operator-{nth}" for nth, _ in enumerate(calls)]
    await handle.signal("news", calls)
    await until(lambda: set(calls) <= switchboard.talking.keys(), HANGS_AFTER, "all to be connected")


async def test_the_end_of_a_call_that_is_parked_twice_ends_both_and_holds_up_nobody(
    switchboard: Switchboard, connect: Connect, record: Record, short_pauses: None
) -> None:
    handle, good = await parked_twice(switchboard, connect, "call-twice-ended")
    assert len(set(switchboard.parkings)) == 2
    await handle.signal("received", [event("SupportCallEnded", "call-twice-ended")])
    await connected(switchboard, handle, good)
    await ended(handle)

    assert switchboard.over == {"call-twice-ended"}
    assert switchboard.noted == ["Parked", "Parked"]
    await record("call_parked_twice", handle)


async def test_a_call_that_is_parked_twice_is_rejected_once(
    switchboard: Switchboard, connect: Connect, short_pauses: None
) -> None:
    handle, good = await parked_twice(switchboard, connect, "call-twice-rejected")
    command = Command(subject="call-twice-rejected", by="ann", why="a mistake", parking=switchboard.parkings[1])
    assert await handle.execute_update("reject", command) == Verdict.REJECTED
    assert await handle.execute_update("reject", command) == Verdict.NOT_PARKED
    await connected(switchboard, handle, good)
    await ended(handle)

    assert switchboard.noted == ["Parked", "Parked", "Withdrawn"]


async def test_each_parking_of_a_call_is_released_by_itself(
    switchboard: Switchboard, connect: Connect, short_pauses: None
) -> None:
    call = "call-twice-released"
    handle, good = await parked_twice(switchboard, connect, call)
    command = Command(subject=call, by="ann", why="mended")
    second = command.model_copy(update={"parking": switchboard.parkings[1]})
    assert await handle.execute_update("release", second) == Verdict.RELEASED
    await until(lambda: len(switchboard.parkings) == 3, HANGS_AFTER, "that one to fail, and to be parked again")
    assert await handle.execute_update("release", second) == Verdict.NOT_PARKED
    switchboard.faulty.clear()
    assert await handle.execute_update("release", command) == Verdict.RELEASED, "all that are left"
    await connected(switchboard, handle, [*good, call])
    await ended(handle)

    assert switchboard.noted.count("Parked") == switchboard.noted.count("Released") == 3


async def test_the_end_of_a_call_that_cannot_be_processed_is_parked_and_not_lost(
    switchboard: Switchboard, connect: Connect, short_pauses: None
) -> None:
    handle = await connect("call-end-parked")
    await waits(handle)
    switchboard.broken = 3
    await handle.signal("received", [event("SupportCallEnded", "call-end-parked")])
    await until(lambda: switchboard.parkings, HANGS_AFTER, "the end to be parked")

    command = Command(subject="call-end-parked", by="ann", why="mended")
    assert await handle.execute_update("reject", command) == Verdict.NOT_PARKED, "an end is not taken back"
    assert await handle.execute_update("release", command) == Verdict.RELEASED
    await until(lambda: switchboard.over, HANGS_AFTER, "the end of the call")
    await handle.signal("news", ["call-end-parked"])
    await ended(handle)
