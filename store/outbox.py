"""The outbox: notifications for customers and shops, written in the transaction that makes it true."""

from collections.abc import Sequence

from pydantic_core import to_json

from chain.event import Event
from store.database import Transaction, columns


class Outbox:
    async def put(self, tx: Transaction, events: Sequence[Event[object]]) -> None:
        """One notification for each event; the sender comes later and works the table off."""
        await tx.execute(
            """
            INSERT INTO outbox (subject, type, data)
            SELECT subject, type, data::jsonb
            FROM unnest($1::text[], $2::text[], $3::text[]) AS given (subject, type, data)
            """,
            *columns([(event.subject, event.type, to_json(event.data).decode()) for event in events], 3),
        )
