"""How the parts are: asked again and again, said whenever that has changed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum

EVERY = 5.0
"""Seconds between two looks while nothing happens."""

SOON = 0.25
"""Seconds between two looks while something comes up."""

ANSWERS_WITHIN = 3.0
"""Seconds that a part has to answer."""

Ask = Callable[[], Awaitable[bool]]


class State(StrEnum):
    """`RESTARTING`: as `STARTING`, after a death. `NOT_READY`: it runs and no longer says that it is ready."""

    STARTING = "starting"
    READY = "ready"
    NOT_READY = "not ready"
    RESTARTING = "restarting"
    DOWN = "down"


COMING = {State.STARTING, State.RESTARTING}


class Health:
    """`asks` has the name of each part that there will be; `changed` is called when a state is another."""

    def __init__(self, asks: Mapping[str, Ask], changed: Callable[[], None]) -> None:
        self._asks = asks
        self._changed = changed
        self._pids: dict[str, int] = {}
        self._alive: Callable[[], Mapping[str, int]] = dict
        self._wake = asyncio.Event()
        self.states: dict[str, State] = {}

    def born(self, pids: Mapping[str, int]) -> None:
        """These run now; those that are new are asked soon."""
        new = {name: pid for name, pid in pids.items() if self._pids.get(name) != pid}
        for name in new:
            self.states[name] = State.RESTARTING if name in self._pids else State.STARTING
        self._pids = dict(pids)
        self._wake.set()
        if new:
            self._changed()

    async def watch(self, alive: Callable[[], Mapping[str, int]]) -> None:
        """Without end. `alive` gives the pids of the parts whose process lives."""
        self._alive = alive
        while True:
            await self.look()
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(SOON if COMING & set(self.states.values()) else EVERY):
                    await self._wake.wait()

    async def look(self) -> None:
        pids = dict(self._pids)
        answers = await asyncio.gather(*(self._answers(name) for name in pids))
        before = dict(self.states)
        alive = self._alive()
        for (name, pid), answered in zip(pids.items(), answers, strict=True):
            if self._pids[name] == pid:  # else it was another process that has answered, or has not
                self.states[name] = self._state(name, alive=name in alive, answered=answered)
        if self.states != before:
            self._changed()

    def _state(self, name: str, *, alive: bool, answered: bool) -> State:
        if not alive:
            return State.DOWN
        if answered:
            return State.READY
        return self.states[name] if self.states[name] in COMING else State.NOT_READY

    async def _answers(self, name: str) -> bool:
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                return await self._asks[name]()
        except Exception:  # noqa: BLE001, whatever it is, it is no answer
            return False
