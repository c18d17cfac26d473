"""Webhooks of payment providers: news of a payment, and the order that it is for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from chain.event import EventTypes, id_of, source_of
from orders.events import PaymentArrivedLate
from store.database import Pool, Transaction, connected
from store.journal import record

LATE = "late-"
"""With the id of its PaymentArrivedLate behind it, the id of the workflow that gives late money back."""


@dataclass(frozen=True)
class News:
    """One webhook. `subject` is the order whose payment it is about, if one has claimed it; `workflow_id` carries it.

    `refused`: the order is on its way back, or has ended that way. `owed`: there is money, and it is not refunded.
    """

    position: int
    payment_id: str
    subject: str | None
    workflow_id: str | None
    ended: bool
    refused: bool
    owed: bool
    stale: bool


class Webhooks:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def keep(self, provider: str, webhook_id: str, payment_id: str, payload: dict[str, Any]) -> None:
        """Stores a webhook, once; when it returns the provider may be told so."""
        async with connected(self._pool) as connection:
            await connection.execute(
                """
                INSERT INTO webhooks (provider, webhook_id, payment_id, payload) VALUES ($1, $2, $3, $4)
                ON CONFLICT DO NOTHING
                """,
                provider,
                webhook_id,
                payment_id,
                payload,
            )


async def unhandled(connection: Transaction, *, stale_after: timedelta) -> list[News]:
    """The news that are due and not acted on yet. Those older than `stale_after` are stale: no order wants them."""
    rows = await connection.fetch(
        """
        SELECT webhooks.position, webhooks.payment_id, subjects.subject, subjects.workflow_id,
               coalesce(subjects.ended_at IS NOT NULL, false) AS ended,
               EXISTS (
                   SELECT FROM journal
                   WHERE journal.subject = subjects.subject AND kind IN ('refusal', 'withdrawal')
               ) AS refused,
               coalesce(payments.state <> 'refunded', false)
                   AND coalesce(payload -> 'data' ->> 'status' IN ('authorized', 'captured'), true) AS owed,
               webhooks.received_at < now() - $1::interval AS stale
        FROM webhooks
        LEFT JOIN payments USING (provider, payment_id)
        LEFT JOIN subjects ON subjects.subject = payments.order_id
        WHERE handled_at IS NULL AND look_at <= now()
        ORDER BY look_at, webhooks.position LIMIT 100
        """,
        stale_after,
    )
    return [News(**dict(row)) for row in rows]


async def put_off(connection: Transaction, news: Sequence[News]) -> None:
    """They are looked at again after a part of the time that they have waited, so that they are in nobody's way."""
    await connection.execute(
        """
        UPDATE webhooks SET look_at = now() + least(interval '1 minute', (now() - received_at) / 4)
        WHERE position = ANY($1::bigint[])
        """,
        [each.position for each in news],
    )


async def mark_handled(connection: Transaction, news: Sequence[News]) -> None:
    await connection.execute(
        "UPDATE webhooks SET handled_at = now() WHERE position = ANY($1::bigint[])", [each.position for each in news]
    )


async def arrived_late(connection: Transaction, news: News, types: EventTypes) -> PaymentArrivedLate:
    """Journals that money has come for an order that had ended without it, once: more news of it is the same money."""
    assert news.subject
    async with connection.transaction():
        now = await connection.fetchval("SELECT now()")
        event = PaymentArrivedLate(
            id=id_of(news.subject, "late"),
            source=source_of("webhooks"),
            subject=news.subject,
            time=now,
            data={"payment_id": news.payment_id},
        )
        await record(connection, [event], types)
    return event
