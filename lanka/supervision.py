"""Keeps the parts running, by circus: a part that dies is started again, and a line says so."""

import asyncio
import shlex
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any, Self

from circus.arbiter import Arbiter
from tornado.ioloop import IOLoop

TICK = 0.2

QUICK_DEATH = 5.0
LONGEST_PAUSE = 15.0

Say = Callable[[str, str], None]
"""Shows a line of a part: its name, and the line."""


@dataclass(frozen=True)
class Part:
    """One process. `grace` is how many seconds it has after `stop_signal` before it is killed."""

    name: str
    command: list[str]
    env: dict[str, str]
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10
    user: str | None = None


class Supervision:
    """Runs parts until the end of its `async with`. `changed` is called with all pids whenever one is new."""

    def __init__(self, say: Say, changed: Callable[[dict[str, int]], None]) -> None:
        self._lives: dict[str, _Life] = {}
        self._groups: list[tuple[Part, ...]] = []
        self._new: list[Part] = []
        self._wake = asyncio.Event()
        self._ending = False
        self._say = say
        self._changed = changed
        # inproc: nobody else talks to this arbiter. The negative delay turns its own timer off: it refuses
        # to do two things at once (ConflictError), so `_watch` does them one after the other.
        self._arbiter = Arbiter([], "inproc://lanka", "inproc://lanka-events", -1, loop=IOLoop.current())

    async def __aenter__(self) -> Self:
        await self._arbiter.start()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        self._wake.set()
        with suppress(Exception):  # `forever` has told it
            await self._watching
        for group in reversed(self._groups):
            await self._stop({part.name for part in group})
        self._arbiter.stop_controller_and_close_sockets()

    def alive(self) -> dict[str, int]:
        """The pids of the parts whose process lives."""
        return {name: life.pid for name, life in self._lives.items() if life.process and life.pid is not None}

    def start(self, *parts: Part) -> None:
        """What starts together stops together; the last to start are the first to stop."""
        self._groups.append(parts)
        self._new.extend(parts)
        self._wake.set()

    async def forever(self) -> None:
        """Only ends by an exception: ours to be cancelled, or one that nobody expected."""
        await asyncio.shield(self._watching)

    async def _watch(self) -> None:
        while not self._ending:
            self._wake.clear()
            while self._new:
                self._add(self._new.pop(0))
            await self._arbiter.manage_watchers()
            await self._ask_how_they_died()
            await self._arbiter.start_watchers(self._due)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK)

    def _add(self, part: Part) -> None:
        life = self._lives[part.name] = _Life(part.name, self._say, self._spawned)
        command, *args = _tied(part)
        hooks: dict[str, Any] = {
            "before_spawn": (life.before_spawn, False),
            "after_spawn": (life.after_spawn, False),
            "after_reap": (life.after_reap, False),
        }
        self._arbiter.add_watcher(
            part.name,
            shlex.quote(command),
            args=args,
            env=part.env,
            working_dir=str(part.cwd),
            uid=part.user,
            stop_signal=part.stop_signal,
            graceful_timeout=part.grace,
            stdout_stream={"stream": _Lines(life.say)},
            stderr_stream={"stream": _Lines(life.say)},
            respawn=False,  # a dead part counts as stopped, and `_watch` starts what is stopped and due
            hooks=hooks,
        )

    async def _ask_how_they_died(self) -> None:
        """Circus drops a process that dies between two of its looks without a call of `after_reap`.

        The first thread of a process may be dead some milliseconds before the others: only then can it be asked.
        """
        for watcher in self._arbiter.watchers:
            life = self._lives[watcher.name]
            if life.process and life.pid not in watcher.processes:
                process = life.process
                await asyncio.to_thread(process.wait)
                life.after_reap(exit_code=int(process.returncode() or 0))

    def _due(self, **_: Any) -> list[Any]:
        now = time.monotonic()
        return [watcher for watcher in self._arbiter.watchers if self._lives[watcher.name].due <= now]

    def _spawned(self) -> None:
        self._changed({name: life.pid for name, life in self._lives.items() if life.pid is not None})

    async def _stop(self, names: set[str]) -> None:
        going = [watcher for watcher in self._arbiter.watchers if watcher.name in names]
        for name in names & self._lives.keys():
            self._lives[name].over = True
        await self._arbiter.stop_watchers(lambda **_: going)


@dataclass
class _Life:
    """What has become of a part so far, told by circus through its hooks."""

    name: str
    show: Say
    spawned: Callable[[], None]
    pid: int | None = None
    process: Any = None  # circus's, for as long as it lives: whoever lets go of it reaps it
    over: bool = False
    due: float = 0
    born: float = 0
    quick_deaths: int = 0
    death: str = field(default="", init=False)

    def say(self, line: str) -> None:
        self.show(self.name, line)

    def before_spawn(self, **_: Any) -> bool:
        self.born = time.monotonic()
        self.due = self.born + 1  # should it not even start
        return True

    def after_spawn(self, *, watcher: Any, pid: int, **_: Any) -> bool:
        if self.pid is not None:
            self.show("lanka", f"{self.name} died{self.death}, started again as pid {pid}")
        self.pid, self.process, self.death = pid, watcher.processes[pid], ""
        self.spawned()
        return True

    def after_reap(self, *, exit_code: int, **_: Any) -> None:
        self.process = None
        if self.over:
            return
        self.death = f" (killed by signal {-exit_code})" if exit_code < 0 else f" (exit code {exit_code})"
        now = time.monotonic()
        self.quick_deaths = self.quick_deaths + 1 if now - self.born < QUICK_DEATH else 0
        pause = min(LONGEST_PAUSE, 2.0 ** (self.quick_deaths - 3)) if self.quick_deaths > 1 else 0
        self.due = now + pause
        if pause:
            self.show("lanka", f"{self.name} died{self.death}, starts again in {pause:g} s")


class _Lines:
    """Cuts what a part prints into lines."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._rest = b""

    def __call__(self, printed: dict[str, Any]) -> None:
        *lines, self._rest = (self._rest + printed["data"]).split(b"\n")
        for line in lines:
            self._say(line.decode(errors="replace").rstrip())


def _tied(part: Part) -> list[str]:
    """The command of `part`, tied to us where Linux can do that: if we are killed, it gets its stop signal."""
    setpriv = which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        return part.command
    return [setpriv, "--pdeathsig", part.stop_signal.name.removeprefix("SIG"), "--", *part.command]
