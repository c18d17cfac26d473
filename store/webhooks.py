"""Webhooks of payment providers: news of a payment, and the order that it is for."""

from datetime import timedelta
from typing import NamedTuple

from chain.event import AnyEvent, EventTypes, id_of, source_of, type_of
from orders.events import PaymentArrivedLate
from orders.ports import PaymentNews
from store.database import Store, Transaction
from store.journal import record

LATE = "late-"  # with the id of its PaymentArrivedLate behind it, the id of the workflow that gives late money back


class News(NamedTuple):
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


class Webhooks(Store):
    async def keep(self, provider: str, news: PaymentNews, body: bytes) -> bool:
        """Stores a webhook, once; when it returns True the provider may be told so.

        False where another body came under its id before: that must not vanish.
        """
        row = await self._first(
            """
            INSERT INTO webhooks (provider, webhook_id, payment_id, status, body) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (provider, webhook_id) DO UPDATE SET body = webhooks.body  -- which waits, and gives it back
            RETURNING body = $5 AS same
            """,
            provider,
            news.webhook_id,
            news.payment_id,
            news.status,
            body,
        )
        assert row, "it was stored, now or before"
        return bool(row["same"])


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
                   AND coalesce(webhooks.status IN ('authorized', 'captured'), true) AS owed,
               webhooks.received_at < now() - $1::interval AS stale
        FROM webhooks
        LEFT JOIN payments USING (provider, payment_id)
        LEFT JOIN subjects ON subjects.subject = payments.order_id
        WHERE handled_at IS NULL AND look_at <= now()
        ORDER BY look_at, webhooks.position LIMIT 100
        """,
        stale_after,
    )
    return [News(**row) for row in rows]


async def put_away(connection: Transaction, news: News, *, handled: bool) -> None:
    """For ever, or for a part of the time that it has waited, so that it is in nobody's way."""
    await connection.execute(
        """
        UPDATE webhooks SET look_at = now() + least(interval '1 minute', (now() - received_at) / 4),
                            handled_at = CASE WHEN $2 THEN now() END
        WHERE position = $1
        """,
        news.position,
        handled,
    )


async def arrived_late(connection: Transaction, news: News, types: EventTypes) -> AnyEvent:
    """Journals that money has come for an order that had ended without it, once: more news of it is the same money."""
    assert news.subject
    event = AnyEvent(
        id=id_of(news.subject, "late"),
        source=source_of("webhooks"),
        type=type_of(PaymentArrivedLate),
        subject=news.subject,
        time=await connection.fetchval("SELECT now()"),
        data={"payment_id": news.payment_id},
    )
    await record(connection, [event], types)
    return event
