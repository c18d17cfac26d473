from datetime import UTC, datetime
from typing import Any

import httpx

from orders.money import Price
from store.catalogue import Catalogue
from store.database import Pool, transaction
from store.seed import seed
from tests.integration.conftest import KEYS, OPERATOR

MUG = {"name": "Mug, blue", "unit_price": 1350, "currency": "EUR", "on_hand": 10}


async def put(api: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    return await api.put("/catalogue/MUG", json=MUG | changes, headers=OPERATOR)


async def listed(api: httpx.AsyncClient, sku: str) -> dict[str, Any]:
    products: list[dict[str, Any]] = (await api.get("/catalogue")).json()
    (found,) = [product for product in products if product["sku"] == sku]
    return found


async def test_an_operator_puts_a_product_up_for_sale(api: httpx.AsyncClient) -> None:
    answer = await put(api)
    assert (answer.status_code, answer.json()) == (200, MUG | {"sku": "MUG", "available": 10})
    assert await listed(api, "MUG") == answer.json()


async def test_a_new_price_leaves_the_old_one_to_earlier_orders(api: httpx.AsyncClient, pool: Pool) -> None:
    await put(api)
    before = datetime.now(UTC)
    await put(api, unit_price=1500)
    after = datetime.now(UTC)
    async with transaction(pool) as tx:
        prices = await Catalogue(pool).prices_as_of(tx, [("MUG", before), ("MUG", after)])
    assert prices == {("MUG", before): Price(1350, "EUR"), ("MUG", after): Price(1500, "EUR")}
    assert (await listed(api, "MUG"))["unit_price"] == 1500


async def test_the_same_price_again_is_no_new_price(api: httpx.AsyncClient, pool: Pool) -> None:
    await put(api)
    await put(api, name="Mug, green", on_hand=20)
    assert await pool.fetchval("SELECT count(*) FROM prices WHERE sku = 'MUG'") == 1
    assert (await listed(api, "MUG"))["name"] == "Mug, green"


async def test_stock_that_orders_hold_cannot_be_taken_away(api: httpx.AsyncClient, pool: Pool) -> None:
    await put(api)
    await pool.execute("UPDATE stock SET reserved = 4 WHERE sku = 'MUG'")
    answer = await put(api, on_hand=3, unit_price=1)
    assert (answer.status_code, answer.json()["code"]) == (409, "stock_reserved")
    assert await listed(api, "MUG") == MUG | {"sku": "MUG", "available": 6}
    assert (await put(api, on_hand=4)).json()["available"] == 0


async def test_a_shop_cannot_change_the_catalogue(api: httpx.AsyncClient) -> None:
    answer = await api.put("/catalogue/MUG", json=MUG)
    assert (answer.status_code, answer.json()["code"]) == (403, "operator_key_required")
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


async def test_seeding_again_leaves_prices_and_stock_as_they_are(api: httpx.AsyncClient, shop: str, pool: Pool) -> None:
    sku = "MUG-CERAMIC-WHITE"
    changed = MUG | {"unit_price": 1, "on_hand": 7}
    await api.put(f"/catalogue/{sku}", json=changed, headers=OPERATOR)
    await seed(shop, skus=25, stock=50, keys=KEYS)
    assert await listed(api, sku) == changed | {"sku": sku, "available": 7}
    assert (await listed(api, "SKU-0025"))["available"] == 50
    assert await pool.fetchval("SELECT count(*) FROM catalogue") == 25
    assert await pool.fetchval("SELECT count(*) FROM api_keys") == 2
