"""Keeps the parts running, and knows how they are: a part that dies is started again, and a line says so."""

import asyncio
import os
import pwd
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shutil import which
from typing import Any, Self

import psutil

from chain.failures import LankaError
from lanka.readiness import POLL

QUICK_DEATH = 5.0
LONGEST_PAUSE = 15.0

GIVEN_UP_AFTER = 3
"""Deaths of a part that was never ready: it will not be."""

LAST_LINES = 10

EVERY = 5.0
"""Seconds between two looks while nothing happens."""

SOON = 0.25
"""Seconds between two looks while something comes up."""

ANSWERS_WITHIN = 3.0
"""Seconds that a part has to answer."""

Say = Callable[[str, str], None]
"""Shows a line of a part: its name, and the line."""


class State(StrEnum):
    """`RESTARTING`: as `STARTING`, after a death. `NOT_READY`: it runs and no longer says that it is ready."""

    STARTING = "starting"
    READY = "ready"
    NOT_READY = "not ready"
    RESTARTING = "restarting"
    DOWN = "down"


COMING = {State.STARTING, State.RESTARTING}


class NeverReadyError(LankaError):
    def __init__(self, what: str, said: Sequence[str]) -> None:
        """`said`: its last lines."""
        super().__init__("\n  ".join([f"{what}; it said last:", *said] if said else [f"{what}; it said nothing"]))


async def _always() -> bool:
    return True


@dataclass(frozen=True)
class Part:
    """One process. `ready` is asked again and again; an exception is a no. `grace` is how many seconds it has after
    `stop_signal` before it is killed.
    """

    name: str
    command: list[str]
    env: dict[str, str]
    cwd: Path
    ready: Callable[[], Awaitable[bool]] = _always
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10
    user: str | None = None


class Supervision:
    """Runs parts until the end of its `async with`. `changed` is called whenever a process or a state is another."""

    def __init__(self, say: Say, changed: Callable[[], None]) -> None:
        self._say = say
        self._changed = changed
        self._groups: list[list[_Life]] = []
        self._wake = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for group in reversed(self._groups):
            await asyncio.gather(*(life.stop() for life in group))

    @property
    def pids(self) -> Mapping[str, int]:
        """Of each part the last process."""
        return {life.part.name: life.process.pid for life in self._lives if life.process}

    @property
    def states(self) -> Mapping[str, State]:
        return {life.part.name: life.state for life in self._lives if life.process}

    def start(self, *parts: Part) -> None:
        """What starts together stops together; the last to start are the first to stop."""
        self._groups.append([_Life(part, self._say, self._spawned) for part in parts])

    async def are_ready(self, within: float, *names: str) -> None:
        """Waits for these parts, or all, for so many seconds each. Raises `NeverReadyError`."""
        for life in [life for life in self._lives if not names or life.part.name in names]:
            deadline = time.monotonic() + within
            while not await life.answers():
                if lost := next((each for each in self._lives if each.is_hopeless), None):
                    raise NeverReadyError(f"{lost.part.name} died {lost.deaths} times ({lost.death})", lost.said)
                if time.monotonic() >= deadline:
                    raise NeverReadyError(f"{life.part.name} is not ready after {within:g} s", life.said[-1:])
                await asyncio.sleep(POLL)
            life.was_ready = True

    async def forever(self) -> None:
        """Only ends by an exception: ours to be cancelled, or one that nobody expected."""
        ended, _ = await asyncio.wait([life.living for life in self._lives], return_when=asyncio.FIRST_COMPLETED)
        for each in ended:
            each.result()

    async def watch(self) -> None:
        """Without end."""
        while True:
            await self.look()
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(SOON if COMING & set(self.states.values()) else EVERY):
                    await self._wake.wait()

    async def look(self) -> None:
        """Asks every part how it is."""
        if any(await asyncio.gather(*(life.look() for life in self._lives))):
            self._changed()

    @property
    def _lives(self) -> list["_Life"]:
        return [life for group in self._groups for life in group]

    def _spawned(self) -> None:
        self._wake.set()
        self._changed()


class _Life:
    """A part, from one process to the next. `process` is the last one."""

    def __init__(self, part: Part, say: Say, spawned: Callable[[], None]) -> None:
        self.part = part
        self.process: asyncio.subprocess.Process | None = None
        self.state = State.STARTING
        self._say = say
        self._spawned = spawned
        self._reading: set[asyncio.Task[None]] = set()
        self._said: deque[str] = deque(maxlen=LAST_LINES)
        self.was_ready = False
        self.death = ""
        self.deaths = 0
        self.living = asyncio.create_task(self._live())

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.returncode is None

    @property
    def is_hopeless(self) -> bool:
        return not self.was_ready and self.deaths >= GIVEN_UP_AFTER

    @property
    def said(self) -> Sequence[str]:
        """The last lines that are not empty."""
        return list(self._said)

    async def look(self) -> bool:
        """Whether the state is another now."""
        process, answers = self.process, await self.answers()
        before = self.state
        if self.process is process:  # else it was another process that has answered, or has not
            self.state = self._state(answers=answers)
        return self.state is not before

    def _state(self, *, answers: bool) -> State:
        if not self.lives:
            return State.DOWN
        if answers:
            return State.READY
        return self.state if self.state in COMING else State.NOT_READY

    async def answers(self) -> bool:
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                return await self.part.ready()
        except Exception:  # noqa: BLE001, whatever it is, it is no answer
            return False

    async def _live(self) -> None:
        name, quick_deaths = self.part.name, 0
        while True:
            born = time.monotonic()
            try:
                self.process = await self._spawn()
            except OSError as error:  # too many processes, too little memory: that passes
                self.death = str(error)
            else:
                if self.death:
                    self.state = State.RESTARTING
                    self._say("lanka", f"{name} died ({self.death}), started again as pid {self.process.pid}")
                self._spawned()
                code = await self.process.wait()
                self.death = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            self.deaths += 1
            quick_deaths = quick_deaths + 1 if time.monotonic() - born < QUICK_DEATH else 0
            if quick_deaths > 1:
                pause = min(LONGEST_PAUSE, 2.0 ** (min(quick_deaths, 10) - 3))
                self._say("lanka", f"{name} died ({self.death}), starts again in {pause:g} s")
                await asyncio.sleep(pause)

    async def _spawn(self) -> asyncio.subprocess.Process:
        part = self.part
        identity: dict[str, Any] = {}
        if part.user:
            identity = {"user": part.user, "group": pwd.getpwnam(part.user).pw_gid, "extra_groups": ()}
        # A pipe of our own: the end of a process must not wait for children that hold asyncio's open.
        ours, its = os.pipe()
        reading = asyncio.create_task(self._read(ours))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        with os.fdopen(its, "wb") as output:
            return await asyncio.create_subprocess_exec(
                *_tied(part),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=part.env,
                cwd=part.cwd,
                start_new_session=True,  # Ctrl-C is for us: the parts are stopped in their order
                **identity,
            )

    async def _read(self, pipe: int) -> None:
        """Shows what is printed, line by line, until nobody can print any more."""
        stream = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(pipe, "rb")
        )
        rest = b""
        while printed := await stream.read(1 << 16):
            *lines, rest = (rest + printed).split(b"\n")
            for line in lines:
                self._hear(line.decode(errors="replace").rstrip())

    def _hear(self, line: str) -> None:
        if line:
            self._said.append(line)
        self._say(self.part.name, line)

    async def stop(self) -> None:
        self.living.cancel()
        await asyncio.wait([self.living])
        if self.process and self.lives:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, self.part.stop_signal)
            try:
                await asyncio.wait_for(self.process.wait(), self.part.grace)
            except TimeoutError:
                _kill(self.process.pid)
                await self.process.wait()
        if self._reading:
            await asyncio.wait(self._reading, timeout=1)


def _kill(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        for process in (*psutil.Process(pid).children(recursive=True), psutil.Process(pid)):
            process.kill()


def _tied(part: Part) -> list[str]:
    """The command of `part`, tied to us where Linux can do that: if we are killed, it gets its stop signal."""
    setpriv = which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        return part.command
    return [setpriv, "--pdeathsig", part.stop_signal.name.removeprefix("SIG"), "--", *part.command]
