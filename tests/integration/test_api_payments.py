"""The shop's page pays at the sandbox provider, through the API."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from api.problems import Code, Problem
from api.sandbox import PaymentAnswer, Sandbox
from tests.integration.conftest import SHOP, calling
from tests.integration.test_sandbox_provider import provider
from tests.servers import free_port

BASKET = {"amount": 1350, "currency": "EUR", "method": "card"}


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with provider(tmp_path_factory.mktemp("sandbox") / "sandbox.db") as (client, _):
        yield client


@pytest.fixture
async def browser(
    shop: str, sandbox: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A customer at our page."""
    monkeypatch.setenv("LANKA_PAYMENTS_URL", str(sandbox.base_url))
    async with calling(shop) as client:
        yield await comes(client)
    await sandbox.put("/faults", json={})


async def comes(client: httpx.AsyncClient) -> httpx.AsyncClient:
    client.headers.pop("Authorization", None)
    client.headers["Origin"] = "http://lanka"
    assert (await client.post("/shop/session")).is_success
    return client


async def pays(browser: httpx.AsyncClient, key: str = "click-1", **changes: Any) -> httpx.Response:
    return await browser.post("/shop/payments", json=BASKET | changes, headers={"Idempotency-Key": key})


async def orders(browser: httpx.AsyncClient, payment_id: str) -> str:
    customer_id = (await browser.post("/shop/session")).json()["customer_id"]
    lines = [{"sku": "MUG-CERAMIC-WHITE", "quantity": 1, "unit_price": 1350}]
    order = {"customer_id": customer_id, "payment_id": payment_id, "currency": "EUR", "lines": lines}
    answer = await browser.post("/orders", json=order, headers={"Idempotency-Key": payment_id})
    return str(answer.json()["order_id"])


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    ("method", "status"), [("card", "authorized"), ("card_declined", "declined"), ("bank_transfer", "pending")]
)
async def test_each_way_to_pay_ends_as_it_says(
    browser: httpx.AsyncClient, sandbox: httpx.AsyncClient, method: str, status: str
) -> None:
    answer = await pays(browser, method=method)
    assert (answer.status_code, answer.json()["status"]) == (201, status)
    payment = (await sandbox.get(f"/payments/{answer.json()['payment_id']}")).json()
    assert (payment["status"], payment["amount"], payment["currency"]) == (status, 1350, "EUR")


async def test_the_same_click_makes_one_payment(browser: httpx.AsyncClient) -> None:
    first, second = await pays(browser), await pays(browser)
    assert first.json() == second.json()
    assert (await pays(browser, "click-2")).json() != first.json()
    assert code(await pays(browser, amount=1351)) == (422, "idempotency_key_reused")


async def test_two_customers_may_use_the_same_key(browser: httpx.AsyncClient) -> None:
    first = await pays(browser)
    browser.cookies.clear()
    second = await pays(await comes(browser))
    assert first.json()["payment_id"] != second.json()["payment_id"]


async def test_paying_is_for_customers_at_our_page(browser: httpx.AsyncClient) -> None:
    browser.headers["Origin"] = "http://elsewhere"
    assert code(await pays(browser)) == (403, "other_origin")
    browser.cookies.clear()
    assert code(await pays(browser)) == (401, "api_key_missing")
    browser.headers.update(SHOP)
    assert code(await pays(browser)) == (403, "customer_session_required")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"amount": 0}, "invalid_value"),
        ({"amount": "1350"}, "not_an_integer"),
        ({"currency": "XYZ"}, "unknown_currency"),
        ({"method": "cheque"}, "invalid_value"),
        ({"card": "4111"}, "unknown_field"),
    ],
)
async def test_a_payment_that_makes_no_sense_is_refused(
    browser: httpx.AsyncClient, changes: dict[str, Any], expected: str
) -> None:
    assert code(await pays(browser, **changes)) == (422, expected)


async def test_a_payment_needs_a_key(browser: httpx.AsyncClient) -> None:
    assert code(await browser.post("/shop/payments", json=BASKET)) == (400, "idempotency_key_missing")


async def test_with_the_provider_down_the_page_is_told_when_to_come_again(
    browser: httpx.AsyncClient, sandbox: httpx.AsyncClient
) -> None:
    await sandbox.put("/faults", json={"down": True})
    answer = await pays(browser)
    assert code(answer) == (503, "payments_unavailable")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(("url", "expected"), [(None, "payments_not_configured"), ("away", "payments_unavailable")])
async def test_without_a_provider_nothing_is_paid(
    shop: str, monkeypatch: pytest.MonkeyPatch, url: str | None, expected: str
) -> None:
    if url:
        monkeypatch.setenv("LANKA_PAYMENTS_URL", f"http://127.0.0.1:{free_port()}")
    async with calling(shop) as client:
        assert code(await pays(await comes(client))) == (503, expected)


@pytest.mark.parametrize("payment_id", ["pay_of_nobody"])
async def test_a_bank_decides_nothing_of_a_payment_that_the_provider_does_not_know(
    browser: httpx.AsyncClient, payment_id: str
) -> None:
    order_id = await orders(browser, payment_id)
    answer = await browser.post(f"/shop/orders/{order_id}/bank", json={"accepted": True})
    assert code(answer) == (409, "payment_unknown")
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, (404, "no_sandbox")),
        (400, (404, "no_sandbox")),
        (401, (404, "no_sandbox")),
        (404, (404, "no_sandbox")),
        (408, (503, "payments_unavailable")),
        (429, (503, "payments_unavailable")),
        (500, (503, "payments_unavailable")),
    ],
)
async def test_who_refuses_for_good_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: tuple[int, str]
) -> None:
    async def refuses(*_: object, **__: object) -> httpx.Response:
        return httpx.Response(status, request=httpx.Request("POST", "http://provider/payments"))

    monkeypatch.setattr("api.sandbox.httpx.AsyncClient.request", refuses)
    async with aclosing(Sandbox("http://provider")) as sandbox:
        with pytest.raises(Problem) as refused:
            await sandbox.ask(
                PaymentAnswer, "POST", "/payments", within=5, missing=Code.PAYMENTS_NOT_CONFIGURED, refused={}
            )
    assert (refused.value.code.status, refused.value.code) == expected


async def test_the_customer_plays_the_bank_of_a_transfer(
    browser: httpx.AsyncClient, sandbox: httpx.AsyncClient
) -> None:
    for accepted, status in ((True, "authorized"), (False, "declined")):
        payment_id = (await pays(browser, status, method="bank_transfer")).json()["payment_id"]
        order_id = await orders(browser, payment_id)
        answer = await browser.post(f"/shop/orders/{order_id}/bank", json={"accepted": accepted})
        assert (answer.status_code, answer.json()) == (200, {"payment_id": payment_id, "status": status})
        assert (await sandbox.get(f"/payments/{payment_id}")).json()["status"] == status
        again = await browser.post(f"/shop/orders/{order_id}/bank", json={"accepted": accepted})
        assert code(again) == (409, "payment_decided")


async def test_nobody_plays_the_bank_of_another_customer(
    browser: httpx.AsyncClient, sandbox: httpx.AsyncClient
) -> None:
    payment_id = (await pays(browser, method="bank_transfer")).json()["payment_id"]
    order_id = await orders(browser, payment_id)
    browser.cookies.clear()
    other = await comes(browser)
    assert code(await other.post(f"/shop/orders/{order_id}/bank", json={"accepted": True})) == (404, "order_not_found")
    assert (await sandbox.get(f"/payments/{payment_id}")).json()["status"] == "pending"


async def test_a_page_never_meets_modules_of_another_version(browser: httpx.AsyncClient) -> None:
    module = await browser.get("/static/shop/main.js")
    assert module.headers["content-type"].startswith("text/javascript")
    assert module.headers["cache-control"] == "no-cache"
    again = await browser.get("/static/shop/main.js", headers={"If-None-Match": module.headers["etag"]})
    assert again.status_code == httpx.codes.NOT_MODIFIED
