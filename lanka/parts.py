"""The parts that run on one machine: their command lines and their environment."""

import os
import signal
import sys
from dataclasses import dataclass

from pydantic_settings import BaseSettings

from lanka import postgres, temporal
from lanka.home import Chosen, Home
from lanka.ports import HOST, free_port
from lanka.supervision import Part


class Given(BaseSettings):
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

    @property
    def database_url(self) -> str:
        own = postgres.url(self.chosen.postgres_port, self.chosen.postgres_password)
        return self.given.database_url or own

    @property
    def temporal_address(self) -> str:
        return self.given.temporal_address or f"{HOST}:{self.ports.temporal}"

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self.ports.api}"

    @property
    def payments_url(self) -> str:
        return f"http://{HOST}:{self.ports.payments}"

    @property
    def temporal_ui(self) -> str | None:
        """None where Temporal runs elsewhere: nobody knows where its pages are."""
        return f"http://{HOST}:{self.ports.temporal_ui}" if self.given.temporal_address is None else None

    def postgres(self) -> Part:
        return Part(
            "postgres",
            postgres.command(self.home.postgres_data, self.chosen.postgres_port),
            env=dict(os.environ),
            cwd=self.home.postgres_data,
            user=postgres.system_user(),
            stop_signal=signal.SIGINT,
            grace=20,
        )

    def temporal(self) -> Part:
        command = temporal.command(
            port=self.ports.temporal, ui_port=self.ports.temporal_ui, database=self.home.temporal_database
        )
        env = {**os.environ, **temporal.ENVIRONMENT}
        return Part("temporal", command, env=env, cwd=self.home.directory)

    def payments(self) -> Part:
        return self._python_part("payments", "sandbox", grace=5)

    def api(self) -> Part:
        ui = {"LANKA_TEMPORAL_UI": self.temporal_ui} if self.temporal_ui else {}
        return self._python_part("api", "lanka", "api", grace=20, **ui)

    def worker(self, nth: int) -> tuple[Part, str]:
        """The part and the URL that tells whether it is ready."""
        port = free_port()
        name = "worker" if nth == 0 else f"worker-{nth + 1}"
        # It takes 40 s at most to finish what it has begun.
        part = self._python_part(name, "worker", grace=45, LANKA_WORKER_PORT=str(port))
        return part, f"http://{HOST}:{port}/readyz"

    def _python_part(self, name: str, module: str, *args: str, grace: float, **more: str) -> Part:
        # -P: the directory in which somebody calls `lanka up` may hold modules of any name.
        command = [sys.executable, "-P", "-m", module, *args]
        return Part(name, command, env={**self._environment(), **more}, cwd=self.home.directory, grace=grace)

    def _environment(self) -> dict[str, str]:
        env = dict(os.environ)
        if self.given.temporal_address is None:
            # Whatever leads to another Temporal, such as an API key in a profile, would only mislead here.
            env = {name: value for name, value in env.items() if not name.startswith("TEMPORAL_")}
            env["TEMPORAL_CONFIG_FILE"] = os.devnull
        return {
            **env,
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": self.database_url,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "LANKA_HOME": str(self.home.directory),
            "LANKA_PUBLIC_URL": self.api_url,
            "LANKA_API_HOST": HOST,
            "LANKA_API_PORT": str(self.ports.api),
            "LANKA_PAYMENTS_URL": self.payments_url,
            "LANKA_WEBHOOK_SECRET": self.chosen.webhook_secret,
            "SANDBOX_HOST": HOST,
            "SANDBOX_PORT": str(self.ports.payments),
            "SANDBOX_DATABASE": str(self.home.payments_database),
            "SANDBOX_WEBHOOK_URL": f"{self.api_url}/webhooks/sandbox",
            "SANDBOX_WEBHOOK_SECRET": self.chosen.webhook_secret,
        }
