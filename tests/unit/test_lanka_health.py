"""What `lanka up` says of its parts."""

from collections.abc import Awaitable, Callable

import pytest

from lanka.health import Health


class Machine:
    """Two parts that answer or not, and what was told of them."""

    def __init__(self) -> None:
        self.answers = {"api": False, "worker": False}
        self.alive = {"api": 1, "worker": 2}
        self.told: list[str] = []
        self.health = Health({"api": self._of("api"), "worker": self._of("worker")}, self._tell)
        self.health._alive = lambda: self.alive
        self.health.born(self.alive)

    def _of(self, name: str) -> Callable[[], Awaitable[bool]]:
        async def ask() -> bool:
            if not self.answers[name]:
                raise ConnectionError
            return True

        return ask

    def _tell(self) -> None:
        self.told.append(", ".join(f"{name} {state}" for name, state in self.health.states.items()))

    async def tells(self, **answers: bool) -> str | None:
        """What a look adds, if anything."""
        self.answers |= answers
        before = len(self.told)
        await self.health.look()
        return self.told[-1] if len(self.told) > before else None


@pytest.fixture
def machine() -> Machine:
    return Machine()


async def test_a_part_starts_until_it_answers_and_only_changes_are_told(machine: Machine) -> None:
    assert machine.told == ["api starting, worker starting"]
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
    machine.alive = {"api": 1}
    assert await machine.tells(worker=False) == "api ready, worker down"
    machine.alive = {"api": 1, "worker": 3}
    machine.health.born(machine.alive)
    assert machine.told[-1] == "api ready, worker restarting"
    assert await machine.tells() is None
    assert await machine.tells(worker=True) == "api ready, worker ready"


async def test_an_answer_of_the_process_before_is_not_that_of_the_new_one(machine: Machine) -> None:
    async def the_old_one_answers_and_dies() -> bool:
        machine.health.born({"api": 1, "worker": 3})
        return True

    await machine.tells(api=True, worker=True)
    machine.health._asks = {**machine.health._asks, "worker": the_old_one_answers_and_dies}
    assert await machine.tells() == "api ready, worker restarting"
