"""An order's link: whoever has it may read this one order, and nothing else."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from api.order_links import OrderLinks
from store.database import Pool
from tests.integration.conftest import calling
from tests.shop import accept, an_order

SECRET = "secret-of-this-test-long-enough"


@pytest.fixture
async def api(shop: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("LANKA_LINK_SECRET", SECRET)
    async with calling(shop) as api:
        yield api


async def an_accepted_order(pool: Pool) -> str:
    await accept(pool, order := an_order(cup=1))
    return order.order_id


async def signature_of(api: httpx.AsyncClient, order_id: str) -> str:
    page: str = (await api.get(f"/orders/{order_id}")).json()["links"]["page"]
    address = urlsplit(page)
    assert (address.path, address.query) == ("/", ""), "what is signed is sent to no server"
    order, _, query = address.fragment.partition("?")
    assert order == f"order-{order_id}"
    return parse_qs(query)["signature"][0]


def by_link(signature: str) -> dict[str, str]:
    """A stranger: no key, no session."""
    return {"Authorization": "", "Order-Signature": signature}


async def test_a_stranger_with_the_link_reads_the_order_and_may_nothing_else(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    order_id, other = await an_accepted_order(pool), await an_accepted_order(pool)
    stranger = by_link(await signature_of(api, order_id))

    seen = await api.get(f"/orders/{order_id}", headers=stranger)
    assert seen.status_code == httpx.codes.OK
    assert seen.json()["links"] == {"self": f"/orders/{order_id}", "events": f"/orders/{order_id}/events"}
    events = await api.get(f"/orders/{order_id}/events", headers=stranger)
    assert [event["type"] for event in events.json()] == ["lanka.OrderReceived"]

    for path in (f"/orders/{other}", f"/orders/{other}/events"):
        assert (await api.get(path, headers=stranger)).json()["code"] == "order_not_found"
    for method, path in (
        ("GET", "/orders"),
        ("POST", f"/orders/{order_id}/cancel"),
        ("POST", f"/shop/orders/{order_id}/bank"),
        ("GET", f"/operations/orders/{order_id}"),
        ("GET", "/operations/parked"),
    ):
        answer = await api.request(method, path, headers=stranger, json={} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (401, "api_key_missing"), path


@pytest.mark.parametrize(
    "forge", [lambda s: s[:-1], lambda s: s + "A", lambda s: s.swapcase(), lambda _: "", lambda _: "é"]
)
async def test_a_forged_or_shortened_link_shows_nothing(api: httpx.AsyncClient, pool: Pool, forge: object) -> None:
    order_id = await an_accepted_order(pool)
    assert callable(forge)
    signature = forge(await signature_of(api, order_id))
    for path in (f"/orders/{order_id}", f"/orders/{order_id}/events"):
        answer = await api.get(path, headers={**by_link(""), "Order-Signature": signature.encode()})
        assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")


async def test_another_customer_with_the_link_only_reads(api: httpx.AsyncClient, pool: Pool) -> None:
    order_id = await an_accepted_order(pool)
    signature = await signature_of(api, order_id)
    origin = {"Authorization": "", "Origin": str(api.base_url).rstrip("/")}
    begun = await api.post("/shop/session", headers=origin)
    assert begun.status_code == httpx.codes.OK, begun.text

    assert (await api.get(f"/orders/{order_id}", headers={"Authorization": ""})).status_code == httpx.codes.NOT_FOUND
    seen = await api.get(f"/orders/{order_id}", headers=by_link(signature))
    assert set(seen.json()["links"]) == {"self", "events"}
    events = await api.get(f"/orders/{order_id}/events", headers=by_link(signature))
    assert events.status_code == httpx.codes.OK
    cancelled = await api.post(f"/orders/{order_id}/cancel", json={}, headers=by_link(signature) | origin)
    assert cancelled.json()["code"] == "order_not_found"


async def test_a_key_that_is_wrong_is_not_mended_by_a_link(api: httpx.AsyncClient, pool: Pool) -> None:
    order_id = await an_accepted_order(pool)
    headers = by_link(await signature_of(api, order_id)) | {"Authorization": "Bearer nobody"}
    assert (await api.get(f"/orders/{order_id}", headers=headers)).json()["code"] == "api_key_invalid"


async def test_the_link_comes_with_the_accepted_order_and_is_in_no_log(
    api: httpx.AsyncClient, pool: Pool, capfd: pytest.CaptureFixture[str]
) -> None:
    order_id = await an_accepted_order(pool)
    signature = await signature_of(api, order_id)
    listed = (await api.get("/orders")).json()["orders"]
    assert [order["links"]["page"] for order in listed] == [f"/#order-{order_id}?signature={signature}"]
    assert (await api.get(f"/orders/{order_id}", headers=by_link(signature))).status_code == httpx.codes.OK
    said = capfd.readouterr()
    assert f"/orders/{order_id}" in said.out + said.err
    assert signature not in said.out + said.err


async def test_without_a_secret_there_are_no_links(shop: str, pool: Pool) -> None:
    order_id = await an_accepted_order(pool)
    async with calling(shop) as api:
        assert "page" not in (await api.get(f"/orders/{order_id}")).json()["links"]
        for signature in ("", "None", OrderLinks(SECRET).page(order_id) or ""):
            answer = await api.get(f"/orders/{order_id}", headers=by_link(signature))
            assert answer.status_code in {httpx.codes.NOT_FOUND, httpx.codes.UNAUTHORIZED}


def test_another_secret_signs_otherwise() -> None:
    assert OrderLinks(SECRET).page("order") != OrderLinks(SECRET + "!").page("order")
