"""A terminal for a command: a pseudo-terminal of this many columns."""

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path
from typing import NamedTuple

from tests.servers import SCRUBBED


class Shown(NamedTuple):
    """What a terminal got, as bytes and as text, and how the command ended."""

    raw: bytes
    exit_code: int

    @property
    def text(self) -> str:
        return self.raw.decode().replace("\r\n", "\n")


async def at_a_terminal(*words: str | Path, columns: int = 80, env: dict[str, str] | None = None) -> Shown:
    """Runs a command whose output goes to a terminal, until it ends."""
    return await asyncio.to_thread(_run, [str(word) for word in words], columns, env or {})


def _run(words: list[str], columns: int, env: dict[str, str]) -> Shown:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((*SCRUBBED, "LC_", "COLUMNS", "PYTHON"))
    }
    environment = {**inherited, "TERM": "xterm", "LANG": "C.UTF-8", **env}
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        command = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=its, stderr=its)
        os.close(its)
        read = b""
        try:
            while part := terminal.read(1 << 16):
                read += part
        except OSError:  # its last writer is gone
            pass
        return Shown(read, command.wait())
