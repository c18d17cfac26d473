"""Acts on the webhooks that were stored: wakes the order that waits, or has money given back that came too late."""

from contextlib import suppress
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from dispatch.temporal import signal_with_start
from store.database import Transaction
from store.dispatch import DispatchBatch
from store.orders import CHAIN
from store.webhooks import LATE, News, arrived_late, put_away, unhandled
from workflows.chains import CHAINS, TYPES
from workflows.connect import AWAY

log = structlog.get_logger()

STALE_AFTER = timedelta(minutes=1)
"""News of a payment that no order has claimed by then is for none: one that comes later asks the provider itself."""


async def deliver_news(connection: Transaction, client: Client) -> None:
    """A webhook is only a hint. The consumers ask the provider what is true."""
    for news in await unhandled(connection, stale_after=STALE_AFTER):
        # One by one: what was signalled must not be signalled again because of what comes after it.
        await put_away(connection, news, handled=await _delivered(connection, client, news))


async def _delivered(connection: Transaction, client: Client, news: News) -> bool:
    try:
        return await _deliver(connection, client, news)
    except RPCError as error:
        if error.status in AWAY:
            raise
        log.warning("Temporal refuses news", payment_id=news.payment_id, workflow_id=news.workflow_id, error=str(error))
        return False


async def _deliver(connection: Transaction, client: Client, news: News) -> bool:
    """Whether nothing remains to be done."""
    if news.subject is None:
        return news.stale
    if news.refused:
        if not news.ended:
            return False  # its own refund may still take the money; if not, it came too late
        if news.owed:
            await _give_back(connection, client, news)
        return True
    if news.ended or news.workflow_id is None:
        return news.ended
    try:
        await client.get_workflow_handle(news.workflow_id).signal("news", [news.subject])
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False  # it has just ended; the next look sees how
        raise
    return True


async def _give_back(connection: Transaction, client: Client, news: News) -> None:
    event = await arrived_late(connection, news, TYPES)
    batch = DispatchBatch(CHAIN, LATE + event.id, CHAINS[CHAIN].table.version, [event])
    with suppress(WorkflowAlreadyStartedError):
        await signal_with_start(client, batch, static_summary=f"late payment {news.payment_id}")
