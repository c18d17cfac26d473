"""The support chain's store and consumers on real PostgreSQL: who is connected to whom, and who waits."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from chain.batch import Processed
from chain.event import AnyEvent
from chain.subject import Withdrawn
from store.database import Pool, connected
from store.dispatch import pending_work
from store.intake import Intake, register
from store.journal import record
from support.consumers import AssignOperator
from support.events import StartedCall
from support.store import Operator, Support
from tests.servers import HANGS_AFTER, until
from tests.shop import accept, an_order, batch, fetch, the_journal, untyped
from workflows.chains import TYPES, accepted


@pytest.fixture
async def support(pool: Pool) -> Support:
    async with connected(pool) as connection:
        await register(connection, accepted())
    return Support(pool)


@pytest.fixture
def consumer(pool: Pool, support: Support) -> AssignOperator:
    return AssignOperator(the_journal(pool), support)


def operator(name: str, languages: str = "uk", skills: str = "orders", *, available: bool = True) -> Operator:
    return Operator(
        operator_id=name, name=name.title(), languages=languages.split(), skills=skills.split(), available=available
    )


def started(call: str, language: str = "uk", skill: str = "orders", customer: str = "cus_1") -> AnyEvent:
    data = {"customer_id": customer, "language": language, "skill": skill}
    return event("SupportCallStarted", call, data)


def ended(call: str) -> AnyEvent:
    return event("SupportCallEnded", call, {})


def event(kind: str, call: str, data: dict[str, Any]) -> AnyEvent:
    return AnyEvent(
        source="/pbx", id=f"{call}.{kind}", type=f"lanka.{kind}", subject=call, time=datetime.now(UTC), data=data
    )


async def call_in(pool: Pool, *events: AnyEvent) -> list[AnyEvent]:
    """The telephone system tells of calls; they are yet to be assigned."""
    await Intake(pool).publish(events)
    return list(events)


async def assign(consumer: AssignOperator, events: Sequence[AnyEvent]) -> Processed:
    return await consumer.assign_operator(batch("assign", events))


async def hang_up(pool: Pool, consumer: AssignOperator, *calls: str) -> None:
    await consumer.free_operator(batch("free", await call_in(pool, *map(ended, calls))))


async def connected_to(pool: Pool) -> dict[str, str]:
    """Who talks to whom."""
    rows = await fetch(
        pool, "SELECT call_id, operator_id FROM calls WHERE operator_id IS NOT NULL AND ended_at IS NULL"
    )
    return {row["call_id"]: row["operator_id"] for row in rows}


async def woken(pool: Pool) -> list[str]:
    """The calls whose workflows were told to look again, oldest first."""
    return [
        row["subject"] for row in await fetch(pool, "SELECT subject FROM messages WHERE id IS NULL ORDER BY position")
    ]


def outcomes(processed: Processed) -> dict[str, str]:
    return {e.subject: e.data.get("operator_id", e.type.removeprefix("lanka.")) for e in processed.events}


# ---- who can help ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("languages", "skills", "outcome"),
    [
        ("uk", "orders", "ann"),
        ("en uk", "returns orders", "ann"),
        ("en", "orders", "CallerWaiting"),
        ("uk", "returns", "CallerWaiting"),
    ],
)
async def test_an_operator_helps_who_speaks_the_language_and_has_the_skill(
    pool: Pool, support: Support, consumer: AssignOperator, languages: str, skills: str, outcome: str
) -> None:
    await support.put(operator("ann", languages, skills))
    processed = await assign(consumer, await call_in(pool, started("call_1")))
    assert outcomes(processed) == {"call_1": outcome}


async def test_language_and_skill_are_of_one_operator(pool: Pool, support: Support, consumer: AssignOperator) -> None:
    await support.put(operator("ann", "uk", "returns"))
    await support.put(operator("bob", "en", "orders"))
    processed = await assign(consumer, await call_in(pool, started("call_1")))
    assert outcomes(processed) == {"call_1": "CallerWaiting"}


async def test_the_least_busy_operator_comes_first(pool: Pool, support: Support, consumer: AssignOperator) -> None:
    for name in ("ann", "bob"):
        await support.put(operator(name))
    helped: list[str] = []
    for nth in range(4):
        helped += outcomes(await assign(consumer, await call_in(pool, started(f"call_{nth}")))).values()
        await hang_up(pool, consumer, f"call_{nth}")
    assert helped == ["ann", "bob", "ann", "bob"]


async def test_the_oldest_caller_comes_first_across_batches(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    calls = [f"call_{nth}" for nth in (5, 3, 4, 1, 2, 0)]
    events = await call_in(pool, *map(started, calls))
    await assign(consumer, events[3:])
    await assign(consumer, events[:3])

    for nth in range(3):
        await support.put(operator(f"op_{nth}"))

    assert list(await connected_to(pool)) == calls[:3]
    assert await woken(pool) == calls[:3]


async def test_a_younger_caller_whom_somebody_can_help_does_not_wait_for_an_older(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann", "uk"))
    processed = await assign(consumer, await call_in(pool, started("old", "en"), started("young", "uk")))
    assert outcomes(processed) == {"old": "CallerWaiting", "young": "ann"}


# ---- one call at a time ------------------------------------------------------------------------------------------


async def test_an_operator_has_one_call_at_a_time(pool: Pool, support: Support, consumer: AssignOperator) -> None:
    await support.put(operator("ann"))
    processed = await assign(consumer, await call_in(pool, *map(started, ("call_1", "call_2"))))
    assert outcomes(processed) == {"call_1": "ann", "call_2": "CallerWaiting"}


async def test_the_database_itself_gives_no_operator_a_second_call(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann"))
    await assign(consumer, await call_in(pool, *map(started, ("call_1", "call_2"))))
    with pytest.raises(asyncpg.UniqueViolationError, match="one_call_for_one_operator"):
        await fetch(pool, "UPDATE calls SET operator_id = 'ann', assigned_at = now() WHERE call_id = 'call_2'")


async def test_an_operator_who_goes_away_keeps_the_call_and_gets_no_other(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann"))
    await assign(consumer, await call_in(pool, *map(started, ("call_1", "call_2"))))

    await support.put(operator("ann", available=False))
    assert await connected_to(pool) == {"call_1": "ann"}
    await hang_up(pool, consumer, "call_1")
    assert await connected_to(pool) == {}

    await support.put(operator("ann"))
    assert await connected_to(pool) == {"call_2": "ann"}


# ---- those who wait ----------------------------------------------------------------------------------------------


async def wait_for_somebody(pool: Pool, consumer: AssignOperator, *calls: str) -> list[AnyEvent]:
    """Their CallerWaiting."""
    processed = await assign(consumer, await call_in(pool, *map(started, calls)))
    assert {e.type for e in processed.events} == {"lanka.CallerWaiting"}
    return list(processed.events)


async def test_who_waits_is_left_out_until_somebody_is_free(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    waiting = await wait_for_somebody(pool, consumer, "call_1", "call_2")
    assert (await consumer.assign_waiting(batch("waiting", waiting))).left_out == ["call_1", "call_2"]

    await support.put(operator("ann"))

    processed = await consumer.assign_waiting(batch("waiting", waiting))
    assert (outcomes(processed), processed.left_out) == ({"call_1": "ann"}, ["call_2"])


async def test_whoever_frees_an_operator_rings_for_the_next_caller(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann"))
    await assign(consumer, await call_in(pool, *map(started, ("call_1", "call_2"))))
    assert await woken(pool) == []

    await hang_up(pool, consumer, "call_1")

    assert await connected_to(pool) == {"call_2": "ann"}
    assert set(await woken(pool)) == {"call_1", "call_2"}


async def test_who_hangs_up_while_waiting_is_done_and_not_assigned_later(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    waiting = await wait_for_somebody(pool, consumer, "call_1")
    await hang_up(pool, consumer, "call_1")
    await support.put(operator("ann"))

    assert await connected_to(pool) == {}
    assert await consumer.assign_waiting(batch("waiting", waiting)) == Processed(events=[])


async def test_who_has_hung_up_gets_no_operator_before_the_end_is_processed(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await wait_for_somebody(pool, consumer, "call_1", "call_2")
    await call_in(pool, ended("call_1"))
    await support.put(operator("ann"))
    assert await connected_to(pool) == {"call_2": "ann"}


# ---- out of order, again and again -------------------------------------------------------------------------------


async def test_a_call_whose_end_comes_first_is_never_assigned(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann"))
    await hang_up(pool, consumer, "call_1")
    assert await assign(consumer, await call_in(pool, started("call_1"))) == Processed(events=[])
    assert await connected_to(pool) == {}

    processed = await assign(consumer, await call_in(pool, started("call_2")))
    assert outcomes(processed) == {"call_2": "ann"}


async def test_an_end_told_twice_frees_the_operator_once(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann"))
    await assign(consumer, await call_in(pool, *map(started, ("call_1", "call_2"))))
    end = await call_in(pool, ended("call_1"))
    again = await call_in(pool, ended("call_1").model_copy(update={"id": "another"}))

    for events in (end, again, end):
        await consumer.free_operator(batch("free", events))

    assert await connected_to(pool) == {"call_2": "ann"}


async def test_the_end_of_a_call_nobody_knows_is_harmless(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann"))
    await assign(consumer, await call_in(pool, started("call_1")))
    await hang_up(pool, consumer, "nobody")
    assert await connected_to(pool) == {"call_1": "ann"}


async def test_a_batch_brought_again_changes_nothing(pool: Pool, support: Support, consumer: AssignOperator) -> None:
    await support.put(operator("ann"))
    events = await call_in(pool, *map(started, ("call_1", "call_2")))
    first = await assign(consumer, events)
    await hang_up(pool, consumer, "call_1")

    assert await assign(consumer, events) == first
    assert await connected_to(pool) == {"call_2": "ann"}
    told = Counter(row["type"] for row in await fetch(pool, "SELECT type FROM journal"))
    assert (told["lanka.OperatorAssigned"], told["lanka.CallerWaiting"]) == (1, 1)


async def test_calls_of_an_operator_do_not_overlap_whenever_their_transactions_began(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann"))
    await assign(consumer, await call_in(pool, started("call_1")))
    await call_in(pool, started("call_2"))
    call_2 = {"call_2": StartedCall(customer_id="cus_1", language="uk", skill="orders")}
    async with connected(pool) as late, late.transaction():
        await late.execute("SELECT pg_advisory_xact_lock(6012028)")
        assigning = asyncio.create_task(support.assign(call_2))
        waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await until(lambda: late.fetch(waits), HANGS_AFTER, "a transaction that has begun")
        await record(late, [ended("call_1")], TYPES)
        await support.end(late, ["call_1"])
    await assigning
    assert await overlaps(pool) == []


async def overlaps(pool: Pool) -> list[dict[str, Any]]:
    return await fetch(
        pool,
        """
        SELECT a.call_id, b.call_id AS other FROM calls AS a JOIN calls AS b
            ON a.operator_id = b.operator_id AND a.call_id <> b.call_id AND a.assigned_at <= b.assigned_at
        WHERE a.ended_at IS NULL OR a.ended_at > b.assigned_at
        """,
    )


async def test_many_at_once_bring_everything_twice_and_all_is_done_once(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    chance = random.Random(1)
    for nth in range(4):
        await support.put(operator(f"op_{nth}", chance.choice(["uk", "en", "uk en"]), "orders"))
    await support.put(operator("op_all", "uk en"))
    calls = [f"call_{nth}" for nth in range(60)]
    events = await call_in(pool, *(started(call, chance.choice(["uk", "en"])) for call in calls))
    ends = {call: ended(call) for call in calls}

    def some(of: Sequence[Any]) -> list[Any]:
        return chance.sample(of, 10)

    async def bring() -> None:
        for _ in range(6):
            await assign(consumer, some(events))
            talking = list(await connected_to(pool))
            await Intake(pool).publish([ends[call] for call in sorted(talking)])
            await consumer.free_operator(batch("free", [ends[call] for call in chance.sample(talking, len(talking))]))

    async with asyncio.timeout(HANGS_AFTER):
        await asyncio.gather(*(bring() for _ in range(20)))
        await assign(consumer, events)
        while talking := list(await connected_to(pool)):
            await hang_up(pool, consumer, *talking)

    assert await overlaps(pool) == []
    (row,) = await fetch(pool, "SELECT count(*) AS n FROM calls WHERE operator_id IS NOT NULL AND ended_at IS NOT NULL")
    assert row["n"] == len(calls)


# ---- the caller's order ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [("OrderParked", "parked", "zero_division_error"), ("OrderRejected", "rejected", "out_of_stock")],
)
async def test_a_caller_with_an_order_in_trouble_brings_it_along(
    pool: Pool, support: Support, consumer: AssignOperator, kind: str, status: str, reason: str
) -> None:
    await support.put(operator("ann"))
    order = an_order(customer_id="cus_7", cup=1)
    await accept(pool, order, an_order(customer_id="cus_7", cup=1), an_order(customer_id="cus_8", cup=1))
    trouble = event(kind, order.order_id, {"reason": reason}).model_copy(update={"source": "/lanka/test"})
    async with connected(pool) as connection:
        await record(connection, [trouble], TYPES)

    (assigned,) = (await assign(consumer, await call_in(pool, started("call_1", customer="cus_7")))).events

    assert assigned.data == {
        "operator_id": "ann",
        "order": f"/orders/{order.order_id}",
        "order_status": status,
        "order_reason": reason,
    }


async def test_a_caller_whose_orders_are_well_brings_none(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann"))
    order = an_order(customer_id="cus_7", cup=1)
    await accept(pool, order)
    confirmed = event("OrderConfirmed", order.order_id, {}).model_copy(update={"source": "/lanka/test"})
    async with connected(pool) as connection:
        await record(connection, [confirmed], TYPES)

    (assigned,) = (await assign(consumer, await call_in(pool, started("call_1", customer="cus_7")))).events

    assert assigned.data["order"] is None


async def test_who_was_taken_back_gets_no_operator(pool: Pool, support: Support, consumer: AssignOperator) -> None:
    given_up, waits = await call_in(pool, started("call_1"), started("call_2"))
    await consumer.assign_operator(batch("assign", [given_up, waits]))
    data = {"reason": "cancelled_by_customer", "detail": "", "by": "ann"}
    await the_journal(pool).append([untyped(Withdrawn.made_by("withdrawal", "call_1", datetime.now(UTC), data))])

    await support.put(operator("ann"))
    assert [each.busy for each in await support.operators()] == ["call_2"]


async def test_a_call_that_nobody_can_read_is_left_out_and_in_nobodys_way(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann"))
    readable, broken = await call_in(pool, started("call_1"), started("call_2"))
    broken = broken.model_copy(update={"data": {"language": 1}})

    processed = await consumer.assign_operator(batch("assign", [readable, broken]))
    assert [each.subject for each in processed.events] == ["call_1"]
    assert processed.left_out == ["call_2"]


async def test_callers_who_talk_do_not_hold_up_who_comes_next(
    pool: Pool, support: Support, consumer: AssignOperator
) -> None:
    await support.put(operator("ann"))
    (call,) = await call_in(pool, started("call_1"))
    await fetch(pool, _TAKEN)
    assert await on_the_way(pool) == ["call_1"]
    await consumer.assign_operator(batch("assign", [call]))
    assert await on_the_way(pool) == []


_TAKEN = """
    UPDATE subjects SET workflow_id = subject, version = 1, taken_at = now(), dispatched_at = now()
"""


async def on_the_way(pool: Pool) -> Sequence[str]:
    async with connected(pool) as connection:
        pending = await pending_work(connection, chains=["orders"], size=1, stuck_after=timedelta(minutes=1))
        return pending.on_the_way
