"""Delivers what follows the first event of a subject to the workflow that carries it, in the order it was stored."""

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dispatch.lost_workflows import COMPLETED, give_up, why_gone
from dispatch.temporal import signal_with_start
from store.database import Transaction
from store.dispatch import DispatchBatch
from store.intake import Message, mark_delivered, undelivered
from store.lost_workflows import waits_for_another
from workflows.chains import CHAINS

log = structlog.get_logger()


async def deliver_messages(connection: Transaction, client: Client) -> None:
    """At least once. One that follows the end of its workflow starts another run of it."""
    for message in await undelivered(connection, [*CHAINS]):
        try:
            delivered = await _deliver(connection, client, message)
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            log.exception("Temporal refuses a message", subject=message.subject)  # kept; the others are not held up
            continue
        if delivered:
            await mark_delivered(connection, message)


async def _deliver(connection: Transaction, client: Client, message: Message) -> bool:
    """False where it has to wait: its workflow is lost, and what it carried comes first."""
    handle = client.get_workflow_handle(message.workflow_id)
    signal, given = ("received", message.event) if message.event else ("news", message.subject)
    try:
        await handle.signal(signal, [given])
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        if message.event is None:
            return True  # it has ended, so nobody waits for news
    else:
        return True
    why = await why_gone(client, message.workflow_id)
    if why is None:
        return False  # another run has just begun
    if why != COMPLETED:
        async with connection.transaction():
            await give_up(connection, message.workflow_id, why)
            if await waits_for_another(connection, message.workflow_id):
                return False
    following = DispatchBatch(message.chain, message.workflow_id, message.version, [message.event], again=True)
    await signal_with_start(client, following)
    return True
