"""The sandbox payment provider, a separate program: `python -m sandbox`."""

import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import Self

import uvicorn
from pydantic import model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from edge.bounds import Bounds
from edge.protocol import Edge
from sandbox.app import create_app
from sandbox.ledger import Ledger
from sandbox.webhooks import Webhooks


class Settings(BaseSettings):
    """From the environment: `SANDBOX_HOST`, `SANDBOX_PORT` and so on."""

    model_config = SettingsConfigDict(env_prefix="SANDBOX_", env_ignore_empty=True)

    host: str = "127.0.0.1"
    port: int = 8090
    database: Path = Path("sandbox.db")
    webhook_url: str | None = None
    webhook_secret: str | None = None

    @model_validator(mode="after")
    def _webhooks_are_signed(self) -> Self:
        if self.webhook_url and not self.webhook_secret:
            raise ValueError("SANDBOX_WEBHOOK_URL needs SANDBOX_WEBHOOK_SECRET to sign with")
        return self


def main() -> None:
    # uvicorn shuts down on SIGTERM and then sends it itself again: this makes the second one a clean exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings()
    url, secret = settings.webhook_url, settings.webhook_secret
    webhooks = Webhooks(url, secret) if url and secret else None
    with closing(Ledger(settings.database)) as ledger:
        uvicorn.run(
            create_app(ledger, webhooks),
            host=settings.host,
            port=settings.port,
            http=Edge(Bounds()).protocol,
            ws="none",
            access_log=False,
            timeout_keep_alive=60,  # longer than clients keep theirs, or a call meets a closed connection
            timeout_graceful_shutdown=2,
        )


if __name__ == "__main__":
    main()
