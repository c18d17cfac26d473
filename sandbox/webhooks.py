"""Tells the shop how a pending payment was decided: Standard Webhooks (https://www.standardwebhooks.com)."""

import json
import logging
from datetime import UTC, datetime

import httpx
import stamina
from standardwebhooks import Webhook
from ulid import ULID

from sandbox.ledger import Payment

TRIES = 5

log = logging.getLogger("uvicorn.error")


class Webhooks:
    """Sends in the background and from memory: what a killed process had not delivered is not sent again."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._webhook = Webhook(secret)

    async def send(self, payment: Payment) -> None:
        event_id, now = f"msg_{ULID()}", datetime.now(UTC)
        data = {"payment_id": payment.id, "status": payment.status}
        body = json.dumps({"type": f"payment.{payment.status}", "timestamp": now.isoformat(), "data": data})
        try:
            async for attempt in stamina.retry_context(on=httpx.HTTPError, attempts=TRIES, timeout=None):
                with attempt:
                    await self._post(event_id, body)
        except httpx.HTTPError as error:
            log.warning("webhook %s for payment %s given up: %r", event_id, payment.id, error)

    async def _post(self, event_id: str, body: str) -> None:
        sent_at = datetime.now(UTC)  # signed anew for each try: receivers refuse what is older than five minutes
        headers = {
            "content-type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": self._webhook.sign(event_id, sent_at, body),
        }
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            (await client.post(self._url, content=body, headers=headers)).raise_for_status()
