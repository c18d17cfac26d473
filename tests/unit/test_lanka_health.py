"""What `lanka up` says of its parts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lanka.supervision import NeverReadyError, Part, Supervision, _Life


class Process:
    """Lives until it is told to die; that it is dead is seen before it is started again."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.buried = asyncio.Event()

    async def wait(self) -> int:
        await self.buried.wait()
        return self.returncode or 0


class Machine:
    """Two parts that answer or not, and what was told of them."""

    def __init__(self) -> None:
        self.answers = {"api": False, "worker": False}
        self.told: list[str] = []
        self.supervision = Supervision(lambda _name, _line: None, self._tell)

    def part(self, name: str) -> Part:
        return Part(name, [], {}, Path(), ready=self._of(name))

    def _of(self, name: str) -> Callable[[], Awaitable[bool]]:
        async def ask() -> bool:
            if not self.answers[name]:
                raise ConnectionError
            return True

        return ask

    def _tell(self) -> None:
        self.told.append(", ".join(f"{name} {state}" for name, state in self.supervision.states.items()))

    async def tells(self, **answers: bool) -> str | None:
        """What a look adds, if anything."""
        self.answers |= answers
        before = len(self.told)
        await self.supervision.look()
        return self.told[-1] if len(self.told) > before else None

    def dies(self, name: str) -> Process:
        (life,) = (life for life in self.supervision._lives if life.part.name == name)
        process: Any = life.process
        process.returncode = -9
        return process  # type: ignore[no-any-return]


@pytest.fixture
async def machine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    pids = count(1)

    async def spawned(_: _Life) -> Any:
        return Process(next(pids))

    monkeypatch.setattr(_Life, "_spawn", spawned)
    machine = Machine()
    machine.supervision.start(machine.part("api"), machine.part("worker"))
    await asyncio.sleep(0)
    yield machine
    for life in machine.supervision._lives:
        life.living.cancel()


async def test_a_part_starts_until_it_answers_and_only_changes_are_told(machine: Machine) -> None:
    assert machine.told[-1] == "api starting, worker starting"
    assert await machine.tells() is None
    assert await machine.tells(api=True) == "api ready, worker starting"
    assert await machine.tells(worker=True) == "api ready, worker ready"
    assert await machine.tells() is None


async def test_a_part_that_runs_and_answers_no_more_is_not_ready(machine: Machine) -> None:
    await machine.tells(api=True, worker=True)
    assert await machine.tells(worker=False) == "api ready, worker not ready"
    assert await machine.tells(worker=True) == "api ready, worker ready"


async def test_a_part_that_dies_is_down_and_then_restarts(machine: Machine) -> None:
    await machine.tells(api=True, worker=True)
    dead = machine.dies("worker")
    assert await machine.tells(worker=False) == "api ready, worker down"
    dead.buried.set()
    await asyncio.sleep(0.01)
    assert machine.told[-1] == "api ready, worker restarting"
    assert machine.supervision.pids == {"api": 1, "worker": 3}
    assert await machine.tells() is None
    assert await machine.tells(worker=True) == "api ready, worker ready"


async def test_an_answer_of_the_process_before_is_not_that_of_the_new_one(machine: Machine) -> None:
    await machine.tells(api=True, worker=True)
    (worker,) = (life for life in machine.supervision._lives if life.part.name == "worker")

    async def the_old_one_answers_and_dies() -> bool:
        machine.dies("worker").buried.set()
        await asyncio.sleep(0.01)
        return True

    worker.part = replace(worker.part, ready=the_old_one_answers_and_dies)
    assert await machine.tells() == "api ready, worker restarting"


async def test_a_part_that_dies_again_and_again_before_it_was_ready_is_given_up(machine: Machine) -> None:
    (worker,) = (life for life in machine.supervision._lives if life.part.name == "worker")
    worker._hear("no such database")
    worker.deaths = 2
    await machine.tells(api=True)
    waiting = asyncio.create_task(machine.supervision.are_ready(60))
    machine.dies("worker").buried.set()
    with pytest.raises(NeverReadyError, match=r"worker died 3 times \(killed by signal 9\); it said last:\n  no such"):
        await waiting


async def test_a_part_that_was_ready_once_may_die_as_often_as_it_likes(machine: Machine) -> None:
    machine.answers |= {"api": True, "worker": True}
    await machine.supervision.are_ready(60)
    for life in machine.supervision._lives:
        life.deaths = 99
    machine.answers["worker"] = False
    with pytest.raises(NeverReadyError, match="worker is not ready after 0 s; it said nothing"):
        await machine.supervision.are_ready(0)


async def test_a_part_that_does_not_come_up_is_quoted(machine: Machine) -> None:
    (api,) = (life for life in machine.supervision._lives if life.part.name == "api")
    for line in ("one", "waiting for a thing that never comes", ""):
        api._hear(line)
    with pytest.raises(NeverReadyError) as failed:
        await machine.supervision.are_ready(0)
    assert str(failed.value) == "api is not ready after 0 s; it said last:\n  waiting for a thing that never comes"
