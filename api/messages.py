"""Delivers what follows the first event of a subject to the workflow that carries it, in the order it was stored."""

import structlog
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from api.temporal import tell
from store.database import Transaction
from store.intake import Message, mark_delivered, undelivered
from workflows.chains import CHAINS

log = structlog.get_logger()


async def deliver_messages(connection: Transaction, client: Client) -> None:
    """At least once. One that follows the end of its workflow starts another run of it."""
    for message in await undelivered(connection, [*CHAINS]):
        try:
            await _deliver(client, message)
        except RPCError as error:
            if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                raise
            log.exception("Temporal refuses a message", subject=message.subject)  # kept; the others are not held up
            continue
        await mark_delivered(connection, [message])


async def _deliver(client: Client, message: Message) -> None:
    chain = CHAINS[message.chain]
    if message.event is not None:
        await tell(
            client,
            chain,
            [message.event],
            id=message.workflow_id,
            task_queue=chain.queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            search_attributes=chain.attributes([message.event]),
            static_summary=f"{message.event.type.removeprefix('lanka.')} of {message.subject}",
        )
        return
    try:
        await client.get_workflow_handle(message.workflow_id).signal("news", [message.subject])
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended, so nobody waits for news
            raise
