"""Stock: how much there is of each SKU, and which order holds how much of it."""

from collections.abc import Mapping, Sequence

from orders.events import Reservation
from store.database import Transaction, columns


class Stock:
    async def reserve(
        self, tx: Transaction, wanted: Mapping[str, Mapping[str, int]]
    ) -> dict[str, dict[str, int | None]]:
        """Reserves all that an order wants or nothing; the earlier order in `wanted` comes first.

        `wanted` is order id -> SKU -> quantity. Returns, for the orders that got nothing, what was missing:
        order id -> SKU -> how many were available, None for a SKU that nobody knows.
        """
        available = await self._lock(tx, {sku for lines in wanted.values() for sku in lines})
        missing: dict[str, dict[str, int | None]] = {}
        reserved: list[tuple[str, str, int]] = []
        for order_id, lines in wanted.items():
            short = {sku: available.get(sku) for sku, quantity in lines.items() if available.get(sku, 0) < quantity}
            if short:
                missing[order_id] = short
                continue
            for sku, quantity in lines.items():
                available[sku] -= quantity
                reserved.append((order_id, sku, quantity))
        await tx.execute(
            """
            WITH held AS (
                INSERT INTO reservations (order_id, sku, quantity)
                SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
                RETURNING sku, quantity
            )
            UPDATE stock SET reserved = reserved + held.quantity
            FROM (SELECT sku, sum(quantity) AS quantity FROM held GROUP BY sku) AS held
            WHERE stock.sku = held.sku
            """,
            *columns(reserved, 3),
        )
        return missing

    async def sell(self, tx: Transaction, order_ids: Sequence[str]) -> None:
        """Turns what the orders hold into sales: the goods leave the shelf."""
        await self._let_go(tx, order_ids, "sold")

    async def release(self, tx: Transaction, order_ids: Sequence[str]) -> dict[str, list[Reservation]]:
        """Gives back what the orders hold, and tells what it was; an order that holds nothing is left out."""
        released: dict[str, list[Reservation]] = {}
        for order_id, sku, quantity in sorted(await self._let_go(tx, order_ids, "released")):
            released.setdefault(order_id, []).append(Reservation(sku=sku, quantity=quantity))
        return released

    async def _lock(self, tx: Transaction, skus: set[str]) -> dict[str, int]:
        """Locks the SKUs, always in one order so that no two transactions deadlock; returns what is available."""
        rows = await tx.fetch(
            """
            SELECT sku, on_hand - reserved AS available FROM stock WHERE sku = ANY($1::text[]) ORDER BY sku FOR UPDATE
            """,
            sorted(skus),
        )
        return {row["sku"]: row["available"] for row in rows}

    async def _let_go(self, tx: Transaction, order_ids: Sequence[str], state: str) -> list[tuple[str, str, int]]:
        rows = await tx.fetch(
            """
            UPDATE reservations SET state = $2 WHERE order_id = ANY($1::text[]) AND state = 'held'
            RETURNING order_id, sku, quantity
            """,
            order_ids,
            state,
        )
        if not rows:
            return []
        await self._lock(tx, {row["sku"] for row in rows})
        await tx.execute(
            """
            UPDATE stock
            SET reserved = reserved - gone.quantity, on_hand = on_hand - CASE WHEN $3 THEN gone.quantity ELSE 0 END
            FROM (
                SELECT sku, sum(quantity) AS quantity FROM unnest($1::text[], $2::bigint[]) AS held (sku, quantity)
                GROUP BY sku
            ) AS gone
            WHERE stock.sku = gone.sku
            """,
            [row["sku"] for row in rows],
            [row["quantity"] for row in rows],
            state == "sold",
        )
        return [(row["order_id"], row["sku"], row["quantity"]) for row in rows]
