"""The home of `lanka up`: the directory that holds all data of this machine, and the files in it."""

import base64
import json
import os
import secrets
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import fasteners  # type: ignore[import-untyped]
import psutil
from pydantic import BaseModel, Field
from pydantic_core import to_json

from lanka.ports import HOST, free_port, is_free
from lanka.terminal import NotDoneError

CLOCK_TOLERANCE = 1.0
"""Seconds that the same process may seem older or younger when it is looked up again."""

LONGEST_PATH = 450
"""Bytes of a home's path: SQLite takes 512, with the names of its files."""


class Connection(BaseModel):
    """How to reach what `lanka up` runs: the content of connection.json. What is not started here has no pid."""

    api: str
    temporal: str
    temporal_ui: str | None
    database_url: str
    payments: str
    keys: dict[str, str]
    pids: dict[str, int]


class Chosen(BaseModel):
    """What is chosen once for a home and then kept."""

    postgres_password: str = Field(default_factory=secrets.token_urlsafe)
    postgres_port: int = Field(default_factory=free_port)
    webhook_secret: str = Field(default_factory=lambda: "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())
    link_secret: str = Field(default_factory=secrets.token_urlsafe)
    keys: dict[str, str] = Field(
        default_factory=lambda: {"shop": secrets.token_urlsafe(), "operator": secrets.token_urlsafe()}
    )


class Home:
    def __init__(self, directory: Path) -> None:
        self.directory = directory.expanduser().resolve()
        self.postgres_data = self.directory / "postgres"
        self.temporal_database = self.directory / "temporal.db"
        self.payments_database = self.directory / "payments.db"
        self.connection_file = self.directory / "connection.json"
        self._chosen = self.directory / "secrets.json"
        self._scraped = self.directory / "prometheus.json"
        self._processes = self.directory / "processes.json"

    @contextmanager
    def kept_for_us(self) -> Iterator[None]:
        """Raises `NotDoneError` where another `lanka up` has this home, or nobody can have it."""
        self._is_usable()
        lock = fasteners.InterProcessLock(self.directory / "up.lock")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            acquired = lock.acquire(blocking=False)
        except OSError as error:
            raise self._unusable(error) from error
        if not acquired:
            raise NotDoneError(f"another `lanka up` is running in {self.directory}; stop it, or choose another --home")
        try:
            yield
        finally:
            lock.release()

    def _is_usable(self) -> None:
        path = os.fsencode(self.directory)
        if len(path) > LONGEST_PATH:
            raise NotDoneError(
                f"the path of the home is {len(path)} bytes long, SQLite takes {LONGEST_PATH}: choose another --home"
            )
        if b"\n" in path or b"\r" in path:
            raise NotDoneError(
                "the path of the home has a line break in it, which PostgreSQL does not take: choose another --home"
            )

    def _unusable(self, error: OSError) -> NotDoneError:
        return NotDoneError(f"cannot write into the home {self.directory}: {error.strerror}; choose another --home")

    def chosen(self, not_on: Container[int] = ()) -> Chosen:
        """`not_on`: ports that PostgreSQL does not get. Raises `NotDoneError`."""
        try:
            chosen = Chosen.model_validate_json(self._chosen.read_text()) if self._chosen.exists() else Chosen()
            if chosen.postgres_port in not_on or not is_free(chosen.postgres_port):
                chosen.postgres_port = free_port(not_on)
            _write(self._chosen, chosen)
        except OSError as error:
            raise self._unusable(error) from error
        except ValueError as error:
            raise NotDoneError(
                f"{self._chosen} is damaged: bring it back from a copy, or choose another --home"
            ) from error
        return chosen

    def chosen_before(self) -> Chosen | None:
        """None where nothing was started yet."""
        return Chosen.model_validate_json(self._chosen.read_text()) if self._chosen.exists() else None

    def connection(self) -> Connection | None:
        """None where nothing is ready, also in the copy of a home in which something is. Raises `NotDoneError`."""
        try:
            connection = Connection.model_validate_json(self.connection_file.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise NotDoneError(f"{self.connection_file} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise NotDoneError(f"{self.connection_file} is damaged: start `lanka up` again") from error
        return None if self._are_elsewhere(connection.pids.values()) else connection

    def announce(self, connection: Connection) -> None:
        _write(self.connection_file, connection)

    def renounce(self) -> None:
        self.connection_file.unlink(missing_ok=True)

    def tell_prometheus(self, jobs: Mapping[str, Sequence[str]]) -> None:
        """On which ports there are `/metrics`, for each job, in the form of Prometheus's `file_sd_configs`."""
        targets = {job: [f"{HOST}:{port}" for port in ports] for job, ports in jobs.items()}
        _write(self._scraped, [{"targets": each, "labels": {"job": job}} for job, each in targets.items()])

    def remember(self, pids: Mapping[str, int]) -> None:
        """Notes our processes, so that the next `lanka up` finds them if this one is killed."""
        noted = {}
        for name, pid in pids.items():
            with suppress(psutil.NoSuchProcess):
                noted[name] = pid, psutil.Process(pid).create_time()
        _write(self._processes, noted)

    def left_behind(self) -> dict[str, psutil.Process]:
        """The processes of a `lanka up` that was killed. A pid that belongs to another program by now is not one."""
        try:
            noted = json.loads(self._processes.read_text())
        except (FileNotFoundError, ValueError):
            noted = {}
        found = {}
        for name, (pid, created) in noted.items():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                same = abs(process.create_time() - created) < CLOCK_TOLERANCE and not is_over(process)
                if same and self._is_ours(process):
                    found[name] = process
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        """Numbers are copied with a home. Where a process works is known by the kernel, also after a move."""
        try:
            works_in = Path(process.cwd())
        except psutil.AccessDenied:  # another user's, in a container: then its command line has to tell
            return str(self.directory) in " ".join(process.cmdline())
        return any(_is_same(works_in, ours) for ours in (self.directory, self.postgres_data))

    def _are_elsewhere(self, pids: Iterable[int]) -> bool:
        """Whether they run, and belong to another home."""
        with suppress(psutil.Error):
            processes = [psutil.Process(pid) for pid in pids]
            return bool(processes) and not any(map(self._is_ours, processes))
        return False


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def is_over(process: psutil.Process) -> bool:
    """Also when nobody has buried it: in many a container process 1 does not."""
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _write(path: Path, content: object) -> None:
    """Whole or not at all, and for nobody else's eyes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(to_json(content, indent=2))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
