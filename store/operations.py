"""What operators look at: which workflow has an order, what is parked, which refunds are owed."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict

from orders.words import Reason
from store.database import Pool, connected, transaction
from store.dispatch import DispatchBatch, take_alone, taken_with
from store.webhooks import LATE, REFUSALS


class Carried(NamedTuple):
    """A subject and the workflow that carries it, if one has taken it; `dispatched` once Temporal knows of it.

    `withdrawn`: the reason, if it was taken back.
    """

    chain: str
    status: str
    ended: bool
    workflow_id: str | None
    dispatched: bool
    withdrawn: str | None


class ParkedOrder(BaseModel):
    """An order, or another chain's subject, at a link where it waits for a person. `reason` groups what fails alike."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    stage: str
    link: str
    reason: str
    attempts: int
    last_error: str
    since: AwareDatetime
    workflow_id: str


class OwedRefund(BaseModel):
    """Money that is to be given back and is not yet, in minor units. `late`: it came after the order's end."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    payment_id: str
    amount: int
    currency: str
    reason: Reason
    since: AwareDatetime
    late: bool


class Carriage(NamedTuple):
    """What the database knows of an order beside its journal.

    `done`: the links that have worked on it, each with how many attempts it took; None for a single one.
    """

    workflow_id: str | None
    dispatched_at: datetime | None
    ended: bool
    traceparent: str | None
    done: Mapping[str, int | None]


class Operations:
    """`late_refund` is the link that gives late money back, `refund` the one that gives back a refused order's."""

    def __init__(self, pool: Pool, *, refund: str, late_refund: str) -> None:
        self._pool = pool
        self._refund = refund
        self._late_refund = late_refund

    async def carried(self, order_id: str) -> Carried | None:
        """None where nobody knows the order."""
        async with connected(self._pool) as connection:
            row = await connection.fetchrow(
                """
                SELECT chain, status, ended_at IS NOT NULL AS ended, workflow_id,
                       dispatched_at IS NOT NULL AS dispatched,
                       (
                           SELECT data ->> 'reason' FROM journal
                           WHERE journal.subject = subjects.subject AND type = 'lanka.OrderWithdrawn' LIMIT 1
                       ) AS withdrawn
                FROM subjects WHERE subject = $1
                """,
                order_id,
            )
        return Carried(**row) if row else None

    async def carriage(self, order_id: str) -> Carriage | None:
        """None where nobody knows the order."""
        async with connected(self._pool) as connection:
            row = await connection.fetchrow(
                """
                SELECT workflow_id, dispatched_at, ended_at IS NOT NULL AS ended, traceparent,
                       (SELECT coalesce(jsonb_object_agg(link, attempts), '{}')
                        FROM claims WHERE claims.subject = subjects.subject) AS done
                FROM subjects WHERE subject = $1
                """,
                order_id,
            )
        return Carriage(**row) if row else None

    async def taken(self, order_id: str, workflow_id: str) -> DispatchBatch:
        """The batch that the order travels in; if none has taken it yet, it goes alone, in this workflow."""
        async with transaction(self._pool) as tx:
            await take_alone(tx, order_id, workflow_id)
            return await taken_with(tx, order_id)

    async def parked(
        self, *, order_id: str | None = None, stage: str | None = None, reason: str | None = None, limit: int
    ) -> list[ParkedOrder]:
        """What waits for a person, oldest first. An order may wait at two links side by side.

        Not by status: an order released at one of them has another status, and money that comes after the end changes
        none.
        """
        async with connected(self._pool) as connection:
            rows = await connection.fetch(
                """
                WITH carried AS (
                    SELECT subject, workflow_id FROM subjects WHERE ended_at IS NULL
                    UNION ALL
                    SELECT subject, $6 || id FROM journal AS late
                    WHERE type = 'lanka.PaymentArrivedLate'
                      AND NOT EXISTS (SELECT FROM claims WHERE claims.subject = late.subject AND link = $1)
                )
                SELECT parked.data || jsonb_build_object('order_id', carried.subject, 'workflow_id', workflow_id)
                       AS told, parked.time AS since
                -- LATERAL with an OFFSET: a look into the index for each open order. Left to itself a prepared plan
                -- compares everything with everything.
                FROM carried CROSS JOIN LATERAL (
                    SELECT * FROM parkings WHERE parkings.subject = carried.subject OFFSET 0
                ) AS parked
                WHERE ($2::text IS NULL OR carried.subject = $2)
                  AND ($3::text IS NULL OR parked.data ->> 'stage' = $3)
                  AND ($4::text IS NULL OR parked.data ->> 'reason' = $4)
                ORDER BY parked.position LIMIT $5
                """,
                self._late_refund,
                order_id,
                stage,
                reason,
                limit,
                LATE,
            )
        return [ParkedOrder.model_validate({**row["told"], "since": row["since"]}) for row in rows]

    async def refunds(self) -> list[OwedRefund]:
        """Every refund that is owed, oldest first."""
        async with connected(self._pool) as connection:
            rows = await connection.fetch(
                """
                WITH owed AS (
                    SELECT subject, NULL AS since, false AS late
                    FROM subjects CROSS JOIN LATERAL (
                        SELECT FROM journal AS refusal
                        WHERE refusal.subject = subjects.subject AND type IN (  -- the index journal_turns
                            'lanka.PaymentDeclined', 'lanka.CartUnavailable', 'lanka.PriceChanged',
                            'lanka.OrderWithdrawn'
                          )
                          AND NOT EXISTS (SELECT FROM claims WHERE claims.subject = refusal.subject AND link = $1)
                        LIMIT 1
                    ) AS refused
                    WHERE ended_at IS NULL
                    UNION ALL
                    SELECT subject, time, true FROM journal AS arrived
                    WHERE type = 'lanka.PaymentArrivedLate'
                      AND NOT EXISTS (SELECT FROM claims WHERE claims.subject = arrived.subject AND link = $2)
                )
                SELECT subject AS order_id, coalesce(payments.payment_id, orders.payment_id) AS payment_id,
                       coalesce(amount, total) AS amount, coalesce(payments.currency, orders.currency) AS currency,
                       refusal.reason, coalesce(since, refusal.time) AS since, late
                FROM owed JOIN orders ON orders.order_id = owed.subject
                LEFT JOIN payments ON payments.order_id = owed.subject
                CROSS JOIN LATERAL (
                    SELECT data ->> 'reason' AS reason, time, type FROM journal
                    WHERE journal.subject = owed.subject AND type = ANY($3::text[]) ORDER BY position LIMIT 1
                ) AS refusal
                -- An order taken back before it was checked holds no payment yet, but may be paid.
                WHERE late OR coalesce(payments.state <> 'refunded', refusal.type = 'lanka.OrderWithdrawn')
                ORDER BY since
                """,
                self._refund,
                self._late_refund,
                REFUSALS,
            )
        return [OwedRefund.model_validate(dict(row)) for row in rows]
