"""A demo shop: a catalogue of things one might like to buy, and its API keys."""

from collections.abc import Mapping, Sequence

from store.api_keys import ApiKeys, Scope
from store.database import Pool, columns, open_pool, transaction

CURRENCY = "EUR"

PRODUCTS: tuple[tuple[str, str, int], ...] = (
    ("MUG-CERAMIC-WHITE", "Ceramic mug, white, 300 ml", 1350),
    ("MUG-ENAMEL-BLUE", "Enamel mug, blue, 400 ml", 1590),
    ("TEA-LINDEN-50", "Linden blossom tea, 50 g", 690),
    ("TEA-MOUNTAIN-100", "Mountain herb tea, 100 g", 1150),
    ("COFFEE-LVIV-250", "Lviv roast coffee, 250 g", 990),
    ("HONEY-BUCKWHEAT-400", "Buckwheat honey, 400 g", 1290),
    ("JAM-APRICOT-300", "Apricot jam, 300 g", 650),
    ("CANDLE-BEESWAX-S", "Beeswax candle, small", 850),
    ("CANDLE-BEESWAX-L", "Beeswax candle, large", 1690),
    ("SOAP-LAVENDER", "Lavender soap, 100 g", 590),
    ("TOWEL-LINEN-GREY", "Linen kitchen towel, grey", 1490),
    ("APRON-LINEN-SAND", "Linen apron, sand", 3900),
    ("BOARD-OAK-M", "Oak cutting board, medium", 2950),
    ("SPOON-CHERRY", "Cherry wood spoon", 1100),
    ("NOTEBOOK-A5-DOT", "Notebook A5, dotted", 1250),
    ("PENCIL-CEDAR-6", "Cedar pencils, set of six", 780),
    ("SOCKS-WOOL-M", "Wool socks, medium", 1890),
    ("SCARF-WOOL-RED", "Wool scarf, red", 4500),
    ("BLANKET-WOOL-GREY", "Wool blanket, grey", 11900),
    ("POSTCARD-SET-12", "Postcards, set of twelve", 1190),
)


async def seed(database_url: str, *, skus: int = 20, stock: int = 100_000, keys: Mapping[str, str]) -> None:
    """Fills the catalogue with `skus` products, `stock` of each, and stores `keys` (scope -> key).

    Safe to repeat: what is there already keeps its name, price and stock.
    """
    async with open_pool(database_url, size=1) as pool:
        await _fill(pool, [*PRODUCTS, *map(_surprise, range(len(PRODUCTS), skus))][:skus], stock)
        for scope, key in keys.items():
            await ApiKeys(pool).create(key, Scope(scope))


def _surprise(nth: int) -> tuple[str, str, int]:
    return f"SKU-{nth + 1:04}", f"Surprise no. {nth + 1}", 500 + nth % 100 * 25


async def _fill(pool: Pool, products: Sequence[tuple[str, str, int]], stock: int) -> None:
    async with transaction(pool) as tx:
        await tx.execute(
            """
            WITH given AS (
                SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (sku, name, unit_price)
            ), added AS (
                INSERT INTO catalogue (sku, name) SELECT sku, name FROM given ORDER BY sku
                ON CONFLICT (sku) DO NOTHING
                RETURNING sku
            ), priced AS (
                INSERT INTO prices (sku, valid_from, unit_price, currency)
                SELECT sku, now(), unit_price, $4 FROM given JOIN added USING (sku)
            )
            INSERT INTO stock (sku, on_hand) SELECT sku, $5 FROM added
            """,
            *columns(list(products), 3),
            CURRENCY,
            stock,
        )
