"""The catalogue: what can be bought, and what it cost at any moment."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel

from chain.failures import LankaError
from orders.money import Price
from store.database import Store, Transaction, columns, transaction


class Product(BaseModel, frozen=True):
    """What is for sale now. `available` is what is on hand and not reserved; `unit_price` is in minor units."""

    sku: str
    name: str
    unit_price: int
    currency: str
    on_hand: int
    available: int


class BelowReserved(LankaError):
    """Orders hold more of the SKU than would be on hand."""


class Catalogue(Store):
    async def prices_as_of(
        self, tx: Transaction, asked: Sequence[tuple[str, datetime]]
    ) -> dict[tuple[str, datetime], Price]:
        """What each SKU cost at its moment; a SKU that had no price then is left out."""
        rows = await tx.fetch(
            """
            SELECT asked.nth, price.unit_price, price.currency
            FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS asked (sku, at, nth)
            CROSS JOIN LATERAL price_at(asked.sku, asked.at) AS price
            """,
            *columns(list(asked), 2),
        )
        return {asked[nth - 1]: Price(unit_price, currency) for nth, unit_price, currency in rows}

    async def products(self) -> list[Product]:
        """Everything for sale, by SKU."""
        rows = await self._fetch(
            """
            SELECT sku, name, unit_price, currency, on_hand, on_hand - reserved AS available
            FROM catalogue JOIN stock USING (sku) CROSS JOIN LATERAL price_at(sku, 'infinity')
            ORDER BY sku
            """
        )
        return [Product(**row) for row in rows]

    async def put(self, sku: str, *, name: str, price: Price, on_hand: int) -> Product:
        """Creates the product or changes it. Orders already received keep the price they saw.

        Raises `BelowReserved` when orders hold more than `on_hand`; nothing is changed then.
        """
        async with transaction(self._pool) as tx:
            # The product's row is locked from here on, so that prices get their times one after the other.
            await tx.execute(
                """
                INSERT INTO catalogue (sku, name) VALUES ($1, $2)
                ON CONFLICT (sku) DO UPDATE SET name = excluded.name
                """,
                sku,
                name,
            )
            available = await tx.fetchval(
                """
                INSERT INTO stock (sku, on_hand) VALUES ($1, $2)
                ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand WHERE stock.reserved <= excluded.on_hand
                RETURNING on_hand - reserved
                """,
                sku,
                on_hand,
            )
            if available is None:
                raise BelowReserved(f"orders hold more than {on_hand} of {sku}")
            await tx.execute(
                """
                INSERT INTO prices (sku, valid_from, unit_price, currency)
                SELECT $1, clock_timestamp(), $2, $3
                WHERE NOT EXISTS (SELECT FROM price_at($1, 'infinity') WHERE unit_price = $2 AND currency = $3)
                """,
                sku,
                *price,
            )
        return Product(sku=sku, name=name, on_hand=on_hand, available=available, **price._asdict())
