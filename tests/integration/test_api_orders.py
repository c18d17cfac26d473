import json
from typing import Any

import httpx
import pytest

from chain.failures import Outage
from orders.events import OrderReceived
from store.database import Pool
from tests.integration.conftest import OPERATOR

ORDER = {
    "customer_id": "cus_1",
    "payment_id": "pay_1",
    "currency": "EUR",
    "lines": [
        {"sku": "MUG", "quantity": 2, "unit_price": 1350},
        {"sku": "TEA", "quantity": 1, "unit_price": 690},
        {"sku": "MUG", "quantity": 1, "unit_price": 1350},
    ],
}


async def submit(api: httpx.AsyncClient, key: str = "one", **changes: Any) -> httpx.Response:
    return await api.post("/orders", json=ORDER | changes, headers={"Idempotency-Key": key})


async def test_an_order_is_accepted_and_can_be_followed(api: httpx.AsyncClient) -> None:
    answer = await submit(api)
    assert answer.status_code == 202
    accepted = answer.json()
    order_id = accepted["order_id"]
    assert accepted == {
        "order_id": order_id,
        "status": "received",
        "links": {
            "self": f"/orders/{order_id}",
            "events": f"/orders/{order_id}/events",
            "cancel": f"/orders/{order_id}/cancel",
        },
    }
    assert answer.headers["Location"] == accepted["links"]["self"]
    assert "Idempotency-Replayed" not in answer.headers

    known = (await api.get(accepted["links"]["self"])).json()
    assert known.pop("steps")[0]["state"] == "ahead"
    assert known.pop("story")["headline"] == "We have your order"
    assert known == ORDER | {
        "order_id": order_id,
        "order_number": None,
        "status": "received",
        "links_at": ["received"],
        "link": "received",
        "stage": "dispatch",
        "reason": None,
        "total": 4740,
        "received_at": known["received_at"],
        "updated_at": known["received_at"],
        "links": accepted["links"],
    }


async def test_the_journal_is_told_as_cloudevents(api: httpx.AsyncClient) -> None:
    order_id = (await submit(api)).json()["order_id"]
    answer = await api.get(f"/orders/{order_id}/events")
    assert answer.headers["Content-Type"] == "application/json"
    (event,) = answer.json()
    assert event["specversion"] == "1.0"
    assert (event["type"], event["subject"], event["source"]) == ("lanka.OrderReceived", order_id, "/lanka/intake")
    assert OrderReceived.model_validate(event).data.order.total == 4740


async def test_the_same_order_again_gets_the_first_answer(api: httpx.AsyncClient) -> None:
    first = await submit(api)
    respelled = json.dumps(dict(reversed(ORDER.items())), indent=3)
    headers = {"Idempotency-Key": "one", "Content-Type": "application/json; charset=utf-8"}
    again = await api.post("/orders", content=respelled, headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_another_order_with_the_same_key_is_refused(api: httpx.AsyncClient) -> None:
    await submit(api)
    answer = await submit(api, customer_id="cus_2")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_key_belongs_to_who_sent_it(api: httpx.AsyncClient) -> None:
    first = await submit(api)
    api.headers.update(OPERATOR)
    second = await submit(api)
    assert second.status_code == 202
    assert second.json()["order_id"] != first.json()["order_id"]


async def test_orders_are_listed_newest_first_page_by_page(api: httpx.AsyncClient) -> None:
    sent = [(await submit(api, key=f"key-{nth}")).json()["order_id"] for nth in range(5)]
    listed: list[str] = []
    cursor = None
    while True:
        page = (await api.get("/orders", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        assert len(page["orders"]) <= 2
        listed += [order["order_id"] for order in page["orders"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert listed == sent[::-1]


async def test_a_listed_order_tells_as_much_as_a_read_one_but_its_story(api: httpx.AsyncClient) -> None:
    await submit(api, key="other", customer_id="cus_2")
    order_id = (await submit(api)).json()["order_id"]
    page = (await api.get("/orders", params={"customer_id": "cus_1", "status": "received"})).json()
    read = (await api.get(f"/orders/{order_id}")).json()
    told = {name: value for name, value in read.items() if name not in {"steps", "story"}}
    assert page == {"orders": [told], "next_cursor": None}
    assert (await api.get("/orders", params={"status": "confirmed"})).json()["orders"] == []


async def test_an_order_tells_its_story_in_the_callers_language(api: httpx.AsyncClient) -> None:
    order_id = (await submit(api)).json()["order_id"]
    answer = await api.get(f"/orders/{order_id}", headers={"Accept-Language": "uk-UA,uk;q=0.9,en;q=0.8"})
    assert answer.headers["Vary"] == "Accept-Language"
    assert answer.json()["story"] == {
        "headline": "Ми отримали ваше замовлення",
        "text": "Його збережено, ми візьмемося за нього, щойно зможемо. "
        "Сторінку можна закрити: воно від цього не зупиниться.",
        "money": None,
        "cancellable": True,
        "goes_back": False,
        "deadline": None,
    }
    steps = answer.json()["steps"]
    assert [(step["link"], step["title"], step["state"]) for step in steps] == [
        ("payment", "Оплата", "ahead"),
        ("cart", "Наявність", "ahead"),
        ("price", "Ціна", "ahead"),
        ("finalize", "Підтвердження", "ahead"),
    ]
    assert steps[0]["sentence"] == ""


@pytest.mark.parametrize("path", ["/orders/unknown", "/orders/unknown/events"])
async def test_an_order_that_nobody_sent_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")


async def test_while_the_database_is_away_the_client_is_told_to_come_back(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Outage("PostgreSQL: gone", retry_after=7)

    monkeypatch.setattr("store.orders.Orders.accept", away)
    answer = await submit(api)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "7"
    assert "gone" not in answer.text


async def test_the_dispatcher_is_woken_for_each_order(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[bool] = []
    monkeypatch.setattr("dispatch.dispatcher.Wakeup.wake", lambda _: woken.append(True))
    await submit(api)
    assert woken == [True]


async def test_an_order_takes_one_statement(api: httpx.AsyncClient, pool: Pool) -> None:
    await submit(api, key="warm")
    await pool.execute("CREATE TABLE seen (statement text)")
    await pool.execute(
        """
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO seen VALUES (current_query()); RETURN NULL; END $$
        """
    )
    for table in ("idempotency_keys", "subjects", "orders", "journal"):
        await pool.execute(f"CREATE TRIGGER note AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION note()")
    await submit(api, key="counted")
    assert await pool.fetchval("SELECT count(DISTINCT statement) FROM seen") == 1
    assert await pool.fetchval("SELECT count(*) FROM seen") == 4
