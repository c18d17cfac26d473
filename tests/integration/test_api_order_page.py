"""What an operator finds, and sees of one order."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from orders.events import CartUnavailable, OrderParked, PaymentConfirmed
from orders.order import Order
from store.database import Pool, transaction
from store.journal import record
from tests.integration.conftest import OPERATOR, calling
from tests.shop import accept, an_order, fetch, paid
from workflows.chains import TYPES

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def found(api: httpx.AsyncClient, q: str) -> list[str]:
    answer = await api.get("/operations/subjects", params={"q": q}, headers=OPERATOR)
    assert answer.status_code == httpx.codes.OK, answer.text
    return [each["subject"] for each in answer.json()]


async def seen(api: httpx.AsyncClient, order: Order) -> dict[str, Any]:
    answer = await api.get(f"/operations/orders/{order.order_id}", headers=OPERATOR)
    assert answer.status_code == httpx.codes.OK, answer.text
    told: dict[str, Any] = answer.json()
    return told


def states(told: dict[str, Any]) -> dict[str, str]:
    return {step["link"]: step["state"] for step in told["steps"]}


async def dispatched(pool: Pool, order: Order, *done: str) -> None:
    await accept(pool, order)
    await fetch(pool, "UPDATE subjects SET workflow_id = 'order-1', taken_at = now(), dispatched_at = now()")
    for link in done:
        await fetch(pool, "INSERT INTO claims (subject, link) VALUES ($1, $2)", order.order_id, link)


@pytest.mark.parametrize("taken", [False, True])
async def test_an_order_that_is_not_dispatched_is_received_everywhere(
    api: httpx.AsyncClient, pool: Pool, *, taken: bool
) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    if taken:  # and Temporal has frozen before it was told
        await fetch(pool, "UPDATE subjects SET workflow_id = 'order-1', taken_at = now()")

    async def told_as(status: str, links: list[str], state: str) -> None:
        for path in (f"/orders/{order.order_id}", f"/operations/orders/{order.order_id}"):
            told = (await api.get(path, headers=OPERATOR)).json()
            known = told.get("order", told)
            assert (known["status"], known["links_at"], known["link"]) == (status, links, links[0])
            assert {step["link"]: step["state"] for step in told["steps"]}["payment"] == state or state == "waiting"
        for wanted in ("received", "processing"):
            for path in ("/orders", "/operations/subjects"):
                answer = (await api.get(path, params={"status": wanted}, headers=OPERATOR)).json()
                found = answer["orders"] if path == "/orders" else answer
                assert [each["status"] for each in found] == [status] * (wanted == status), (path, wanted)
        (listed,) = (await api.get("/operations/subjects", headers=OPERATOR)).json()
        assert [each["link"] for each in listed["links"]] == links

    await told_as("received", ["received"], "ahead")
    await fetch(pool, "UPDATE subjects SET workflow_id = 'order-1', taken_at = now(), dispatched_at = now()")
    await told_as("processing", ["payment"], "in_progress")


async def test_an_order_is_found_by_anything_that_names_it(api: httpx.AsyncClient, pool: Pool) -> None:
    first, second, other = an_order(cup=1), an_order(cup=1), an_order(customer_id="cus_2", cup=1)
    await accept(pool, first, second, other)
    await fetch(pool, "UPDATE orders SET order_number = 'L00000007' WHERE order_id = $1", other.order_id)
    assert await found(api, "cus_1") == sorted([first.order_id, second.order_id], reverse=True)
    for text in (other.order_id, other.order_id.upper(), other.payment_id, "cus_2", "l00000007", f" {other.order_id} "):
        assert await found(api, text) == [other.order_id]
    assert await found(api, "nobody") == []


async def test_an_orders_steps_follow_from_its_journal(api: httpx.AsyncClient, pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    told = await seen(api, order)
    assert (told["workflow_id"], told["workflow_url"], told["trace_url"]) == (None, None, None)
    assert set(states(told)) == {"payment", "cart", "price", "finalize"}

    await dispatched(pool, later := an_order(cup=1), "payment", "cart")
    now = datetime.now(UTC)
    where = {"link": "price", "reason": "key_error", "attempts": 3, "last_error": "KeyError: 'cup'"}
    async with transaction(pool) as tx:
        await record(
            tx,
            [
                PaymentConfirmed.made_by("payment", later.order_id, now, {"order": later, "payment": paid(later)}),
                CartUnavailable.made_by("cart", later.order_id, now, {"reason": "out_of_stock", "detail": "none"}),
                OrderParked.made_by("price.parked.1", later.order_id, now, where),
            ],
            TYPES,
        )
    told = await seen(api, later)
    assert states(told) | {"payment": "done", "cart": "refused", "price": "parked"} == states(told)
    cart = next(step for step in told["steps"] if step["link"] == "cart")
    assert (cart["queue"], cart["stage"], cart["title"], cart["reason"]) == ("cart", "cart", "Cart", "out_of_stock")
    price = next(step for step in told["steps"] if step["link"] == "price")
    assert (price["attempts"], price["last_error"]) == (3, "KeyError: 'cup'")
    assert [each["link"] for each in told["parked"]] == ["price"]
    assert {step["attempts"] for step in told["steps"] if step["state"] == "done"} == {None}, "once was enough"
    await fetch(pool, "UPDATE claims SET attempts = 12 WHERE link = 'payment'")
    told = await seen(api, later)
    assert {step["link"]: step["attempts"] for step in told["steps"]}["payment"] == 12
    assert [event["type"] for event in told["events"]][-1] == "lanka.OrderParked"


async def test_the_steps_are_titled_in_the_operators_language(api: httpx.AsyncClient, pool: Pool) -> None:
    await accept(pool, order := an_order(cup=1))
    headers = OPERATOR | {"Accept-Language": "uk"}
    answer = await api.get(f"/operations/orders/{order.order_id}", headers=headers)
    assert [step["title"] for step in answer.json()["steps"]] == ["Оплата", "Кошик", "Ціна", "Завершення"]


async def test_the_subject_of_any_chain_is_seen_the_same_way(api: httpx.AsyncClient, pool: Pool) -> None:
    data = {"customer_id": "cus_1", "language": "uk", "skill": "orders"}
    event = {"specversion": "1.0", "id": "1", "source": "/t", "type": "lanka.SupportCallStarted", "subject": "call_1"}
    sent = await api.post("/events", json={**event, "data": data}, headers=STRUCTURED)
    assert sent.status_code == httpx.codes.ACCEPTED, sent.text

    told = (await api.get("/operations/subjects/call_1", headers=OPERATOR)).json()

    assert (told["chain"], told["subject"], states(told)) == ("support", "call_1", {"assign": "ahead"})
    assert [event["type"] for event in told["events"]] == ["lanka.SupportCallStarted"]
    assert "order" not in told
    order = an_order(cup=1)
    await accept(pool, order)
    assert (await api.get(f"/operations/subjects/{order.order_id}", headers=OPERATOR)).json()["chain"] == "orders"


async def test_the_links_to_elsewhere_are_shown_where_somebody_has_said_where(
    shop: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = an_order(cup=1)
    await dispatched(pool, order)
    monkeypatch.setenv("LANKA_TEMPORAL_UI", "http://ui.example/")
    monkeypatch.setenv("LANKA_TRACE_URL", "http://traces.example/trace/{trace_id}")
    async with calling(shop) as api:
        told = await seen(api, order)
        assert told["workflow_url"] == "http://ui.example/namespaces/default/workflows/order-1"
        assert (told["trace_id"], told["trace_url"]) == (None, None)
        await fetch(pool, "UPDATE subjects SET traceparent = $1", TRACEPARENT)
        told = await seen(api, order)
        assert told["trace_url"] == f"http://traces.example/trace/{told['trace_id']}"
        await fetch(pool, "UPDATE subjects SET traceparent = $1", TRACEPARENT.removesuffix("01") + "00")
        told = await seen(api, order)
        assert told["trace_url"] is None, "what is not sampled has no page"
        assert told["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_only_an_operator_looks(api: httpx.AsyncClient) -> None:
    for path in ("/operations/subjects?q=x", "/operations/orders/some", "/operations/subjects/some"):
        answer = await api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "operator_key_required")


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/operations/orders/none", 404, "order_not_found"),
        ("/operations/subjects/none", 404, "subject_not_found"),
        ("/operations/orders/%20", 422, "invalid_id"),
        ("/operations/subjects?q=", 422, "invalid_text"),
        ("/operations/subjects?q=a&q=b", 422, "repeated_parameter"),
        ("/operations/subjects?q=a&z=b", 422, "unknown_parameter"),
    ],
)
async def test_what_is_wrong_is_said(api: httpx.AsyncClient, path: str, status: int, code: str) -> None:
    answer = await api.get(path, headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
