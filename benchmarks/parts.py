"""The processes of a run, by name: started, killed, started again, ended; and what each has cost so far."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from lanka.readiness import until
from lanka.supervision import Part

PATIENCE = 90.0
"""Seconds for a part to be ready. The machine may be slow."""


@dataclass
class Cost:
    """Of one part with all its processes: CPU seconds so far, and bytes of memory now."""

    cpu: float
    memory: int


class Parts:
    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._parts: dict[str, Part] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._spent: dict[str, float] = {}

    @property
    def names(self) -> list[str]:
        return list(self._running)

    async def start(self, part: Part, ready: Callable[[], Any] | None = None) -> None:
        """Returns when `ready` says so; by default when the part has printed "ready"."""
        self._parts[part.name] = part
        log = self.log(part.name)
        seen = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._running[part.name] = popen = subprocess.Popen(  # noqa: ASYNC220, S603
                part.command,
                env=part.env,
                cwd=part.cwd,
                user=part.user,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        async def is_ready() -> bool:
            if popen.poll() is not None:
                return True
            if ready:
                return bool(await ready())
            return b"ready" in log.read_bytes()[seen:].lower()

        await until(is_ready, PATIENCE, f"{part.name} to be ready")
        if popen.poll() is not None:
            raise RuntimeError(f"{part.name} ended with exit code {popen.poll()}")

    def log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def printed(self) -> str:
        """The end of what each part has printed."""
        return "\n".join(f"---- {name}\n{self.log(name).read_text(errors='replace')[-2000:]}" for name in self._parts)

    async def kill(self, name: str) -> None:
        """`kill -9` of the part with all its processes, started again as a supervisor would."""
        popen = self._running[name]
        self._spent[name] = self.cost(name).cpu
        os.killpg(popen.pid, signal.SIGKILL)
        await asyncio.to_thread(popen.wait)
        await self.start(self._parts[name], ready=_at_once)

    def cost(self, name: str) -> Cost:
        cost = Cost(self._spent.get(name, 0.0), 0)
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._running[name].pid)
            for process in [root, *root.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    # Of children that have ended: a database connection is a process.
                    ended = times.children_user + times.children_system
                    cost.cpu += times.user + times.system + ended
                    cost.memory += _memory(process)
        return cost

    async def stop(self) -> None:
        """The last to start are the first to stop. If this is cut short, what is left is killed."""
        try:
            for name in reversed(list(self._running)):
                await self._end(self._running[name], self._parts[name])
        finally:
            for popen in self._running.values():
                with suppress(ProcessLookupError):
                    os.killpg(popen.pid, signal.SIGKILL)
                popen.wait()
            self._running.clear()

    async def _end(self, popen: subprocess.Popen[bytes], part: Part) -> None:
        with suppress(ProcessLookupError, TimeoutError):
            popen.send_signal(part.stop_signal)
            await until(lambda: popen.poll() is not None, part.grace, f"the end of {part.name}")


async def _at_once() -> bool:
    return True


def _memory(process: psutil.Process) -> int:
    """Shared pages counted once, divided among those who share them, where the system tells."""
    full = process.memory_full_info()
    return int(getattr(full, "pss", full.rss))
