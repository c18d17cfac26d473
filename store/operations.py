"""What operators look at: which workflow has a subject, what is parked, which refunds are owed, who leads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel

from store.database import Pool, Store, transaction
from store.dispatch import LEADER, DispatchBatch, take, taken_with
from store.webhooks import LATE


class Compensation(NamedTuple):
    """Names of the links of a chain that give money back: on the way `back`, and for what came `late`."""

    chain: str
    back: Sequence[str]
    late: Sequence[str]


class Carried(NamedTuple):
    """What the database knows of a subject beside its journal, and the workflow that carries it, if one has taken it.

    `dispatched_at`: since when Temporal knows of it. `withdrawn`: the reason, if it was taken back. `version`: None
    before it is taken. `done`: the links that have worked on it, each with its attempts; None for a single one.
    `seen_at`: when this was so, by PostgreSQL's clock as the other times.
    """

    chain: str
    status: str
    ended: bool
    workflow_id: str | None
    dispatched_at: datetime | None
    withdrawn: str | None
    version: int | None
    traceparent: str | None
    done: Mapping[str, int | None]
    seen_at: datetime


class ParkedSubject(BaseModel, frozen=True):
    """A parking: a subject at a link where it waits for a person. `reason` groups what fails alike, `earlier` counts
    the parkings before. `customer_id`, `amount` (in minor units) and `currency` are there for orders only.
    """

    id: str
    chain: str
    subject: str
    link: str
    reason: str
    attempts: int
    last_error: str
    since: AwareDatetime
    workflow_id: str
    earlier: int = 0
    customer_id: str | None = None
    amount: int | None = None
    currency: str | None = None


@dataclass(frozen=True, kw_only=True)
class WantedParkings:
    """Those that have all of what is given; `parking` is the id of one. Times are from `since` on, up to `before`."""

    subject: str | None = None
    parking: str | None = None
    chain: str | None = None
    links: Sequence[str] | None = None
    reason: str | None = None
    customer_id: str | None = None
    since: datetime | None = None
    before: datetime | None = None


class ParkedPage(NamedTuple):
    """Some of the parkings that match. `total` and `subjects` count all that do; `after` asks for the next page."""

    parked: Sequence[ParkedSubject]
    total: int
    subjects: int
    after: int | None


class OwedRefund(BaseModel, frozen=True):
    """Money that is to be given back and is not yet, in minor units. `late`: it came after the order's end.

    `amount` and `currency` are the payment's; the order's where it was taken back before its payment was checked.
    """

    order_id: str
    payment_id: str
    amount: int
    currency: str
    reason: str
    since: AwareDatetime
    late: bool


class Reconciled(NamedTuple):
    at: datetime
    discrepancies: int


class Operations(Store):
    def __init__(self, pool: Pool, compensation: Compensation) -> None:
        super().__init__(pool)
        self._compensation = compensation

    async def carried(self, subject: str) -> Carried | None:
        """None where nobody knows the subject."""
        row = await self._first(
            """
            SELECT chain, status_shown(status, dispatched_at) AS status, ended_at IS NOT NULL AS ended, workflow_id,
                   dispatched_at, version, traceparent, now() AS seen_at,
                   (
                       SELECT data ->> 'reason' FROM journal
                       WHERE journal.subject = subjects.subject AND kind = 'withdrawal' LIMIT 1
                   ) AS withdrawn,
                   (
                       SELECT coalesce(jsonb_object_agg(link, attempts), '{}')
                       FROM claims WHERE claims.subject = subjects.subject
                   ) AS done
            FROM subjects WHERE subject = $1
            """,
            subject,
        )
        return Carried(**row) if row else None

    async def taken(self, subject: str, workflow_id: str, version: int) -> DispatchBatch:
        """The batch that the subject travels in; if none has taken it yet, it goes alone, in this workflow."""
        async with transaction(self._pool) as tx:
            await take(tx, [subject], workflow_id, version)
            return await taken_with(tx, subject)

    async def parked(self, wanted: WantedParkings, *, after: int = 0, limit: int) -> ParkedPage:
        """What waits for a person, oldest first, behind the place `after`: a page stays what it is while others go on.

        Not by status: a subject released at one of two links has another status, and money that comes after the end
        changes none.
        """
        of_chain, _, late = self._compensation
        rows = await self._fetch(_PARKED, late, of_chain, *vars(wanted).values(), after, limit + 1, LATE)
        listed = [row for row in rows if row["id"]]
        page = [ParkedSubject(**row) for row in listed[:limit]]
        last = listed[limit - 1]["position"] if len(listed) > limit else None
        return ParkedPage(page, rows[0]["total"], rows[0]["subjects"], last)

    async def refunds(self) -> list[OwedRefund]:
        """Every refund that is owed, oldest first."""
        rows = await self._fetch(
            """
            WITH owed AS (
                SELECT subject, NULL AS since, false AS late
                FROM subjects CROSS JOIN LATERAL (  -- by the index journal_turns
                    SELECT FROM journal AS refusal
                    WHERE refusal.subject = subjects.subject AND kind IN ('refusal', 'withdrawal')
                    LIMIT 1
                ) AS refused
                WHERE ended_at IS NULL AND NOT $1::text[] <@ ARRAY(
                    SELECT link FROM claims WHERE claims.subject = subjects.subject
                )
                UNION ALL
                SELECT subject, time, true FROM late_events($3, $2)
            )
            SELECT subject AS order_id, coalesce(payments.payment_id, orders.payment_id) AS payment_id,
                   coalesce(amount, total) AS amount, coalesce(payments.currency, orders.currency) AS currency,
                   refusal.reason, coalesce(since, refusal.time) AS since, late
            FROM owed JOIN orders ON orders.order_id = owed.subject
            LEFT JOIN payments ON payments.order_id = owed.subject
            CROSS JOIN LATERAL (
                SELECT data ->> 'reason' AS reason, time, kind FROM journal
                WHERE journal.subject = owed.subject AND kind IN ('refusal', 'withdrawal')
                ORDER BY kind = 'withdrawal' DESC, position LIMIT 1
            ) AS refusal
            -- An order taken back before it was checked holds no payment yet, but may be paid.
            WHERE late OR coalesce(payments.state <> 'refunded', refusal.kind = 'withdrawal')
            ORDER BY since
            """,
            self._compensation.back,
            self._compensation.late,
            self._compensation.chain,
        )
        return [OwedRefund(**row) for row in rows]

    async def dispatcher_leads(self) -> bool:
        """Whether some process holds the dispatcher's lead."""
        row = await self._first(
            """
            SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND classid = 0 AND objid = $1::bigint::oid AND objsubid = 1 AND granted
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """,
            LEADER,
        )
        return row is not None

    async def reconciled(self) -> Reconciled | None:
        """The last reconciliation; None where there was none."""
        row = await self._first(
            "SELECT finished_at AS at, total AS discrepancies FROM reconciliations ORDER BY position DESC LIMIT 1"
        )
        return Reconciled(**row) if row else None


_PARKED = """
    WITH carried AS (
        SELECT subject, workflow_id FROM subjects
        WHERE ended_at IS NULL AND dispatched_at IS NOT NULL AND ($3::text IS NULL OR subject = $3)
        UNION ALL
        SELECT subject, $13 || id FROM late_events($2, $1) WHERE ($3::text IS NULL OR subject = $3)
    ), matching AS MATERIALIZED (
        SELECT parked.position, parked.id, chain, carried.subject, parked.data ->> 'link' AS link,
               parked.data ->> 'reason' AS reason, (parked.data ->> 'attempts')::integer AS attempts,
               parked.data ->> 'last_error' AS last_error, parked.time AS since, carried.workflow_id,
               ordered.customer_id, ordered.total AS amount, ordered.currency
        FROM carried JOIN subjects USING (subject)
        -- LATERAL with an OFFSET: a look into the index for each open subject. Left to itself a prepared plan
        -- compares everything with everything.
        CROSS JOIN LATERAL (SELECT * FROM parkings WHERE parkings.subject = carried.subject OFFSET 0) AS parked
        LEFT JOIN LATERAL (SELECT * FROM orders WHERE order_id = carried.subject LIMIT 1) AS ordered ON true
        WHERE ($4::text IS NULL OR parked.id = $4)
          AND ($5::text IS NULL OR chain = $5)
          AND ($6::text[] IS NULL OR parked.data ->> 'link' = ANY($6))
          AND ($7::text IS NULL OR parked.data ->> 'reason' = $7)
          AND ($8::text IS NULL OR ordered.customer_id = $8)
          AND ($9::timestamptz IS NULL OR parked.time >= $9)
          AND ($10::timestamptz IS NULL OR parked.time < $10)
    )
    SELECT counted.total, counted.subjects, page.*, (
        SELECT count(*) FROM journal
        WHERE journal.subject = page.subject AND kind = 'parked' AND journal.position < page.position
    ) AS earlier
    FROM (SELECT count(*) AS total, count(DISTINCT subject) AS subjects FROM matching) AS counted
    LEFT JOIN (SELECT * FROM matching WHERE position > $11 ORDER BY position LIMIT $12) AS page ON true
    ORDER BY page.position
"""
