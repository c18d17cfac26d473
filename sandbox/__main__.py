"""The sandbox payment provider, a separate program: `python -m sandbox`."""

import signal
import sys
from contextlib import closing

import uvicorn

from edge.bounds import Bounds
from edge.protocol import Edge
from sandbox.app import create_app
from sandbox.ledger import Ledger
from sandbox.settings import load_settings
from sandbox.webhooks import Webhooks


def main() -> None:
    # uvicorn shuts down on SIGTERM and then sends it itself again: this makes the second one a clean exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = load_settings()
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
            workers=1,  # WEB_CONCURRENCY and FORWARDED_ALLOW_IPS are for others
            proxy_headers=False,
            timeout_keep_alive=60,  # longer than clients keep theirs, or a call meets a closed connection
            timeout_graceful_shutdown=2,
        )


if __name__ == "__main__":
    main()
