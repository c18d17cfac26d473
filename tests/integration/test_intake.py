"""The intake of events that are no orders, on real PostgreSQL: journal, subjects and messages in one transaction."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from chain.event import AnyEvent
from store.database import Pool, Transaction, connected, transaction
from store.dispatch import ACCEPTED, mark_dispatched, take_oldest
from store.intake import (
    Intake,
    Message,
    NoRouteError,
    OtherChainError,
    ReservedSourceError,
    TwoChainsError,
    mark_delivered,
    register,
    undelivered,
    wake,
)
from store.journal import record
from tests.servers import HANGS_AFTER
from tests.shop import accept, an_order, fetch, the_journal
from workflows.chains import TYPES, accepted


@pytest.fixture
async def intake(pool: Pool) -> Intake:
    async with connected(pool) as connection:
        await register(connection, accepted())
    return Intake(pool)


def event(kind: str, call: str = "call_1", **attributes: Any) -> AnyEvent:
    given = {
        "source": "/pbx",
        "id": f"{call}.{kind}",
        "type": f"lanka.{kind}",
        "subject": call,
        "time": datetime.now(UTC),
        "data": {"customer_id": "cus_1", "language": "uk", "skill": "orders"} if kind == "SupportCallStarted" else {},
    }
    return AnyEvent.model_validate(given | attributes)


STARTED, ENDED = event("SupportCallStarted"), event("SupportCallEnded")


async def subject(pool: Pool, name: str = "call_1") -> tuple[str, bool]:
    """Where it stands, and whether it has ended."""
    (row,) = await fetch(pool, "SELECT status, ended_at FROM subjects WHERE subject = $1", name)
    return row["status"], row["ended_at"] is not None


async def dispatch(pool: Pool) -> list[str]:
    """Takes what waits; returns the types of the events that the workflows begin with."""
    async with connected(pool) as connection:
        taken = await take_oldest(
            connection,
            size=100,
            max_bytes=500_000,
            workflow_id=lambda _, s: f"call-{s[0]}",
            versions={"support": 1},
        )
        if not taken:
            return []
        await mark_dispatched(connection, taken)
        return [each.type for each in taken.events]


@asynccontextmanager
async def rolled_back(pool: Pool) -> AsyncIterator[Transaction]:
    async with connected(pool) as connection:
        doomed = connection.transaction()
        await doomed.start()
        yield connection
        await doomed.rollback()


async def waiting(pool: Pool) -> list[Message]:
    async with connected(pool) as connection:
        return await undelivered(connection, ["support"])


async def deliver(pool: Pool) -> None:
    async with connected(pool) as connection:
        for message in await undelivered(connection, ["support"]):
            await mark_delivered(connection, message)


# ---- what is published -------------------------------------------------------------------------------------------


async def test_an_event_is_journalled_and_begins_its_subject(pool: Pool, intake: Intake) -> None:
    assert await intake.publish([STARTED]) == [True]

    assert await the_journal(pool).of("call_1") == [STARTED]
    assert await fetch(pool, "SELECT subject, chain, status FROM subjects") == [
        {"subject": "call_1", "chain": "support", "status": "received"}
    ]
    assert await fetch(pool, "SELECT 1 FROM messages") == []


async def test_what_follows_is_a_message_and_moves_the_subject(pool: Pool, intake: Intake) -> None:
    await intake.publish([STARTED, ENDED])
    assert await subject(pool) == ("ended", True)
    await dispatch(pool)
    (message,) = await waiting(pool)
    assert (message.chain, message.workflow_id, message.event) == ("support", "call-call_1", ENDED)


async def test_an_event_is_one_by_its_source_and_id(pool: Pool, intake: Intake) -> None:
    other = STARTED.model_copy(update={"source": "/crm", "subject": "call_2"})
    assert await intake.publish([STARTED, STARTED, other]) == [True, False, True]
    assert await intake.publish([STARTED, ENDED, other, ENDED]) == [False, True, False, False]
    assert len(await fetch(pool, "SELECT 1 FROM journal")) == 3
    assert len(await fetch(pool, "SELECT 1 FROM messages")) == 1


@pytest.mark.parametrize(
    ("refused", "refusal"),
    [
        (event("OrderReceived"), NoRouteError),
        (event("Unheard"), NoRouteError),
        (event("SupportCallStarted", source="/lanka/assign"), ReservedSourceError),
    ],
)
async def test_what_no_chain_takes_is_refused_with_all_that_came_with_it(
    pool: Pool, intake: Intake, refused: AnyEvent, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        await intake.publish([STARTED, refused])
    assert await fetch(pool, "SELECT 1 FROM journal") == []
    assert await fetch(pool, "SELECT 1 FROM subjects") == []


@pytest.mark.parametrize("kind", ["SupportCallStarted", "SupportCallEnded"])
async def test_an_order_is_not_touched_by_the_events_of_another_chain(pool: Pool, intake: Intake, kind: str) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    with pytest.raises(OtherChainError):
        await intake.publish([event(kind, order.order_id)])
    assert await subject(pool, order.order_id) == ("received", False)
    assert await fetch(pool, "SELECT 1 FROM messages") == []


async def test_twenty_at_once_publish_it_once(pool: Pool, intake: Intake) -> None:
    events = [event(kind, f"call_{n}") for n in range(20) for kind in ("SupportCallStarted", "SupportCallEnded")]
    published = await asyncio.gather(*(intake.publish(events) for _ in range(20)))
    assert sum(map(sum, published)) == len(events) == len(await fetch(pool, "SELECT 1 FROM journal"))
    assert len(await fetch(pool, "SELECT 1 FROM subjects WHERE ended_at IS NOT NULL")) == 20
    assert len(await fetch(pool, "SELECT 1 FROM messages")) == 20


@pytest.mark.parametrize("calls", [20, 1], ids=["of twenty subjects", "of one subject"])
async def test_the_same_events_in_opposite_orders_at_once_never_deadlock(
    pool: Pool, intake: Intake, calls: int
) -> None:
    events = [event("SupportCallEnded", f"call_{n % calls}", id=f"end_{n}") for n in range(20)]
    forward, backward = await asyncio.gather(intake.publish(events), intake.publish(events[::-1]))
    assert [not each for each in backward[::-1]] == forward
    assert [each.id for each in await the_journal(pool).of("call_0")] == [
        each.id for each in (events if forward[0] else events[::-1]) if each.subject == "call_0"
    ]


async def test_publishing_rings_the_dispatcher_once_it_is_committed(pool: Pool, intake: Intake) -> None:
    rung = asyncio.Event()

    def hear(*_: object) -> None:
        rung.set()

    async with connected(pool) as listening:
        await listening.add_listener(ACCEPTED, hear)
        await intake.publish([STARTED])
        async with asyncio.timeout(HANGS_AFTER):
            await rung.wait()
        await listening.remove_listener(ACCEPTED, hear)


# ---- the application's outbox ------------------------------------------------------------------------------------

OUTBOX = "INSERT INTO event_outbox (source, id, type, subject, data) VALUES ('/app', $1, $2, 'call_1', $3)"


async def test_an_application_publishes_in_the_transaction_of_its_data(pool: Pool, intake: Intake) -> None:
    await fetch(pool, OUTBOX, "1", STARTED.type, STARTED.data)
    (told,) = await the_journal(pool).of("call_1")
    assert (told.source, told.id, told.type, told.data) == ("/app", "1", STARTED.type, STARTED.data)
    assert await dispatch(pool) == [STARTED.type]


async def test_what_an_application_rolls_back_is_never_published(pool: Pool, intake: Intake) -> None:
    async with rolled_back(pool) as tx:
        await tx.execute(OUTBOX, "1", STARTED.type, STARTED.data)
    assert await the_journal(pool).of("call_1") == []
    assert await dispatch(pool) == []


# ---- out of order ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivered_before", ["the beginning", "the dispatch", "nothing else"])
async def test_a_subject_begins_with_its_first_event_and_ends_even_if_that_came_last(
    pool: Pool, intake: Intake, delivered_before: str
) -> None:
    await intake.publish([ENDED])
    if delivered_before == "the beginning":
        await deliver(pool)
    await intake.publish([STARTED])
    if delivered_before == "the dispatch":
        await deliver(pool)

    assert await dispatch(pool) == [STARTED.type]
    assert [message.event for message in await waiting(pool)] == [ENDED]
    await deliver(pool)
    assert await subject(pool) == ("ended", True)
    assert await waiting(pool) == []


async def test_an_end_published_beside_the_beginning_ends_the_subject(pool: Pool, intake: Intake) -> None:
    async with transaction(pool) as tx:  # neither transaction sees the other
        await tx.execute(OUTBOX, "1", STARTED.type, STARTED.data)
        await intake.publish([ENDED])
    assert await subject(pool) == ("received", False)

    await dispatch(pool)
    await deliver(pool)

    assert await subject(pool) == ("ended", True)


async def test_a_beginning_told_again_does_not_take_the_subject_back(pool: Pool, intake: Intake) -> None:
    await intake.publish([STARTED])
    assigned = event("OperatorAssigned", source="/lanka/assign", data={"operator_id": "ann"})
    async with connected(pool) as connection:
        await record(connection, [assigned], TYPES)

    assert await intake.publish([STARTED.model_copy(update={"id": "again"})]) == [True]

    assert await subject(pool) == ("assigned", False)


# ---- messages ----------------------------------------------------------------------------------------------------


async def test_messages_wait_until_their_subject_is_dispatched_and_come_in_order(pool: Pool, intake: Intake) -> None:
    await intake.publish([STARTED, ENDED, event("SupportCallEnded", "call_0")])
    async with transaction(pool) as tx:
        await wake(tx, ["call_1"])
    assert await waiting(pool) == []

    await dispatch(pool)

    first, second = await waiting(pool)
    assert (first.event, second.event) == (ENDED, None)
    async with connected(pool) as connection:
        await mark_delivered(connection, first)
    assert await waiting(pool) == [second]


async def test_a_ring_counts_only_if_it_is_committed(pool: Pool, intake: Intake) -> None:
    async with rolled_back(pool) as tx:
        await wake(tx, ["call_1"])
    assert await fetch(pool, "SELECT 1 FROM messages") == []


# ---- the routes --------------------------------------------------------------------------------------------------


async def test_the_database_learns_the_routes_anew_and_forgets_none(pool: Pool, intake: Intake) -> None:
    started = next(each for each in accepted() if each.starts)
    async with connected(pool) as connection:
        await register(connection, [replace(started, status="ringing"), replace(started, type="shop.Sneezed")])
    await intake.publish([STARTED])
    assert await subject(pool) == ("ringing", False)
    routes = {row["type"] for row in await fetch(pool, "SELECT type FROM routes")}
    assert routes == {each.type for each in accepted()} | {"shop.Sneezed"}


async def test_a_type_that_two_chains_take_is_refused_by_name(pool: Pool, intake: Intake) -> None:
    started = next(each for each in accepted() if each.starts)
    before = await fetch(pool, "SELECT * FROM routes ORDER BY type")
    async with connected(pool) as connection:
        with pytest.raises(TwoChainsError, match=r"support and parcels both accept lanka\.SupportCallStarted"):
            await register(connection, [*accepted(), replace(started, chain="parcels")])
        await register(connection, [*accepted(), started])  # named twice by the same chain
    assert await fetch(pool, "SELECT * FROM routes ORDER BY type") == before


async def test_many_learn_the_routes_at_once(pool: Pool) -> None:
    async def learn() -> None:
        async with connected(pool) as connection:
            await register(connection, accepted())

    await asyncio.gather(*(learn() for _ in range(20)))
    assert len(await fetch(pool, "SELECT 1 FROM routes")) == len(accepted())
