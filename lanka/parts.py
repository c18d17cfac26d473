"""The parts that run on one machine: their command lines and their environment."""

import os
import signal
import sys
from dataclasses import dataclass
from functools import cached_property, partial

from lanka import postgres, temporal
from lanka.home import Chosen, Connection, Home
from lanka.ports import HOST, free_port
from lanka.readiness import http_answers, postgres_answers, temporal_answers
from lanka.supervision import Part


@dataclass(frozen=True)
class Given:
    """Servers that run elsewhere. With them the embedded ones are not started."""

    database_url: str | None = None
    temporal_address: str | None = None


@dataclass(frozen=True)
class Ports:
    api: int
    temporal: int
    temporal_ui: int
    payments: int


@dataclass(frozen=True)
class Machine:
    """Everything the parts need to know of each other."""

    home: Home
    chosen: Chosen
    given: Given
    ports: Ports

    @cached_property
    def connection(self) -> Connection:
        """Before anything runs. Where Temporal runs elsewhere nobody knows where its pages are."""
        own_temporal = self.given.temporal_address is None
        return Connection(
            api=f"http://{HOST}:{self.ports.api}",
            temporal=self.given.temporal_address or f"{HOST}:{self.ports.temporal}",
            temporal_ui=f"http://{HOST}:{self.ports.temporal_ui}" if own_temporal else None,
            database_url=self.given.database_url
            or postgres.url(self.chosen.postgres_port, self.chosen.postgres_password),
            payments=f"http://{HOST}:{self.ports.payments}",
            keys=self.chosen.keys,
            pids={},
        )

    def postgres(self) -> Part:
        return Part(
            "postgres",
            postgres.command(self.home.postgres_data, self.chosen.postgres_port),
            env=dict(os.environ),
            cwd=self.home.postgres_data,
            ready=partial(postgres_answers, self.connection.database_url),
            user=postgres.system_user(),
            stop_signal=signal.SIGINT,
            grace=20,
        )

    def temporal(self) -> Part:
        command = temporal.command(
            port=self.ports.temporal, ui_port=self.ports.temporal_ui, database=self.home.temporal_database.name
        )
        env = {**_without("TEMPORAL_", "OTEL_"), **temporal.ENVIRONMENT}
        ready = partial(temporal_answers, self.connection.temporal)
        return Part("temporal", command, env=env, cwd=self.home.directory, ready=ready)

    def payments(self) -> Part:
        return self._python_part("payments", "sandbox", ready=f"{self.connection.payments}/livez", grace=5)

    def api(self) -> Part:
        pages = self.connection.temporal_ui
        ui = {"LANKA_TEMPORAL_UI": pages} if pages else {}
        return self._python_part("api", "lanka", "api", ready=f"{self.connection.api}/readyz", grace=20, **ui)

    def worker(self, nth: int) -> Part:
        port = free_port()
        name = "worker" if nth == 0 else f"worker-{nth + 1}"
        ready = f"http://{HOST}:{port}/readyz"
        # It takes 40 s at most to finish what it has begun.
        return self._python_part(name, "worker", ready=ready, grace=45, LANKA_WORKER_PORT=str(port))

    def _python_part(self, name: str, module: str, *args: str, ready: str, grace: float, **more: str) -> Part:
        # -P: the directory in which somebody calls `lanka up` may hold modules of any name.
        command = [sys.executable, "-P", "-m", module, *args]
        env = {**self._environment(), **more}
        return Part(name, command, env, self.home.directory, ready=partial(http_answers, ready), grace=grace)

    def _environment(self) -> dict[str, str]:
        env = _without("TEMPORAL_") if self.given.temporal_address is None else dict(os.environ)
        here = self.connection
        return {
            **env,
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": here.database_url,
            "TEMPORAL_ADDRESS": here.temporal,
            "LANKA_HOME": str(self.home.directory),
            "LANKA_PUBLIC_URL": here.api,
            "LANKA_API_HOST": HOST,
            "LANKA_API_PORT": str(self.ports.api),
            "LANKA_PAYMENTS_URL": here.payments,
            "LANKA_WEBHOOK_SECRET": self.chosen.webhook_secret,
            "LANKA_LINK_SECRET": self.chosen.link_secret,
            "SANDBOX_HOST": HOST,
            "SANDBOX_PORT": str(self.ports.payments),
            "SANDBOX_DATABASE": str(self.home.payments_database),
            "SANDBOX_WEBHOOK_URL": f"{here.api}/webhooks/sandbox",
            "SANDBOX_WEBHOOK_SECRET": self.chosen.webhook_secret,
        }


def _without(*others: str) -> dict[str, str]:
    """Whatever leads to another Temporal, such as an API key in a profile, would only mislead here.

    And its server ends where OTEL_TRACES_EXPORTER is not the one that it knows.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**env, "TEMPORAL_CONFIG_FILE": os.devnull}
