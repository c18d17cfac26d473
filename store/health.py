"""What PostgreSQL says of itself, for those who ask whether Lanka can work with it."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from store.database import Pool, Store, connected

HEAD = "baseline_1"
"""The newest migration: what a database has to be at. (Alembic knows it too, and takes long to import.)"""

_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
_APPENDED_ONLY = ("journal", "chain_schemas")


class Server(NamedTuple):
    """`ahead`: by how many seconds at least PostgreSQL's clock is before that of this host; negative: behind it.

    `revisions` are those of the migrations, none where there were none; `chains`: whose own schema was executed.
    """

    version: str
    number: int
    standby: bool
    ahead: float
    ours: bool
    revisions: Sequence[str]
    chains: frozenset[str]


class Health(Store):
    """`clock`: this host's, in seconds since 1970."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = time.time) -> None:
        super().__init__(pool)
        self._clock = clock

    async def server(self) -> Server:
        async with connected(self._pool) as connection:
            before = self._clock()
            now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
            after = self._clock()
            row = await connection.fetchrow(
                """
                SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
                       current_setting('server_version_num')::integer AS number,
                       pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS standby,
                       to_regclass('subjects') IS NOT NULL AS ours,
                       has_table_privilege(to_regclass('alembic_version'), 'SELECT') AS versioned,
                       has_table_privilege(to_regclass('chain_schemas'), 'SELECT') AS chained
                """
            )
            assert row
            revisions = await connection.fetch("SELECT version_num FROM alembic_version") if row["versioned"] else []
            chains = await connection.fetch("SELECT name FROM chain_schemas") if row["chained"] else []
        return Server(
            row["version"],
            row["number"],
            row["standby"],
            max(now - after, 0.0) or min(now - before, 0.0),
            row["ours"],
            [each["version_num"] for each in revisions],
            frozenset(each["name"] for each in chains),
        )

    async def lacking(self, schemas: Iterable[str] = ()) -> list[str]:
        """The privileges that are missing, `UPDATE on subjects`. `schemas`: SQL of chains, whose tables count too."""
        tables = [name for sql in (_schema(), *schemas) for name in _TABLE.findall(sql)]
        rows = await self._fetch(
            """
            SELECT privilege || ' on ' || name AS lacking
            FROM unnest($1::text[]) WITH ORDINALITY AS tables (name, nth)
            CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) WITH ORDINALITY AS privileges (privilege, kind)
            WHERE has_table_privilege(to_regclass(name), privilege) IS FALSE
              AND (privilege <> 'DELETE' OR name = 'sessions') AND NOT (privilege = 'UPDATE' AND name = ANY($2::text[]))
            UNION ALL
            SELECT 'USAGE on order_numbers'
            WHERE has_sequence_privilege(to_regclass('order_numbers'), 'USAGE') IS FALSE
            """,
            tables,
            _APPENDED_ONLY,
        )
        return [row["lacking"] for row in rows]


def _schema() -> str:
    return (Path(__file__).parent / "schema.sql").read_text()
