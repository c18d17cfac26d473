"""Payments: which order each payment serves, and what became of the money."""

from collections.abc import Mapping, Sequence

from orders.payment import Payment, PaymentStatus
from store.database import Store, Transaction, columns, transaction


class Payments(Store):
    async def claim(self, tx: Transaction, wanted: Mapping[str, Payment]) -> set[str]:
        """Takes each payment for its order (order id -> payment), the earlier order first.

        Returns the orders that have their payment; the others came too late, it serves another order.
        """
        rows = [(order_id, p.provider, p.payment_id, p.amount, p.currency, _state(p)) for order_id, p in wanted.items()]
        claimed = await tx.fetch(
            """
            INSERT INTO payments (order_id, provider, payment_id, amount, currency, state)
            SELECT order_id, provider, payment_id, amount, currency, state
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])
                WITH ORDINALITY AS wanted (order_id, provider, payment_id, amount, currency, state, nth)
            ORDER BY provider, payment_id, nth  -- one order of locks, and the earliest order first
            ON CONFLICT DO NOTHING
            RETURNING order_id
            """,
            *columns(rows, 6),
        )
        mine = {row["order_id"] for row in claimed}
        if len(mine) < len(wanted):
            # A payment that was pending was claimed when the order began to wait for it.
            held = await tx.fetch(
                """
                UPDATE payments SET state = wanted.state, amount = wanted.amount, currency = wanted.currency
                FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])
                    AS wanted (order_id, provider, payment_id, amount, currency, state)
                WHERE payments.provider = wanted.provider AND payments.payment_id = wanted.payment_id
                  AND payments.order_id = wanted.order_id AND payments.state <> 'refunded'
                RETURNING payments.order_id
                """,
                *columns([row for row in rows if row[0] not in mine], 6),
            )
            mine |= {row["order_id"] for row in held}
        return mine

    async def of_orders(self, order_ids: Sequence[str]) -> dict[str, Payment]:
        """The payment each order holds, as far as we know it; an order without one is left out."""
        rows = await self._fetch(
            """
            SELECT order_id, provider, payment_id, amount, currency,
                   CASE state WHEN 'held' THEN 'authorized' ELSE state END AS status
            FROM payments WHERE order_id = ANY($1::text[])
            """,
            order_ids,
        )
        return {row.pop("order_id"): Payment(**row) for row in map(dict, rows)}

    async def named_by(self, order_ids: Sequence[str]) -> dict[str, str]:
        """The payment that each order names, whether it has it or not: order id -> payment id."""
        rows = await self._fetch("SELECT order_id, payment_id FROM orders WHERE order_id = ANY($1::text[])", order_ids)
        return {row["order_id"]: row["payment_id"] for row in rows}

    async def claim_alone(self, order_id: str, payment: Payment) -> bool:
        """`claim` for one order that goes back, in its own transaction; not while another order may still want it."""
        async with transaction(self._pool) as tx:
            await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", payment.payment_id)
            wanted = await tx.fetchval(
                """
                SELECT EXISTS (
                    SELECT FROM orders JOIN subjects ON subjects.subject = orders.order_id
                    WHERE payment_id = $1 AND order_id <> $2 AND ended_at IS NULL AND NOT EXISTS (
                        SELECT FROM journal  -- by the index journal_turns
                        WHERE journal.subject = order_id AND kind IN ('refusal', 'withdrawal')
                    )
                )
                """,
                payment.payment_id,
                order_id,
            )
            return not wanted and order_id in await self.claim(tx, {order_id: payment})

    async def became(self, tx: Transaction, order_ids: Sequence[str], status: PaymentStatus) -> None:
        """Notes what became of the payments of these orders."""
        await tx.execute(
            "UPDATE payments SET state = $2 WHERE order_id = ANY($1::text[])",
            order_ids,
            _STATE.get(status, "held"),
        )


_STATE = {PaymentStatus.CAPTURED: "captured", PaymentStatus.REFUNDED: "refunded"}


def _state(payment: Payment) -> str:
    return _STATE.get(payment.status, "held")
