"""The home of `lanka up`: the directory that holds all data of this machine, and the files in it."""

import base64
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
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
        self._connection = self.directory / "connection.json"
        self._chosen = self.directory / "secrets.json"
        self._scraped = self.directory / "prometheus.json"
        self._processes = self.directory / "processes.json"

    @contextmanager
    def kept_for_us(self) -> Iterator[None]:
        """Raises `NotDoneError` where another `lanka up` has this home."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = fasteners.InterProcessLock(self.directory / "up.lock")
        if not lock.acquire(blocking=False):
            raise NotDoneError(f"another `lanka up` is running in {self.directory}; stop it, or choose another --home")
        try:
            yield
        finally:
            lock.release()

    def chosen(self) -> Chosen:
        chosen = Chosen.model_validate_json(self._chosen.read_text()) if self._chosen.exists() else Chosen()
        if not is_free(chosen.postgres_port):
            chosen.postgres_port = free_port()
        _write(self._chosen, chosen)
        return chosen

    def connection(self) -> Connection | None:
        """None where nothing is ready."""
        try:
            return Connection.model_validate_json(self._connection.read_text())
        except FileNotFoundError:
            return None

    def announce(self, connection: Connection) -> None:
        _write(self._connection, connection)

    def renounce(self) -> None:
        self._connection.unlink(missing_ok=True)

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
        noted = json.loads(self._processes.read_text()) if self._processes.exists() else {}
        found = {}
        for name, (pid, created) in noted.items():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if abs(process.create_time() - created) < CLOCK_TOLERANCE and not is_over(process):
                    found[name] = process
        return found


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
