"""A person at a browser has a session in a cookie: what it opens, what it does not, and when it ends."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from api import auth
from api.auth import Caller
from api.stream import told_to
from chain.event import AnyEvent
from orders.events import CartUnavailable, OrderRejected
from store.api_keys import ApiKeys, Scope
from store.database import Pool
from store.sessions import Sessions
from tests.integration.conftest import OPERATOR, SHOP
from tests.shop import the_journal

ORIGIN = {"Origin": "http://lanka"}


@pytest.fixture
def browser(api: httpx.AsyncClient) -> httpx.AsyncClient:
    """No key, and a page of ours."""
    del api.headers["Authorization"]
    api.headers.update(ORIGIN)
    return api


async def shops(browser: httpx.AsyncClient) -> str:
    answer = await browser.post("/shop/session")
    assert answer.status_code == httpx.codes.OK, answer.text
    return str(answer.json()["customer_id"])


async def submits(browser: httpx.AsyncClient, customer_id: str, key: str = "click-1") -> httpx.Response:
    order = {
        "customer_id": customer_id,
        "payment_id": f"pay_{key}",
        "currency": "EUR",
        "lines": [{"sku": "MUG-CERAMIC-WHITE", "quantity": 1, "unit_price": 1350}],
    }
    return await browser.post("/orders", json=order, headers={"Idempotency-Key": key})


async def logs_in(browser: httpx.AsyncClient, key: str = "operator-key") -> httpx.Response:
    return await browser.post("/console/session", json={"key": key})


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_browser_stays_the_same_customer(browser: httpx.AsyncClient) -> None:
    assert await shops(browser) == await shops(browser)


async def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(browser: httpx.AsyncClient) -> None:
    cookie = (await browser.post("/shop/session")).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


async def test_a_customer_submits_and_reads_its_own_orders(browser: httpx.AsyncClient) -> None:
    customer_id = await shops(browser)
    accepted = await submits(browser, customer_id)
    assert accepted.status_code == httpx.codes.ACCEPTED, accepted.text
    order_id = accepted.json()["order_id"]
    assert (await browser.get(f"/orders/{order_id}")).json()["customer_id"] == customer_id
    assert len((await browser.get(f"/orders/{order_id}/events")).json()) == 1
    assert [order["order_id"] for order in (await browser.get("/orders")).json()["orders"]] == [order_id]
    assert (await browser.get("/catalogue")).status_code == httpx.codes.OK


async def test_for_a_customer_other_customers_orders_do_not_exist(browser: httpx.AsyncClient) -> None:
    theirs = (await submits(browser, await shops(browser))).json()["order_id"]
    browser.cookies.clear()
    await shops(browser)
    assert code(await browser.get(f"/orders/{theirs}")) == (404, "order_not_found")
    assert code(await browser.get(f"/orders/{theirs}/events")) == (404, "order_not_found")
    assert code(await browser.post(f"/orders/{theirs}/cancel", json={})) == (404, "order_not_found")
    assert (await browser.get("/orders")).json()["orders"] == []


async def test_a_customer_cannot_speak_for_another(browser: httpx.AsyncClient) -> None:
    await shops(browser)
    assert code(await submits(browser, "cus_other")) == (403, "other_customer")
    assert code(await browser.get("/orders?customer_id=cus_other")) == (403, "other_customer")


async def test_a_customer_is_neither_a_shop_nor_an_operator(browser: httpx.AsyncClient) -> None:
    await shops(browser)
    assert code(await browser.post("/events", json={})) == (403, "shop_key_required")
    assert code(await browser.get("/events/ord_1")) == (403, "shop_key_required")
    assert code(await browser.get("/operations/parked")) == (403, "operator_key_required")


async def test_a_page_of_another_origin_changes_nothing(browser: httpx.AsyncClient) -> None:
    customer_id = await shops(browser)
    for origin in ("http://elsewhere", "null"):
        browser.headers["Origin"] = origin
        assert code(await submits(browser, customer_id)) == (403, "other_origin")
        assert code(await logs_in(browser)) == (403, "other_origin")
    del browser.headers["Origin"]
    assert code(await submits(browser, customer_id)) == (403, "other_origin")
    assert (await browser.get("/orders")).json()["orders"] == []


async def test_an_operator_logs_in_with_a_key_and_out_again(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await logs_in(browser)).status_code == httpx.codes.NO_CONTENT
    assert (await browser.get("/operations/parked")).json() == []
    before = dict(browser.cookies)
    assert (await browser.delete("/console/session")).status_code == httpx.codes.NO_CONTENT
    assert code(await browser.get("/operations/parked")) == (401, "api_key_missing")
    browser.cookies.update(before)
    assert code(await browser.get("/operations/parked")) == (401, "api_key_missing")


async def test_only_an_operators_key_opens_the_console(browser: httpx.AsyncClient) -> None:
    assert code(await logs_in(browser, "no-key")) == (401, "api_key_invalid")
    assert code(await logs_in(browser, "shop-key")) == (403, "operator_key_required")
    assert not browser.cookies


async def test_an_operators_session_ends_with_the_key(
    browser: httpx.AsyncClient, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "TRUSTED_FOR", 0)
    await logs_in(browser)
    assert (await browser.get("/operations/parked")).status_code == httpx.codes.OK
    await _run(shop, "UPDATE api_keys SET revoked_at = now() WHERE scope = 'operator'")
    assert code(await browser.get("/operations/parked")) == (401, "api_key_missing")


async def test_a_session_ends_by_itself(browser: httpx.AsyncClient, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "TRUSTED_FOR", 0)
    customer_id = await shops(browser)
    await _run(shop, "UPDATE sessions SET expires_at = now() - interval '1 second'")
    assert code(await browser.get("/orders")) == (401, "api_key_missing")
    assert await shops(browser) != customer_id


async def test_a_key_counts_more_than_a_cookie(browser: httpx.AsyncClient) -> None:
    await shops(browser)
    assert (await browser.get("/operations/parked", headers=OPERATOR)).status_code == httpx.codes.OK


async def test_the_pages_load_nothing_from_elsewhere(browser: httpx.AsyncClient) -> None:
    for path in ("/", "/console"):
        page = await browser.get(path)
        assert page.status_code == httpx.codes.OK
        assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert (await browser.get("/static/kit/kit.css")).headers["content-type"].startswith("text/css")
    assert code(await browser.get("/static/none.css")) == (404, "not_found")


async def _run(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


PRIVATE = "stolen card, call the police"
RAW = "sandbox: GET /payments/pay_of_another answered 500 {'secret': 1}"


async def told(browser: httpx.AsyncClient, order_id: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    """The data of all events, read once and read live, which is the same."""
    url = f"/orders/{order_id}/events"
    listed = (await browser.get(url, headers=headers)).json()
    async with browser.stream("GET", url, headers={"Accept": "text/event-stream", **headers}) as stream:
        lines = [line async for line in stream.aiter_lines()]
    live = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert live == listed
    return [event["data"] for event in live]


async def test_a_customer_reads_neither_what_providers_answer_nor_who_decided(
    browser: httpx.AsyncClient, pool: Pool
) -> None:
    order_id = (await submits(browser, await shops(browser))).json()["order_id"]
    (received,) = (await browser.get(f"/orders/{order_id}/events")).json()
    by = "Ann (operator:key_1)"
    for nth, (kind, data) in enumerate(
        {
            "OrderParked": {"link": "payment", "reason": "unexpected_answer", "attempts": 3, "last_error": RAW},
            "OrderReleased": {"link": "payment", "by": by, "why": "the provider is well again"},
            "OrderWithdrawn": {"reason": "rejected_by_operator", "detail": PRIVATE, "by": by},
            "OrderRejected": {"reason": "rejected_by_operator", "detail": PRIVATE},
        }.items()
    ):
        changes = {"id": f"{order_id}.{nth}", "source": "/lanka/payment", "type": f"lanka.{kind}", "data": data}
        await the_journal(pool).append([AnyEvent.model_validate(received | changes)])

    _, parked, released, withdrawn, rejected = await told(browser, order_id, {})
    assert parked["last_error"] == "something unexpected happened, and a person is looking at it"
    assert (released["by"], released["why"], withdrawn["by"]) == ("the shop", "", "the shop")
    assert withdrawn["detail"] == rejected["detail"] == ""
    told_of = [await browser.get(path) for path in (f"/orders/{order_id}", f"/orders/{order_id}/events", "/orders")]
    assert not any(PRIVATE in answer.text or "Ann" in answer.text for answer in told_of)
    _, parked, released, withdrawn, _ = await told(browser, order_id, SHOP)
    assert RAW not in parked["last_error"]
    assert (released["by"], released["why"], withdrawn["by"]) == (by, "the provider is well again", by)
    assert withdrawn["detail"] == PRIVATE
    _, parked, released, withdrawn, _ = await told(browser, order_id, OPERATOR)
    assert (parked["last_error"], released["by"], withdrawn["by"]) == (RAW, by, by)


async def test_why_customers_have_cancelled_they_read_themselves_and_whoever_has_the_link_does_not(
    browser: httpx.AsyncClient, pool: Pool
) -> None:
    me = await shops(browser)
    order_id = (await submits(browser, me)).json()["order_id"]
    (received,) = (await browser.get(f"/orders/{order_id}/events")).json()
    name = f"customer:{me}"
    data = {"reason": "cancelled_by_customer", "detail": "too dear", "by": name}
    changes = {"id": f"{order_id}.back", "source": "/lanka/withdrawal", "type": "lanka.OrderWithdrawn", "data": data}
    withdrawal = AnyEvent.model_validate(received | changes)
    ended = {"reason": "cancelled_by_customer", "detail": ""}
    end = {"id": f"{order_id}.end", "type": "lanka.OrderCancelled", "data": ended}
    await the_journal(pool).append([withdrawal, AnyEvent.model_validate(received | end)])

    assert (await told(browser, order_id, {}))[1] == data
    assert told_to(None, withdrawal).data == data | {"detail": ""}
    assert told_to(Caller(Scope.CUSTOMER, "customer:cus_2", "cus_2"), withdrawal).data == data | {"detail": ""}


async def test_why_a_consumer_refused_is_read_by_everybody() -> None:
    data = {"reason": "out_of_stock", "detail": "cup: 2 wanted, 1 available"}
    for kind in (CartUnavailable, OrderRejected):
        event = AnyEvent.model_validate(kind.made_by("cart", "o1", datetime.now(UTC), data).model_dump())
        assert told_to(None, event).data == data


async def test_the_name_of_a_caller_gives_nothing_of_the_key_away(pool: Pool, shop: str) -> None:
    """Sixteen hex digits of a hash are enough to find a weak key with a list of words."""
    callers = auth.Callers(ApiKeys(pool), Sessions(pool))
    await Sessions(pool).begin_for_operator("a-session", "operator-key", timedelta(hours=1))
    for secret, caller in (
        ("shop-key", await callers.with_key("shop-key")),
        ("operator-key", await callers.with_key("operator-key")),
        ("a-session", await callers.with_session("a-session")),
    ):
        assert caller
        assert re.fullmatch(r"(shop|operator):key_[0-9a-f]{12}", caller.name)
        for kept in (secret, "operator-key"):
            assert caller.name.rpartition("_")[2] not in hashlib.sha256(kept.encode()).hexdigest()
