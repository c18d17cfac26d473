"""Many calls and few operators, through a worker that is killed: each caller is helped once, the oldest first."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chain.event import AnyEvent
from dispatch.dispatcher import Wakeup
from store.database import Pool, connected
from store.intake import Intake
from store.journal import CHANNEL
from support.store import Operator, Support
from tests.faults.table import Rows
from tests.servers import HANGS_AFTER, process, temporal_server, until
from tests.shop import fetch, running_dispatcher

OPERATORS = 20
LANGUAGES = ("uk", "en", "pl")
SKILLS = ("orders", "returns", "payments")


class Helped(NamedTuple):
    """One call, as the tables tell of it; `waiting_since` is None for who was assigned at once."""

    call_id: str
    position: int
    workflow_id: str
    language: str
    skill: str
    operator_id: str
    published_at: datetime
    waiting_since: datetime | None
    assigned_at: datetime
    ended_at: datetime


@pytest.mark.timeout(580)
async def test_each_caller_is_helped_once_and_the_oldest_first_through_the_death_of_the_worker(
    pool: Pool, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Rows, whole: bool
) -> None:
    number = 1000 if whole else 100
    chance = random.Random(7)
    operators = {each.operator_id: each for each in some_operators(chance)}
    async with temporal_server(tmp_path) as address:
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        env = {"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": address, "LANKA_WORKER_PORT": "0"}
        async with running_dispatcher(pool, Wakeup(pool)):
            await until(lambda: fetch(pool, "SELECT 1 FROM routes"), HANGS_AFTER, "the routes")
            for each in operators.values():
                await Support(pool).put(each)
            began = datetime.now(UTC)
            await publish(pool, [started(f"call_{nth:04}", chance) for nth in range(number)])
            async with hanging_up(pool) as hung_up:
                async with process(sys.executable, "worker.py", env=env, stop_signal=signal.SIGKILL) as worker:
                    await until(lambda: len(hung_up) >= number / 2, 280, "half of the calls")
                    os.kill(worker.pid, signal.SIGKILL)
                    at_death = len(hung_up)
                async with process(sys.executable, "worker.py", env=env, stop_signal=signal.SIGKILL):
                    await until(lambda: has_ended(pool, number), 280, "the end of all calls")

    calls = await all_helped(pool)
    seconds = (datetime.now(UTC) - began).total_seconds()
    twice, overtaken = overlapping(calls), passed_over(calls, operators)
    waited = max((call.assigned_at - call.published_at).total_seconds() for call in calls)
    row.add(
        f"{OPERATORS} operators, the worker dies",
        accepted=number,
        ended=len(calls),
        waiting=0,
        parked=await parked(pool),
        lost=number - len(calls),
        twice=len(twice),
        oldest_wait=waited,
        largest_displacement=len(overtaken),
    )
    sys.stdout.write(
        f"{number} calls, {OPERATORS} operators: {seconds:.1f} s, killed after {at_death}; "
        f"{sum(call.waiting_since is not None for call in calls)} had to wait, at most {waited:.1f} s\n"
    )
    assert len(calls) == number
    assert twice == []
    assert overtaken == []


def some_operators(chance: random.Random) -> list[Operator]:
    """Mixed, and every caller can be helped by at least one: the first two know everything."""
    return [
        Operator(
            operator_id=f"op_{nth:02}",
            name=f"Operator {nth}",
            languages=chance.sample(LANGUAGES, 3 if nth < 2 else chance.choice([1, 2])),
            skills=chance.sample(SKILLS, 3 if nth < 2 else chance.choice([1, 2])),
            available=True,
        )
        for nth in range(OPERATORS)
    ]


def started(call: str, chance: random.Random) -> AnyEvent:
    data = {"customer_id": "cus_1", "language": chance.choice(LANGUAGES), "skill": chance.choice(SKILLS)}
    return event("SupportCallStarted", call, data)


def event(kind: str, call: str, data: dict[str, Any]) -> AnyEvent:
    return AnyEvent(
        source="/pbx", id=f"{call}.{kind}", type=f"lanka.{kind}", subject=call, time=datetime.now(UTC), data=data
    )


async def publish(pool: Pool, events: Sequence[AnyEvent]) -> None:
    """In bulk."""
    for first in range(0, len(events), 100):
        await Intake(pool).publish(events[first : first + 100])


@asynccontextmanager
async def hanging_up(pool: Pool) -> AsyncIterator[set[str]]:
    """Ends each call as soon as its operator is told; gives the calls that were ended so far."""
    told, hung_up = asyncio.Event(), set[str]()

    def hear(*_: object) -> None:
        told.set()

    async def hang_up() -> None:
        while True:
            told.clear()
            assigned = await fetch(pool, "SELECT subject FROM journal WHERE type = 'lanka.OperatorAssigned'")
            if talking := sorted({each["subject"] for each in assigned} - hung_up):
                await publish(pool, [event("SupportCallEnded", call, {}) for call in talking])
                hung_up.update(talking)
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await told.wait()

    async with connected(pool) as listening, asyncio.TaskGroup() as tasks:
        await listening.add_listener(CHANNEL, hear)
        ending = tasks.create_task(hang_up())
        yield hung_up
        ending.cancel()
        await listening.remove_listener(CHANNEL, hear)


async def has_ended(pool: Pool, number: int) -> bool:
    ended = "SELECT 1 FROM calls JOIN subjects ON subject = call_id WHERE calls.ended_at < now() AND status = 'ended'"
    return len(await fetch(pool, ended)) == number


async def all_helped(pool: Pool) -> list[Helped]:
    rows = await fetch(
        pool,
        """
        SELECT call_id, subjects.position, workflow_id, language, skill, operator_id, received_at AS published_at,
               waiting.time AS waiting_since, assigned_at, calls.ended_at
        FROM calls JOIN subjects ON subjects.subject = call_id
        LEFT JOIN journal AS waiting ON waiting.subject = call_id AND waiting.type = 'lanka.CallerWaiting'
        WHERE operator_id IS NOT NULL AND calls.ended_at IS NOT NULL
          AND 1 = (SELECT count(*) FROM journal WHERE journal.subject = call_id AND type = 'lanka.OperatorAssigned')
        ORDER BY subjects.position
        """,
    )
    return [Helped(**each) for each in rows]


async def parked(pool: Pool) -> int:
    return len(await fetch(pool, "SELECT 1 FROM journal WHERE type = 'lanka.Parked'"))


def overlapping(calls: Sequence[Helped]) -> list[tuple[str, str]]:
    """Two calls of one operator of which one began before the other had ended."""
    in_time = sorted(calls, key=lambda call: (call.operator_id, call.assigned_at))
    return [
        (one.call_id, next_one.call_id)
        for one, next_one in pairwise(in_time)
        if one.operator_id == next_one.operator_id and next_one.assigned_at < one.ended_at
    ]


def passed_over(calls: Sequence[Helped], operators: dict[str, Operator]) -> list[tuple[str, str]]:
    """Who was assigned while an older caller waited whom the same operator could have helped, and that caller.

    A caller waits once CallerWaiting is in the journal, and those of one batch begin to wait together.
    """
    return [
        (call.call_id, older.call_id)
        for nth, call in enumerate(calls)
        for older in calls[:nth]
        if older.assigned_at > call.assigned_at
        and older.language in operators[call.operator_id].languages
        and older.skill in operators[call.operator_id].skills
        and (
            older.workflow_id == call.workflow_id
            or (older.waiting_since is not None and older.waiting_since < call.assigned_at)
        )
    ]
