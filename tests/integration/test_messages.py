"""Messages between a real PostgreSQL and a real Temporal server: what follows the first event of a subject.

The worker runs in this process, on the real store.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import Worker

from activities.failures import Failures
from activities.note_events import NoteEvents
from chain.event import AnyEvent
from dispatch import message_delivery
from dispatch.dispatcher import Wakeup
from store.database import Pool, connected, transaction
from store.intake import Intake, mark_delivered, register, wake
from support import SupportCall
from support.consumers import AssignOperator
from support.store import Operator, Support
from tests.servers import HANGS_AFTER, until
from tests.shop import fetch, running_dispatcher, the_journal
from workflows.chains import CHAINS, accepted


@pytest.fixture
async def intake(pool: Pool) -> Intake:
    async with connected(pool) as connection:
        await register(connection, accepted())
    return Intake(pool)


@pytest.fixture
def call(request: pytest.FixtureRequest) -> str:
    """The name of a call that no other test uses: the Temporal server is shared."""
    return str(request.node.name).replace("[", "-").replace("]", "")[5:60]


@asynccontextmanager
async def working(client: Client, pool: Pool) -> AsyncIterator[None]:
    journal = the_journal(pool)
    assign = AssignOperator(journal, Support(pool))
    queues: dict[str, tuple[Sequence[type[Any]], Sequence[Any]]] = {
        CHAINS["support"].queue: ([SupportCall], []),
        "support": (
            [],
            [assign.assign_operator, assign.assign_waiting, assign.free_operator, NoteEvents(journal).note_events],
        ),
    }
    async with AsyncExitStack() as at_work:
        for name, (workflows, activities) in queues.items():
            await at_work.enter_async_context(
                Worker(client, task_queue=name, workflows=workflows, activities=activities, interceptors=[Failures()])
            )
        yield


def event(kind: str, call: str, **attributes: Any) -> AnyEvent:
    given = {
        "source": "/pbx",
        "id": f"{call}.{kind}",
        "type": f"lanka.{kind}",
        "subject": call,
        "time": datetime.now(UTC),
        "data": {"customer_id": "cus_1", "language": "uk", "skill": "orders"} if kind == "SupportCallStarted" else {},
    }
    return AnyEvent.model_validate(given | attributes)


def ann(*, available: bool = True) -> Operator:
    return Operator(operator_id="ann", name="Ann", languages=["uk"], skills=["orders"], available=available)


async def told(pool: Pool, call: str, kind: str) -> bool:
    return bool(await fetch(pool, "SELECT 1 FROM journal WHERE subject = $1 AND type = $2", call, f"lanka.{kind}"))


async def journal_of(pool: Pool, call: str) -> list[str]:
    return [each.type.removeprefix("lanka.") for each in await the_journal(pool).of(call)]


async def all_delivered(pool: Pool) -> bool:
    return not await fetch(pool, "SELECT 1 FROM messages WHERE delivered_at IS NULL")


async def waiting(pool: Pool) -> set[str]:
    return {row["subject"] for row in await fetch(pool, "SELECT subject FROM messages WHERE delivered_at IS NULL")}


async def is_free(pool: Pool) -> bool:
    return not await fetch(pool, "SELECT 1 FROM calls WHERE ended_at IS NULL")


async def runs(client: Client, call: str) -> list[Any]:
    """The runs of the call's workflow that have completed."""
    query = f"WorkflowId = 'call-{call}' AND ExecutionStatus = 'Completed'"
    return [each async for each in client.list_workflows(query)]


async def signals(client: Client, call: str) -> list[str]:
    """The names of the signals that the last run got."""
    history = await client.get_workflow_handle(f"call-{call}").fetch_history()
    return [
        each.workflow_execution_signaled_event_attributes.signal_name
        for each in history.events
        if each.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    ]


async def test_a_message_reaches_the_workflow_while_it_runs(
    pool: Pool, client: Client, intake: Intake, call: str
) -> None:
    async with running_dispatcher(pool, Wakeup(pool)), working(client, pool):
        await intake.publish([event("SupportCallStarted", call)])
        await until(lambda: told(pool, call, "CallerWaiting"), HANGS_AFTER, "the caller to wait")

        await intake.publish([event("SupportCallEnded", call)])
        await until(lambda: runs(client, call), HANGS_AFTER, "the end of the workflow")

    assert len(await runs(client, call)) == 1
    assert await journal_of(pool, call) == ["SupportCallStarted", "CallerWaiting", "SupportCallEnded"]
    assert await is_free(pool)


async def test_a_message_after_the_end_of_the_workflow_starts_another_run(
    pool: Pool, client: Client, intake: Intake, call: str
) -> None:
    await Support(pool).put(ann())
    async with running_dispatcher(pool, Wakeup(pool)), working(client, pool):
        await intake.publish([event("SupportCallStarted", call)])
        await until(lambda: runs(client, call), HANGS_AFTER, "the end of the first run")
        assert not await is_free(pool)
        await fetch(pool, "UPDATE subjects SET version = 7")

        await intake.publish([event("SupportCallEnded", call)])
        await until(lambda: is_free(pool), HANGS_AFTER, "the operator to be free")

    began = (await client.get_workflow_handle(f"call-{call}").fetch_history()).events[0]
    given = began.workflow_execution_started_event_attributes.input.payloads
    assert await client.data_converter.decode(given) == [7], "it goes on with the version that it began with"


@pytest.fixture
def nobody_asks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is asked for again because somebody rings, or the test hangs."""
    monkeypatch.setattr("workflows.router._pause", lambda *_: timedelta(days=1))


async def test_whoever_waits_is_assigned_at_once_when_somebody_comes(
    pool: Pool, client: Client, intake: Intake, call: str, nobody_asks_by_itself: None
) -> None:
    async with running_dispatcher(pool, Wakeup(pool)), working(client, pool):
        await Support(pool).put(ann(available=False))
        await intake.publish([event("SupportCallStarted", call), event("SupportCallStarted", f"{call}.2")])
        await until(lambda: told(pool, f"{call}.2", "CallerWaiting"), HANGS_AFTER, "the callers to wait")

        await Support(pool).put(ann())
        await until(lambda: told(pool, call, "OperatorAssigned"), HANGS_AFTER, "the first")
        await intake.publish([event("SupportCallEnded", call)])
        await until(lambda: told(pool, f"{call}.2", "OperatorAssigned"), HANGS_AFTER, "the second")


async def test_a_message_waits_for_the_dispatch_of_its_subject_and_holds_nobody_up(
    pool: Pool, client: Client, intake: Intake, call: str
) -> None:
    await intake.publish([event("SupportCallEnded", call), event("SupportCallEnded", f"{call}.nobody")])
    async with running_dispatcher(pool, Wakeup(pool)), working(client, pool):
        await intake.publish([event("SupportCallStarted", f"{call}.2"), event("SupportCallEnded", f"{call}.2")])
        await until(lambda: runs(client, f"{call}.2"), HANGS_AFTER, "another call")
        assert {call, f"{call}.nobody"} <= await waiting(pool)

        await Support(pool).put(ann())
        await intake.publish([event("SupportCallStarted", call)])
        await until(lambda: runs(client, call), HANGS_AFTER, "the call whose end came first")

    assert "OperatorAssigned" not in await journal_of(pool, call)
    (row,) = await fetch(pool, "SELECT status, ended_at FROM subjects WHERE subject = $1", call)
    assert row["status"] == "ended"
    assert row["ended_at"]


async def test_a_message_whose_sender_died_is_repeated_and_nothing_is_done_twice(
    pool: Pool, client: Client, intake: Intake, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = 0

    async def dies_once(*given: Any) -> None:
        nonlocal deaths
        deaths += 1
        if deaths == 1:
            raise ConnectionResetError("between the signal and the mark")
        await mark_delivered(*given)

    monkeypatch.setattr(message_delivery, "mark_delivered", dies_once)
    async with running_dispatcher(pool, Wakeup(pool)):
        await intake.publish([event("SupportCallStarted", call), event("SupportCallEnded", call)])
        await until(lambda: all_delivered(pool), HANGS_AFTER, "the second delivery")
        assert await signals(client, call) == ["received"] * 3
        async with working(client, pool):
            await until(lambda: runs(client, call), HANGS_AFTER, "the end of the workflow")

    history = await client.get_workflow_handle(f"call-{call}").fetch_history()
    asked = [
        each.activity_task_scheduled_event_attributes.activity_type.name
        for each in history.events
        if each.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    assert asked.count("free_operator") == 1
    assert len(await runs(client, call)) == 1


async def test_events_of_one_id_from_two_sources_are_two(
    pool: Pool, client: Client, intake: Intake, call: str, nobody_asks_by_itself: None
) -> None:
    async with running_dispatcher(pool, Wakeup(pool)), working(client, pool):
        await intake.publish([event("SupportCallStarted", call, id=call)])
        await until(lambda: told(pool, call, "CallerWaiting"), HANGS_AFTER, "the caller to wait")
        await intake.publish([event("SupportCallEnded", call, id=call, source="/other-pbx")])
        await until(lambda: runs(client, call), HANGS_AFTER, "the end of the call")


async def test_news_to_a_workflow_that_has_ended_are_harmless(
    pool: Pool, client: Client, intake: Intake, call: str
) -> None:
    await Support(pool).put(ann())
    async with running_dispatcher(pool, Wakeup(pool)), working(client, pool):
        await intake.publish([event("SupportCallStarted", call)])
        await until(lambda: runs(client, call), HANGS_AFTER, "the end of the workflow")

        async with transaction(pool) as tx:
            await wake(tx, [call])
        await until(lambda: all_delivered(pool), HANGS_AFTER, "the news")

        await intake.publish([event("SupportCallEnded", call)])
        await until(lambda: is_free(pool), HANGS_AFTER, "what comes after them")
