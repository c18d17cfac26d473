"""The trace context of each subject: that of the request which it was accepted with, if there was one."""

from collections.abc import Mapping, Sequence

from store.database import Pool, connected


async def traceparents(pool: Pool, subjects: Sequence[str]) -> dict[str, str]:
    """The W3C `traceparent` of each subject that has one."""
    async with connected(pool) as connection:
        rows = await connection.fetch(
            "SELECT subject, traceparent FROM subjects WHERE subject = ANY($1::text[]) AND traceparent IS NOT NULL",
            subjects,
        )
    return {row["subject"]: row["traceparent"] for row in rows}


async def keep(pool: Pool, traceparents: Mapping[str, str]) -> set[str]:
    """For subjects that have none yet: which these were."""
    async with connected(pool) as connection:
        rows = await connection.fetch(
            """
            UPDATE subjects SET traceparent = given.traceparent
            FROM unnest($1::text[], $2::text[]) AS given (subject, traceparent)
            WHERE subjects.subject = given.subject AND subjects.traceparent IS NULL
            RETURNING subjects.subject
            """,
            [*traceparents],
            [*traceparents.values()],
        )
    return {row["subject"] for row in rows}
