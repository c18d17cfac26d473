"""The trace context of each subject: that of the request which it was accepted with."""

from collections.abc import Sequence

from store.database import Pool, connected


async def traceparents(pool: Pool, subjects: Sequence[str]) -> dict[str, str]:
    """The W3C `traceparent` of each subject that has one."""
    async with connected(pool) as connection:
        rows = await connection.fetch(
            "SELECT subject, traceparent FROM subjects WHERE subject = ANY($1::text[]) AND traceparent IS NOT NULL",
            subjects,
        )
    return {row["subject"]: row["traceparent"] for row in rows}
