"""The operators' funnel with a million events in the journal: how long one answer takes that knows nothing before."""

import time
from datetime import UTC, datetime, timedelta

from api.funnel import Counts
from api.known_subject import MOVES_WITHIN
from benchmarks.figures import Latency, Session
from benchmarks.machine import Servers
from store.database import Pool, open_pool
from store.overview import Overview
from telemetry.exposition import compensation

FUNNEL = "funnel"
"""Stands where the other sessions name their system."""

ENDED, RUNNING = 125_000, 10_000
"""Orders; one that has ended has eight events."""

ANSWERS = 21
WINDOW = timedelta(hours=100)


async def measured(servers: Servers, nth: int) -> Session:
    """On a database of its own, while nothing else of the run is at work."""
    async with servers.bench(temporal=None) as bench, open_pool(bench.database_url) as pool:
        await plant(pool, ENDED, RUNNING)
        await counted(Counts(pool, standing_in(pool)), pool)
        seconds = [await _answer(pool) for _ in range(ANSWERS)]
    return Session(system=FUNNEL, round=nth, funnel=Latency.of(seconds))


async def _answer(pool: Pool) -> float:
    now = datetime.now(UTC)
    began = time.perf_counter()
    told = await Counts(pool, standing_in(pool)).funnel("orders", now - WINDOW, now, "en")
    told.model_dump_json()
    return time.perf_counter() - began


def standing_in(pool: Pool) -> Overview:
    return Overview(pool, moves_within=MOVES_WITHIN, compensation=compensation())


async def counted(counts: Counts, pool: Pool) -> None:
    """Until all that is in the journal now is counted."""
    newest = await pool.fetchval("SELECT max(position) FROM journal")
    while await pool.fetchval("SELECT counted FROM link_hours_progress") < newest:
        await count_step(counts, pool)


async def count_step(counts: Counts, pool: Pool) -> None:
    await pool.execute("UPDATE link_hours_progress SET at = at - interval '1 minute'")
    await counts.store.count_on()


async def plant(pool: Pool, ended: int, running: int) -> None:
    """Orders of the last days that were confirmed, and some that stand at one of four places; those not there yet."""
    subjects = """
        INSERT INTO subjects (subject, chain, status, received_at, workflow_id, taken_at, dispatched_at, ended_at)
        SELECT $1 || lpad(n::text, 12, '0'), 'orders', 'processing', now(), 'w' || n / 20, now(), now(),
               CASE WHEN $1 = 'done' THEN now() END
        FROM generate_series($3::int, $2::int) AS n
        """
    journal = """
        INSERT INTO journal (source, id, type, kind, subject, time, data)
        SELECT '/lanka/' || link, $1 || lpad(n::text, 12, '0') || '.' || link, 'lanka.' || name,
               CASE link WHEN 'intake' THEN 'start' WHEN 'finalize' THEN 'end' ELSE 'fact' END,
               $1 || lpad(n::text, 12, '0'),
               now() - n * interval '1 s' + nth * (n % 50) * interval '1 ms',
               jsonb_build_object('order', jsonb_build_object('lines', repeat('x', 200)))
        FROM generate_series($3::int, $2::int) AS n
        CROSS JOIN (VALUES
            (0, 'intake', 'OrderReceived'), (1, 'payment', 'PaymentConfirmed'), (2, 'cart', 'StockReserved'),
            (3, 'price', 'PriceConfirmed'), (4, 'checks', 'CartConfirmed'), (5, 'finalize', 'OrderConfirmed'),
            (6, 'webhooks', 'Noted'), (7, 'note', 'Noted')
        ) AS steps (nth, link, name)
        WHERE $1 = 'done' OR nth <= n % 4
        ORDER BY n DESC, nth
        """
    claims = """
        INSERT INTO claims (subject, link)
        SELECT $1 || lpad(n::text, 12, '0'), link FROM generate_series($3::int, $2::int) AS n
        CROSS JOIN (VALUES (1, 'payment'), (2, 'cart'), (3, 'price'), (5, 'finalize')) AS steps (nth, link)
        WHERE $1 = 'done' OR nth <= n % 4
        """
    for name, number in (("done", ended), ("open", running)):
        first = 1 + await pool.fetchval("SELECT count(*) FROM subjects WHERE subject LIKE $1 || '%'", name)
        for statement in (subjects, journal, claims):
            await pool.execute(statement, name, number, first, timeout=300)
    await pool.execute("VACUUM ANALYZE", timeout=300)
