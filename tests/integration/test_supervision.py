"""The supervision of the parts of `lanka up`, in a process of its own, with a part that does nothing."""

import os
import signal
import sys
from pathlib import Path

from tests.servers import HANGS_AFTER, process, until

SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from lanka.supervision import Part, Supervision

SLEEPER = "import threading, time; [threading.Thread(target=time.sleep, args=[600]).start() for _ in range(50)]"

async def main():
    async with Supervision(lambda _, line: print(line, flush=True), lambda: None) as supervision:
        supervision.start(Part("sleeper", [sys.executable, "-c", SLEEPER], env=dict(os.environ), cwd=Path()))
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_it_is_told_how_a_part_died_and_that_it_runs_again() -> None:
    async with process(sys.executable, "-u", "-c", SUPERVISOR, stop_signal=signal.SIGKILL) as supervisor:

        def sleepers() -> list[int]:
            children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text()
            return [int(pid) for pid in children.split()]

        await until(sleepers, HANGS_AFTER, "the part")
        (first,) = sleepers()
        os.kill(first, signal.SIGKILL)
        await until(
            lambda: "sleeper died (killed by signal 9), started again as pid" in supervisor.printed(),
            HANGS_AFTER,
            "the way it died",
        )
