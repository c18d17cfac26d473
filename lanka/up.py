"""`lanka up`: what is started in which order, and how it ends."""

import asyncio
import errno
import os
import shlex
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import typer

from lanka import postgres
from lanka.home import Home, is_over
from lanka.output import harmless, say
from lanka.parts import Given, Machine, Ports
from lanka.ports import free_port, why_not
from lanka.readiness import postgres_answers, until
from lanka.sample_order import as_curl
from lanka.schemas import migrate
from lanka.settings import GROUPS, Servers, forget_other_servers, load_settings
from lanka.supervision import State, Supervision
from lanka.terminal import NotDoneError
from store.seed import seed

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHADES = {State.READY: "green", State.STARTING: "yellow", State.RESTARTING: "yellow"}
COLOURS = ("cyan", "green", "yellow", "magenta", "blue")

STEP_WITHIN = 60.0
"""Seconds that each step of the start may take."""


def up(directory: Path, wanted: Ports, workers: int) -> None:
    """Runs until it is told to stop. Raises `LankaError` where it cannot start."""
    settings = load_settings(Servers, *GROUPS)
    os.umask(0o077)  # the databases are for nobody else's eyes
    home = Home(directory)
    try:
        with home.kept_for_us():
            home.renounce()
            asyncio.run(_end(home.left_behind()))
            given = settings.of(Given)
            ports = _ports(wanted, given)
            machine = Machine(home, home.chosen(not_on=vars(ports).values()), given, ports)
            asyncio.run(_Run(machine, workers).until_stopped())
    except TimeoutError as error:
        raise NotDoneError(error) from error


async def _end(left_behind: dict[str, psutil.Process]) -> None:
    """Ends what a `lanka up` that was killed has left: its files and ports are needed."""
    family = list(left_behind.values())

    async def are_over() -> None:
        await until(lambda: all(is_over(each) for each in family), 10, "their end")

    for name, process in left_behind.items():
        say(f"{name} is left behind by a `lanka up` that was killed (pid {process.pid}), ending it")
        with suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
            # For PostgreSQL this is the fast shutdown: it does not wait until everybody has left.
            process.send_signal(signal.SIGINT)
    try:
        await are_over()
    except TimeoutError:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await are_over()


def _ports(wanted: Ports, given: Given) -> Ports:
    """The ports that will be used: free ones in the place of 0."""
    options = {
        "api": "--port",
        "temporal": "--temporal-port",
        "temporal_ui": "--ui-port",
        "payments": "--payments-port",
    }
    if given.temporal_address is not None:
        del options["temporal"], options["temporal_ui"]
    chosen: dict[str, int] = {}
    for name, option in options.items():
        port = getattr(wanted, name)
        if port and (other := next((options[each] for each in chosen if chosen[each] == port), None)):
            raise NotDoneError(f"port {port} is wanted twice, by {other} and {option}: choose two")
        if port and (error := why_not(port)):
            raise NotDoneError(f"port {port} {_reason(error)}; choose another one with {option}")
        chosen[name] = port or free_port([*chosen.values(), *vars(wanted).values()])
    return replace(wanted, **chosen)


def _reason(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "may only be used by root"
    return "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"


def _copied(connection_file: Path) -> str:
    """A command that prints the operator's key, to be copied: the key itself does not belong into a log."""
    keys = "import json,sys; print(json.load(open(sys.argv[1]))['keys']['operator'])"
    return f'python3 -c "{keys}" {shlex.quote(str(connection_file))}'


class _Run:
    def __init__(self, machine: Machine, workers: int) -> None:
        self._machine = machine
        self._workers = workers
        self._supervision = Supervision(self._say, self._changed)
        self._ready = False
        self._stop = asyncio.Event()

    async def until_stopped(self) -> None:
        for number in STOPS:
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        async with self._supervision:
            watching = asyncio.create_task(self._supervision.watch())
            running = asyncio.create_task(self._run())
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._ready = False
            watching.cancel()
            self._machine.home.renounce()
            self._say("lanka", "stopping everything")
            stopping.cancel()
            running.cancel()
            await asyncio.wait({running})
        self._machine.home.remember({})
        self._say("lanka", "stopped")
        if not running.cancelled():
            running.result()

    async def _run(self) -> None:
        began = time.monotonic()
        machine, start = self._machine, self._supervision.start
        if machine.given.database_url is None:
            forget_other_servers()
            data, password = machine.home.postgres_data, machine.chosen.postgres_password
            await asyncio.to_thread(postgres.prepare, data, password)
            start(machine.postgres())
        outside = [machine.temporal()] if machine.given.temporal_address is None else []
        outside.append(machine.payments())
        start(*outside)
        await self._fill_the_database()
        await self._supervision.are_ready(STEP_WITHIN)
        workers = [machine.worker(nth) for nth in range(self._workers)]
        worker_ports = [worker.env["LANKA_WORKER_PORT"] for worker in workers]
        machine.home.tell_prometheus({"lanka-api": [str(machine.ports.api)], "lanka-worker": worker_ports})
        ours = [machine.api(), *workers]
        start(*ours)
        await self._supervision.are_ready(STEP_WITHIN)
        self._ready = True
        self._note()
        await self._supervision.look()
        await self._greet(time.monotonic() - began)
        await self._supervision.forever()

    async def _fill_the_database(self) -> None:
        url = self._machine.connection.database_url
        if self._machine.given.database_url:
            await until(partial(postgres_answers, url), STEP_WITHIN, "PostgreSQL")
        else:
            await self._supervision.are_ready(STEP_WITHIN, "postgres")
        try:
            async with asyncio.timeout(STEP_WITHIN):
                await migrate(url)
                await seed(url, keys=self._machine.chosen.keys)
        except TimeoutError as error:
            raise TimeoutError(f"waited {STEP_WITHIN:g} s for the migrations and the demo shop") from error

    def _note(self) -> None:
        pids = self._supervision.pids
        try:
            self._machine.home.remember(pids)
            if self._ready:
                self._machine.home.announce(self._machine.connection.model_copy(update={"pids": pids}))
        except OSError as error:  # a disk that is full for a while ends nothing
            self._say("lanka", f"cannot write into {self._machine.home.directory}: {error.strerror}")

    def _changed(self) -> None:
        self._note()
        self._say("lanka", f"parts: {self._parts()}")

    def _parts(self) -> str:
        states, pids = self._supervision.states, self._supervision.pids
        shown = {name: typer.style(state, fg=SHADES.get(state, "red")) for name, state in states.items()}
        return " · ".join(f"{name} {shown[name]} ({pid})" for name, pid in pids.items())

    async def _greet(self, seconds: float) -> None:
        connection = self._machine.connection
        try:
            sample = await asyncio.to_thread(as_curl, connection)
        except NotDoneError as error:
            sample = f"(no sample: {error})"
        told = self._machine.home.connection_file
        self._print(
            f"""
  shop              {connection.api}/
  console           {connection.api}/console
  operator's key    {_copied(told)}
  API               {connection.api}/docs
  Temporal Web UI   {connection.temporal_ui or "where your Temporal has it"}
  sandbox payments  {connection.payments}/docs
  keys, pids        {told}
  parts             {self._parts()}

Pay and submit an order, or let `lanka order` do it and show what becomes of it:

{sample}

ready after {seconds:.1f} s; Ctrl-C stops everything, the data stays"""
        )

    def _say(self, name: str, line: str) -> None:
        colour = COLOURS[sum(name.encode()) % len(COLOURS)]
        shown = line if name == "lanka" else harmless(line)  # ours may have colours
        self._print(f"{typer.style(f'{name:<8}', fg=colour)} | {shown}")

    def _print(self, text: str) -> None:
        try:
            say(text)
        except OSError:
            # Nobody reads any more: the terminal or the program behind the pipe is gone.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._stop.set()
