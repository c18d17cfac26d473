"""Real servers for tests, on free ports of 127.0.0.1, with the command lines that `lanka up` uses."""

import asyncio
import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from lanka import postgres, temporal
from lanka.ports import HOST, free_port
from lanka.readiness import postgres_answers, temporal_answers, until

__all__ = [
    "HANGS_AFTER",
    "Said",
    "Started",
    "free_port",
    "home_of_a_server",
    "one_who_says",
    "postgres_server",
    "process",
    "temporal_server",
    "until",
]

HANGS_AFTER = 60.0
"""Seconds after which a test is taken to hang. Nothing is judged by it, on however slow a machine."""

SCRUBBED = ("DATABASE_URL", "TEMPORAL_", "LANKA_", "SANDBOX_", "OTEL_", "PG")


@contextmanager
def home_of_a_server() -> Iterator[Path]:
    """A directory for PostgreSQL's data.

    Not pytest's own: for root the server runs as another user, whom every pytest that starts on this machine locks
    out of all its predecessors' directories.
    """
    with tempfile.TemporaryDirectory(prefix="lanka-test-") as directory:
        yield Path(directory)


@dataclass(frozen=True)
class Started:
    """A running process; `log` is the file that gets everything it prints."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; the negative number of the signal that killed it."""
        return self.popen.poll()

    def printed(self) -> str:
        return self.log.read_text(errors="replace")


@asynccontextmanager
async def process(
    *args: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    grace: float = 10,
) -> AsyncIterator[Started]:
    """Runs a process in a group of its own; at exit it gets `stop_signal`, after `grace` seconds SIGKILL.

    `env` comes on top of this environment, but for what configures Lanka. If the test fails, its output is
    shown.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SCRUBBED)}
    with tempfile.NamedTemporaryFile(prefix="lanka-test-", suffix=".log") as log:
        popen = subprocess.Popen(  # noqa: ASYNC220
            [str(arg) for arg in args],
            env={**inherited, **(env or {})},
            cwd=cwd,
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started = Started(popen, Path(log.name))
        try:
            yield started
        except BaseException:
            print(f"---- {' '.join(popen.args)} (exit code {popen.poll()}) printed:\n{started.printed()}")  # type: ignore[arg-type]  # noqa: T201
            raise
        finally:
            await _end(popen, stop_signal, grace)


async def _end(popen: subprocess.Popen[bytes], stop_signal: signal.Signals, grace: float) -> None:
    try:
        popen.send_signal(stop_signal)
        await until(lambda: popen.poll() is not None, grace, f"the end of {popen.args!r}")
    except TimeoutError:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(popen.pid, signal.SIGKILL)
        await asyncio.to_thread(popen.wait)


@asynccontextmanager
async def postgres_server(directory: Path, *, durable: bool = False, port: int | None = None) -> AsyncIterator[str]:
    """The URL of a PostgreSQL server with its data in `directory`: its superuser, the database `postgres`.

    `durable=False` does not wait for the disk: faster, and nothing is lost unless the machine itself stops.
    """
    data, port = directory / "postgres", port or free_port()
    secret = directory / "postgres-password"
    if not secret.exists():
        secret.write_text(secrets.token_urlsafe())
    password = secret.read_text()
    await asyncio.to_thread(postgres.prepare, data, password)
    settings = {} if durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    async with process(
        *postgres.command(data, port, **settings),
        cwd=data,
        user=postgres.system_user(),
        stop_signal=signal.SIGINT,
    ):
        url = postgres.url(port, password)
        await until(lambda: postgres_answers(url), HANGS_AFTER, "PostgreSQL")
        yield url


@asynccontextmanager
async def temporal_server(
    directory: Path, *, port: int | None = None, ui_port: int | None = None, db: str | None = None
) -> AsyncIterator[str]:
    """The address (host:port) of a Temporal dev server, durable in the file `db` of `directory`, or else in memory."""
    port = port or free_port()
    command = temporal.command(port=port, ui_port=ui_port, database=db)
    async with process(*command, env=temporal.ENVIRONMENT, cwd=directory):
        address = f"{HOST}:{port}"
        await until(lambda: temporal_answers(address), HANGS_AFTER, "Temporal")
        yield address


class Said(NamedTuple):
    """An answer as it goes over the wire."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})


@asynccontextmanager
async def one_who_says(answer: Callable[[], Said]) -> AsyncIterator[str]:
    """The URL of an HTTP server that answers every call in this way, even in one that no real server has."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        said = answer()
        headers = {**said.headers, "Content-Length": str(len(said.content)), "Connection": "close"}
        head = f"HTTP/1.1 {said.status} Said\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"{head}\r\n".encode() + said.content)
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0) as server:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
