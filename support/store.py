"""Support: who can help, who is calling, and who is connected to whom."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from store.database import Store, Transaction, columns, transaction
from store.intake import wake
from support.events import AssignedCall, StartedCall

_MATCHING = 6_012_028  # one matching at a time, so that the oldest caller comes first everywhere


class Operator(BaseModel, frozen=True):
    """An operator, the languages spoken, the skills, and whether calls are taken now."""

    operator_id: str
    name: str
    languages: Sequence[str]
    skills: Sequence[str]
    available: bool


class KnownOperator(Operator):
    """`busy`: the id of the call that the operator is in, or None."""

    busy: str | None


class Support(Store):
    async def put(self, operator: Operator) -> None:
        """Creates or changes an operator; somebody who waits may be assigned to them at once."""
        async with transaction(self._pool) as tx:
            await tx.execute(
                """
                INSERT INTO operators (operator_id, name, languages, skills, available) VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (operator_id) DO UPDATE SET name = excluded.name, languages = excluded.languages,
                    skills = excluded.skills, available = excluded.available
                """,
                *dict(operator).values(),  # in the order in which they are declared
            )
            await wake(tx, await _match(tx))

    async def operators(self) -> list[KnownOperator]:
        """All, by their ids."""
        rows = await self._fetch(
            """
            SELECT operators.*, call_id AS busy
            FROM operators LEFT JOIN calls ON calls.operator_id = operators.operator_id AND ended_at IS NULL
            ORDER BY operator_id
            """
        )
        return [KnownOperator(**row) for row in rows]

    async def assign(self, calls: Mapping[str, StartedCall]) -> dict[str, AssignedCall | None]:
        """Notes the calls (call id -> call) and assigns all that can be, the oldest caller first.

        Returns those of `calls` that have their operator, and None for those that ended without; the others wait.
        Safe to repeat.
        """
        async with transaction(self._pool) as tx:
            await tx.execute(
                """
                INSERT INTO calls (call_id, customer_id, language, skill)
                SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) ORDER BY 1 ON CONFLICT DO NOTHING
                """,
                *columns([(call_id, c.customer_id, c.language, c.skill) for call_id, c in calls.items()], 4),
            )
            await wake(tx, [call_id for call_id in await _match(tx) if call_id not in calls])
            return await _assigned(tx, list(calls))

    async def end(self, tx: Transaction, call_ids: Sequence[str]) -> None:
        """Frees the operators of these calls, whose end is in the journal, for those who wait."""
        await wake(tx, [*call_ids, *await _match(tx)])


async def _match(tx: Transaction) -> list[str]:
    """Gives each waiting caller, the oldest first, the least busy operator who can help and is free."""
    await tx.execute("SELECT pg_advisory_xact_lock($1)", _MATCHING)
    # By the journal, as the end of a call may overtake its beginning. The statement's time, as that of the
    # transaction is from before the lock: an operator would seem to have two calls at once.
    await tx.execute(
        """
        UPDATE calls SET ended_at = statement_timestamp() FROM journal
        WHERE calls.ended_at IS NULL AND journal.subject = call_id AND kind = 'end'
        """
    )
    free = await tx.fetch(
        """
        SELECT operator_id, languages, skills FROM operators
        WHERE available AND NOT EXISTS (
            SELECT FROM calls WHERE calls.operator_id = operators.operator_id AND ended_at IS NULL
        )
        ORDER BY (
            SELECT count(*) FROM calls
            WHERE calls.operator_id = operators.operator_id AND assigned_at > now() - interval '8 hours'
        ), operator_id
        """
    )
    if not free:
        return []
    waiting = await tx.fetch(
        """
        SELECT call_id, language, skill FROM calls JOIN subjects ON subjects.subject = call_id
        WHERE operator_id IS NULL AND calls.ended_at IS NULL
        ORDER BY subjects.position
        """
    )
    matched: list[tuple[str, str]] = []
    for call_id, language, skill in waiting:
        able = next((each for each in free if language in each["languages"] and skill in each["skills"]), None)
        if able:
            free.remove(able)
            matched.append((call_id, able["operator_id"]))
        if not free:
            break
    await tx.execute(
        """
        UPDATE calls SET operator_id = matched.operator_id, assigned_at = statement_timestamp()
        FROM unnest($1::text[], $2::text[]) AS matched (call_id, operator_id)
        WHERE calls.call_id = matched.call_id
        """,
        *columns(matched, 2),
    )
    return [call_id for call_id, _ in matched]


async def _assigned(tx: Transaction, call_ids: Sequence[str]) -> dict[str, AssignedCall | None]:
    rows = await tx.fetch(
        """
        SELECT call_id, operator_id, '/orders/' || order_id AS order, troubled.status AS order_status,
               troubled.reason AS order_reason
        FROM calls
        LEFT JOIN LATERAL (
            SELECT order_id, status,
                   (
                       SELECT data ->> 'reason' FROM journal
                       WHERE journal.subject = order_id AND data ? 'reason'
                       ORDER BY journal.position DESC LIMIT 1
                   ) AS reason
            FROM orders JOIN subjects ON subjects.subject = order_id
            WHERE orders.customer_id = calls.customer_id AND status IN ('parked', 'rejected')
            ORDER BY status = 'parked' DESC, order_id DESC LIMIT 1  -- what somebody can still help with
        ) AS troubled ON true
        WHERE call_id = ANY($1::text[]) AND (operator_id IS NOT NULL OR calls.ended_at IS NOT NULL)
        """,
        call_ids,
    )
    calls = {row.pop("call_id"): row for row in map(dict, rows)}
    return {call_id: AssignedCall(**call) if call["operator_id"] else None for call_id, call in calls.items()}
