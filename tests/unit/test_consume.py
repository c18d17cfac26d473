"""The one way a consumer works, on a journal in memory."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities import consume as mechanism
from activities.consume import NotYet, call_then_consume, consume
from chain.batch import Batch, Processed, Work
from chain.event import AnyEvent, Event
from chain.failures import Fault, Outage, UnreadableEvent
from orders.events import CheckedTotal, OrderReceived, PriceConfirmed
from tests.servers import HANGS_AFTER
from tests.shop import an_order, batch, untyped
from tests.unit.twins import NOW, TwinJournal

LINK = "test"
QUICK = 0.05
LONG = 3600.0


@pytest.fixture
def journal() -> TwinJournal:
    return TwinJournal()


def received(*names: str) -> Batch:
    orders = [an_order(cup=1).model_copy(update={"order_id": name}) for name in names]
    return batch(LINK, [untyped(OrderReceived.made_by("intake", o.order_id, NOW, {"order": o})) for o in orders])


def with_garbage(given: Batch, subject: str) -> Batch:
    """The same batch, but nobody can read the event of `subject`."""
    events = [e.model_copy(update={"data": {"nonsense": 1}}) if e.subject == subject else e for e in given.events]
    return given.model_copy(update={"events": events})


async def decide(work: Work, events: Sequence[OrderReceived]) -> list[Event[Any]]:
    return [work.made(PriceConfirmed, event, CheckedTotal(total=1, currency="EUR")) for event in events]


async def decide_with_answers(work: Work, events: Sequence[OrderReceived], answers: dict[str, int]) -> list[Event[Any]]:
    return [
        work.made(PriceConfirmed, event, CheckedTotal(total=answers[event.subject], currency="EUR")) for event in events
    ]


class Neighbour:
    """An external party: `says` is its answer for a subject, an exception to raise, or how it answers."""

    def __init__(self, **says: Any) -> None:
        self.says = says
        self.asked: list[tuple[str, float]] = []

    async def __call__(self, event: OrderReceived, seconds: float) -> int:
        self.asked.append((event.subject, seconds))
        answer = self.says.get(event.subject, 1)
        if isinstance(answer, Exception):
            raise answer
        return int(await answer() if callable(answer) else answer)


async def silence() -> int:
    await asyncio.sleep(LONG)
    return 0


async def ask_all(journal: TwinJournal, given: Batch, neighbour: Any) -> Processed:
    return await call_then_consume(journal, given, OrderReceived, neighbour, decide_with_answers)


def subjects(events: Sequence[AnyEvent]) -> list[str]:
    return [event.subject for event in events]


async def test_a_batch_is_decided_in_one_transaction_in_the_order_it_came(journal: TwinJournal) -> None:
    processed = await consume(journal, received("c", "a", "b"), OrderReceived, decide)

    assert subjects(processed.events) == ["c", "a", "b"]
    assert list(processed.left_out) == []
    assert journal.transactions == [["c", "a", "b"]]


async def test_an_event_nobody_can_read_is_left_out_and_the_others_go_on(journal: TwinJournal) -> None:
    processed = await consume(journal, with_garbage(received("a", "bad", "b"), "bad"), OrderReceived, decide)

    assert subjects(processed.events) == ["a", "b"]
    assert list(processed.left_out) == ["bad"]


async def test_an_event_nobody_can_read_is_a_fault_when_it_is_alone(journal: TwinJournal) -> None:
    with pytest.raises(UnreadableEvent, match=r"lanka\.OrderReceived of bad cannot be read"):
        await consume(journal, with_garbage(received("bad"), "bad"), OrderReceived, decide)

    assert journal.transactions == []


async def test_events_that_the_router_made_itself_are_recorded_first(journal: TwinJournal) -> None:
    given = received("a").model_copy(update={"unrecorded": True})

    await consume(journal, given, OrderReceived, decide)

    assert [event.type for event in journal.recorded] == ["lanka.OrderReceived", "lanka.PriceConfirmed"]


async def test_the_decision_gets_the_answer_of_each_event(journal: TwinJournal) -> None:
    processed = await ask_all(journal, received("a", "b"), Neighbour(a=10, b=20))

    assert [event.data["total"] for event in processed.events] == [10, 20]


@pytest.mark.parametrize("failure", [Outage("down"), Fault("nonsense"), NotYet("still pending")])
async def test_one_event_that_fails_is_left_out_and_the_others_go_on(journal: TwinJournal, failure: Exception) -> None:
    processed = await ask_all(journal, received("a", "bad", "b"), Neighbour(bad=failure))

    assert subjects(processed.events) == ["a", "b"]
    assert list(processed.left_out) == ["bad"]
    assert journal.transactions == [["a", "b"]]


async def test_an_outage_that_meets_all_is_raised(journal: TwinJournal) -> None:
    outage = Outage("down", retry_after=7)

    with pytest.raises(Outage) as raised:
        await ask_all(journal, received("a", "b"), Neighbour(a=NotYet("pending"), b=outage))

    assert raised.value is outage
    assert journal.transactions == []


async def test_a_fault_does_not_hide_behind_the_outage_of_its_neighbour(journal: TwinJournal) -> None:
    with pytest.raises(Fault, match="nonsense"):
        await ask_all(journal, received("a", "b"), Neighbour(a=Outage("down"), b=Fault("nonsense")))


async def test_a_fault_that_meets_all_is_raised(journal: TwinJournal) -> None:
    with pytest.raises(Fault, match="nonsense"):
        await ask_all(journal, received("a", "b"), Neighbour(a=NotYet("pending"), b=Fault("nonsense")))


async def test_a_batch_that_only_waits_has_not_failed(journal: TwinJournal) -> None:
    pending = NotYet("still pending")

    processed = await ask_all(journal, received("a", "b"), Neighbour(a=pending, b=pending))

    assert list(processed.left_out) == ["a", "b"]
    assert list(processed.events) == []


async def test_nobody_waits_for_a_slow_neighbour(journal: TwinJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanism, "IN_COMPANY", QUICK)

    async with asyncio.timeout(HANGS_AFTER):
        processed = await ask_all(journal, received("a", "slow", "b"), Neighbour(slow=silence))

    assert subjects(processed.events) == ["a", "b"]
    assert list(processed.left_out) == ["slow"]


async def test_silence_is_an_outage(journal: TwinJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanism, "ALONE", QUICK)

    with pytest.raises(Outage, match="no answer within"):
        await ask_all(journal, received("slow"), Neighbour(slow=silence))


async def test_an_event_that_is_alone_may_take_longer_than_one_in_company(journal: TwinJournal) -> None:
    neighbour = Neighbour()

    await ask_all(journal, received("alone"), neighbour)
    await ask_all(journal, received("a", "b"), neighbour)

    assert dict(neighbour.asked) == {"alone": mechanism.ALONE, "a": mechanism.IN_COMPANY, "b": mechanism.IN_COMPANY}
    assert mechanism.IN_COMPANY < mechanism.ALONE


async def test_calls_go_side_by_side_but_only_so_many(journal: TwinJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanism, "CALLS_AT_ONCE", 3)
    under_way, most = 0, 0

    async def answer() -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return 1

    names = [f"order{number}" for number in range(10)]
    processed = await ask_all(journal, received(*names), Neighbour(**dict.fromkeys(names, answer)))

    assert subjects(processed.events) == names
    assert most == 3


async def test_waiting_for_a_turn_is_not_silence(journal: TwinJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that stands still but for what each answer takes."""
    monkeypatch.setattr(mechanism, "CALLS_AT_ONCE", 1)
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)

    async def answer() -> int:
        nonlocal now
        now += 0.9 * mechanism.IN_COMPANY
        for _ in range(10):  # whatever is due by now comes first
            await asyncio.sleep(0)
        return 1

    names = ["a", "b", "c", "d"]
    processed = await ask_all(journal, received(*names), Neighbour(**dict.fromkeys(names, answer)))

    assert subjects(processed.events) == names


async def test_what_is_done_is_not_asked_again(journal: TwinJournal) -> None:
    await ask_all(journal, received("a"), Neighbour(a=10))
    neighbour = Neighbour(a=99, b=20)

    processed = await ask_all(journal, received("a", "b"), neighbour)

    assert [subject for subject, _ in neighbour.asked] == ["b"]
    assert [event.data["total"] for event in processed.events] == [10, 20], "the first answer stays"


async def test_an_unexpected_failure_of_a_call_is_that_events_alone(journal: TwinJournal) -> None:
    processed = await ask_all(journal, received("a", "bad"), Neighbour(bad=ZeroDivisionError("a bug")))
    assert processed.left_out == ["bad"]

    with pytest.raises(ZeroDivisionError):
        await ask_all(journal, received("bad"), Neighbour(bad=ZeroDivisionError("a bug")))


async def test_what_asks_to_be_left_alone_is_brought_again_no_sooner(journal: TwinJournal) -> None:
    busy, busier = Outage("429", retry_after=7), Outage("429", retry_after=60)

    processed = await ask_all(journal, received("a", "b", "c"), Neighbour(a=busy, b=busier))
    assert (subjects(processed.events), processed.left_out, processed.pause) == (["c"], ["a", "b"], 60)

    with pytest.raises(Outage) as told:
        await ask_all(journal, received("a", "b"), Neighbour(a=busy, b=busier))
    assert told.value.retry_after == 60


async def test_the_journal_is_told_at_which_attempt(journal: TwinJournal) -> None:
    env = ActivityEnvironment()
    env.info = dataclasses.replace(env.info, attempt=5)

    await env.run(consume, journal, received("a"), OrderReceived, decide)
    await consume(journal, received("b"), OrderReceived, decide)
    await env.run(consume, journal, received("c").model_copy(update={"tried": 2}), OrderReceived, decide)

    assert journal.attempts == [5, 1, 7]


async def test_what_is_left_out_knows_how_often_it_was_tried(journal: TwinJournal) -> None:
    given = received("a", "b").model_copy(update={"tried": 2})
    assert (await ask_all(journal, given, Neighbour(a=Outage("429")))).tried == 3
    assert (await ask_all(journal, given, Neighbour(a=NotYet("pending")))).tried == 2


async def test_a_link_that_works_on_each_event_makes_one_of_each(journal: TwinJournal) -> None:
    (first,) = received("a").events
    second = first.model_copy(update={"id": "a.again"})

    def each(*events: AnyEvent) -> Batch:
        return batch(LINK, events).model_copy(update={"each": True})

    made = [await ask_all(journal, each(event), Neighbour(a=nth)) for nth, event in enumerate((first, second, first))]

    assert [event.id for processed in made for event in processed.events] == [
        "a.test.a.intake",
        "a.test.a.again",
        "a.test.a.intake",
    ]
    assert [event.data["total"] for processed in made for event in processed.events] == [0, 1, 0]
