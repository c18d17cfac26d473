"""What became of accepted orders, counted from outside: from the payment provider, PostgreSQL and Temporal."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
import httpx
from temporalio.client import Client, WorkflowExecutionStatus

from lanka.home import Connection
from tests.servers import HANGS_AFTER

ENDS = {"OrderConfirmed", "OrderRejected", "OrderCancelled"}
REPEATABLE = {"OrderParked", "OrderReleased"}
"""What may happen to an order more than once."""


class Counts(NamedTuple):
    """`lost`: accepted, without an end, and nothing carries it on. `twice`: effects beyond the first of their kind.

    `oldest_wait` is the longest time from acceptance to the end, in seconds; `largest_displacement` the most places
    that an order was worked on later than it was accepted.
    """

    accepted: int
    ended: int
    waiting: int
    parked: int
    lost: int
    twice: int
    oldest_wait: float | None
    largest_displacement: int | None


async def count(
    connection: Connection,
    order_ids: Sequence[str],
    stock: Mapping[str, int] | None = None,
    *,
    namespace: str = "default",
) -> Counts:
    """Counts the orders that were answered with 202, in the order of these answers.

    `stock` tells how many there were of each SKU before the first of these orders; no others may have asked for it.
    """
    database = await asyncpg.connect(connection.database_url)
    try:
        rows = await database.fetch(
            """
            SELECT status, workflow_id, received_at, dispatched_at, ended_at
            FROM subjects WHERE subject = ANY($1)
            """,
            order_ids,
        )
        ended = [row for row in rows if row["ended_at"]]
        parked = [row for row in rows if not row["ended_at"] and row["status"] == "parked"]
        open_ones = [row for row in rows if not row["ended_at"]]
        temporal = await Client.connect(connection.temporal, namespace=namespace, lazy=True)
        adrift = await _adrift(temporal, [row["workflow_id"] for row in open_ones if row["dispatched_at"]])
        lost = len(set(order_ids)) - len(rows) + sum(row["workflow_id"] in adrift for row in open_ones)
        twice = [
            *await _twice_in_the_journal(database, order_ids),
            *await _twice_in_the_shop(database, order_ids),
            *await _twice_in_stock(database, stock or {}),
            *await _twice_at_the_provider(database, connection.payments, order_ids),
        ]
        if twice:
            print("done twice:", *twice, sep="\n  ")  # noqa: T201 - pytest shows it where a test fails
        return Counts(
            accepted=len(order_ids),
            ended=len(ended),
            waiting=len(open_ones) - len(parked),
            parked=len(parked),
            lost=lost,
            twice=len(twice),
            oldest_wait=max(((row["ended_at"] - row["received_at"]).total_seconds() for row in ended), default=None),
            largest_displacement=await _largest_displacement(database, order_ids),
        )
    finally:
        await database.close()


async def _adrift(temporal: Client, workflow_ids: Sequence[str]) -> set[str]:
    """Those workflows that carry nothing any more."""
    adrift = set()
    for workflow_id in set(workflow_ids):
        described = await temporal.get_workflow_handle(workflow_id).describe()
        if described.status is not WorkflowExecutionStatus.RUNNING:
            adrift.add(workflow_id)
    return adrift


async def _twice_in_the_journal(database: Any, order_ids: Sequence[str]) -> list[str]:
    rows = await database.fetch("SELECT subject, type FROM journal WHERE subject = ANY($1)", order_ids)
    told = Counter((row["subject"], row["type"].removeprefix("lanka.")) for row in rows)
    ends = Counter(subject for subject, event in told if event in ENDS)
    return [
        *(f"{event} of {subject}" for (subject, event), n in told.items() if n > 1 and event not in REPEATABLE),
        *(f"end of {subject}" for subject, n in ends.items() if n > 1),
    ]


async def _twice_in_the_shop(database: Any, order_ids: Sequence[str]) -> list[str]:
    """Order numbers, notifications and what a payment pays for."""
    orders = await database.fetch("SELECT order_number FROM orders WHERE order_id = ANY($1)", order_ids)
    notes = await database.fetch("SELECT subject FROM outbox WHERE subject = ANY($1)", order_ids)
    paid = await database.fetch(
        "SELECT payment_id FROM orders WHERE order_id = ANY($1) AND order_number IS NOT NULL", order_ids
    )
    return [
        *_more_than_one("order number", [row["order_number"] for row in orders if row["order_number"]]),
        *_more_than_one("notification of", [row["subject"] for row in notes]),
        *_more_than_one("order for payment", [row["payment_id"] for row in paid]),
    ]


async def _twice_in_stock(database: Any, stock: Mapping[str, int]) -> list[str]:
    """Items that are gone or reserved beyond what the confirmed and the open orders want."""
    wrong = []
    for sku, before in stock.items():
        row = await database.fetchrow(
            """
            SELECT stock.on_hand, stock.reserved,
                (SELECT coalesce(sum((line ->> 'quantity')::bigint), 0)
                 FROM orders JOIN journal ON journal.subject = orders.order_id,
                      jsonb_array_elements(orders.lines) AS line
                 WHERE journal.type = 'lanka.OrderConfirmed' AND line ->> 'sku' = stock.sku)::bigint AS sold,
                (SELECT coalesce(sum(quantity), 0) FROM reservations
                 WHERE reservations.sku = stock.sku AND state = 'held')::bigint AS held
            FROM stock WHERE sku = $1
            """,
            sku,
        )
        if row["on_hand"] != before - row["sold"] or row["reserved"] != row["held"]:
            wrong.append(f"sale or reservation of {sku}: {before} before, {dict(row)}")
    return wrong


async def _twice_at_the_provider(database: Any, provider: str, order_ids: Sequence[str]) -> list[str]:
    rows = await database.fetch("SELECT DISTINCT payment_id FROM orders WHERE order_id = ANY($1)", order_ids)
    limit = asyncio.Semaphore(20)
    async with httpx.AsyncClient(base_url=provider, timeout=HANGS_AFTER) as client:

        async def operations(payment_id: str) -> list[str]:
            async with limit:
                answer = await client.get(f"/payments/{payment_id}")
            if answer.status_code == httpx.codes.NOT_FOUND:
                return []
            assert answer.is_success, answer.text
            return [each["operation"] for each in answer.json()["operations"]]

        payments = [row["payment_id"] for row in rows]
        done = await asyncio.gather(*(operations(payment) for payment in payments))
    return [
        f"{operation} of {payment}"
        for payment, operations_of_it in zip(payments, done, strict=True)
        for operation, n in Counter(operations_of_it).items()
        if n > 1
    ]


async def _largest_displacement(database: Any, order_ids: Sequence[str]) -> int | None:
    """By the first thing that a consumer did for each order."""
    rows = await database.fetch(
        """
        SELECT subject, min(journal.position) AS worked_on
        FROM journal JOIN subjects USING (subject)
        WHERE subject = ANY($1) AND source = '/lanka/payment'
        GROUP BY subject, subjects.position ORDER BY subjects.position
        """,
        order_ids,
    )
    accepted = [row["subject"] for row in rows]
    worked_on = sorted(rows, key=lambda row: row["worked_on"])
    return max((place - accepted.index(row["subject"]) for place, row in enumerate(worked_on)), default=None)


def _more_than_one(what: str, seen: Sequence[str]) -> list[str]:
    return [f"{what} {each}" for each, n in Counter(seen).items() if n > 1]
