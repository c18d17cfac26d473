"""Whatever is wrong with a request, the answer says what, nothing is stored, and nobody is alarmed."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from store.database import Pool, open_pool
from store.seed import seed
from tests.conftest import fresh_database
from tests.integration.conftest import KEYS, OPERATOR, calling

LINE = '{"sku": "MUG", "quantity": 1, "unit_price": 1350}'
ORDER = '{"customer_id": "cus_1", "payment_id": "pay_1", "currency": "EUR", "lines": [%s]}' % LINE  # noqa: UP031
IN_EUR, IN_USD = (LINE.replace("{", f'{{"currency": "{code}", ') for code in ("EUR", "USD"))
MIXED = ORDER.replace(LINE, f"{IN_EUR}, {IN_USD}")
PRODUCT = '{"name": "Mug", "unit_price": 1350, "currency": "EUR", "on_hand": 10}'
KEYED = {"Idempotency-Key": "one"}


def line(old: str, new: str) -> str:
    return ORDER.replace(LINE, LINE.replace(old, new))


def lines(count: int) -> str:
    return ORDER.replace(LINE, ", ".join([LINE] * count))


BAD_ORDERS: list[tuple[str, int, str, str]] = [
    # body, status, code, pointer
    (
        lines(2).replace("1350", str(10**12)).replace('"quantity": 1', '"quantity": 10000'),
        422,
        "total_out_of_range",
        "#/lines",
    ),
    (ORDER.replace("{", '{"note": 1, ', 1), 422, "unknown_field", "#/note"),
    (line('"sku"', '"colour": "red", "sku"'), 422, "unknown_field", "#/lines/0/colour"),
    (ORDER.replace("{", '{"a/b~\\u0000": 1, ', 1), 422, "unknown_field", "#/a~1b~0%00"),
    (ORDER.replace("{", '{"\\ud800": 1, ', 1), 422, "invalid_value", "#"),
    (line('"sku"', '"currency": "EUR", "sku"'), 422, "unknown_field", "#/lines/0/currency"),
    (line('"sku"', '"currency": "USD", "sku"'), 422, "mixed_currencies", "#/lines/0/currency"),
    (MIXED, 422, "mixed_currencies", "#/lines/1/currency"),
    (MIXED.replace('"currency": "EUR", ', "", 1), 422, "mixed_currencies", "#/lines/1/currency"),
    (ORDER.replace("{", '{"currency": "EUR", ', 1), 422, "repeated_field", "#/currency"),
    (line('"sku"', '"quantity": 1, "sku"'), 422, "repeated_field", "#/lines/0/quantity"),
    (ORDER.replace('"customer_id": "cus_1", ', ""), 422, "missing_field", "#/customer_id"),
    (line('"sku": "MUG", ', ""), 422, "missing_field", "#/lines/0/sku"),
    ("{}", 422, "missing_field", "#/customer_id"),
    (line('"quantity": 1', '"quantity": 0'), 422, "quantity_out_of_range", "#/lines/0/quantity"),
    (line('"quantity": 1', '"quantity": -1'), 422, "quantity_out_of_range", "#/lines/0/quantity"),
    (line('"quantity": 1', '"quantity": 10001'), 422, "quantity_out_of_range", "#/lines/0/quantity"),
    (line('"quantity": 1', f'"quantity": {10**400}'), 422, "quantity_out_of_range", "#/lines/0/quantity"),
    (line('"quantity": 1', '"quantity": 1.5'), 422, "not_an_integer", "#/lines/0/quantity"),
    (line('"quantity": 1', '"quantity": 1.0'), 422, "not_an_integer", "#/lines/0/quantity"),
    (line('"quantity": 1', '"quantity": 1e400'), 422, "not_an_integer", "#/lines/0/quantity"),
    (line('"quantity": 1', '"quantity": "1"'), 422, "not_an_integer", "#/lines/0/quantity"),
    (line('"quantity": 1', '"quantity": true'), 422, "not_an_integer", "#/lines/0/quantity"),
    (line('"quantity": 1', '"quantity": null'), 422, "not_an_integer", "#/lines/0/quantity"),
    (line("1350", "0"), 422, "unit_price_out_of_range", "#/lines/0/unit_price"),
    (line("1350", "-1"), 422, "unit_price_out_of_range", "#/lines/0/unit_price"),
    (line("1350", str(10**12 + 1)), 422, "unit_price_out_of_range", "#/lines/0/unit_price"),
    (line("1350", "13.50"), 422, "not_an_integer", "#/lines/0/unit_price"),
    (lines(101), 422, "too_many_lines", "#/lines"),
    (lines(0), 422, "no_lines", "#/lines"),
    (ORDER.replace(f"[{LINE}]", LINE), 422, "not_an_array", "#/lines"),
    (ORDER.replace(LINE, "1"), 422, "not_an_object", "#/lines/0"),
    (ORDER.replace("EUR", "EUX"), 422, "unknown_currency", "#/currency"),
    (ORDER.replace("EUR", "eur"), 422, "unknown_currency", "#/currency"),
    (ORDER.replace("EUR", "EUR\\n"), 422, "unknown_currency", "#/currency"),
    (ORDER.replace("cus_1", "cus\\u0000"), 422, "invalid_id", "#/customer_id"),
    (ORDER.replace("cus_1", "cus_1\\n"), 422, "invalid_id", "#/customer_id"),
    (ORDER.replace("pay_1", ""), 422, "invalid_id", "#/payment_id"),
    (ORDER.replace("pay_1", "p" * 129), 422, "invalid_id", "#/payment_id"),
    (ORDER.replace("MUG", "\\u001b[31m"), 422, "invalid_id", "#/lines/0/sku"),
    (ORDER.replace("MUG", "\\ud800"), 422, "invalid_id", "#/lines/0/sku"),
    (ORDER.replace('"cus_1"', "42"), 422, "not_a_string", "#/customer_id"),
    ("[]", 422, "not_an_object", "#"),
    ('"order"', 422, "not_an_object", "#"),
    ("null", 422, "not_an_object", "#"),
]

BROKEN: list[bytes] = [
    b"",
    b"{",
    b"not json",
    ORDER.encode() + b"x",
    ORDER.replace("1350", "NaN").encode(),
    ORDER.replace("1350", "-Infinity").encode(),
    ORDER.replace("1350", "1" * 5000).encode(),
    ORDER.replace("cus_1", "cus\x00").encode(),
    ORDER.encode().replace(b"cus_1", b"cus_\xff"),
    ORDER.encode("utf-16"),
    b"\xef\xbb\xbf" + ORDER.encode(),
    b"[" * 60_000,
    b'{"a":' * 10_000,
]


@pytest.fixture(scope="module")
async def shop(postgres_url: str, template: str) -> AsyncIterator[str]:
    """One shop for all: none of these tests changes it."""
    async with fresh_database(postgres_url, template) as url:
        await seed(url, skus=3, keys=KEYS)
        yield url


@pytest.fixture(scope="module")
async def pool(shop: str) -> AsyncIterator[Pool]:
    async with open_pool(shop) as pool:
        yield pool


@pytest.fixture(scope="module")
async def api(shop: str) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(shop) as client:
        yield client


@pytest.fixture(autouse=True)
async def _nothing_happens(pool: Pool, api: httpx.AsyncClient) -> AsyncIterator[None]:
    """Nothing is stored, and nothing is logged as more than a request."""
    with capture_logs() as logs:
        yield
    for table, rows in {"orders": 0, "subjects": 0, "journal": 0, "idempotency_keys": 0, "catalogue": 3}.items():
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == rows
    assert {(entry["event"], entry["log_level"]) for entry in logs} == {("request", "info")}
    assert "shop-key" not in str(logs)


def problem(answer: httpx.Response) -> dict[str, Any]:
    """The problem details, once they have been found to be what RFC 9457 and the contract say."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    details: dict[str, Any] = answer.json()
    assert details["status"] == answer.status_code
    assert details["type"] == f"urn:lanka:problem:{details['code']}"
    assert details["title"]
    assert details["detail"]
    return details


async def post(api: httpx.AsyncClient, content: str | bytes, **headers: str) -> httpx.Response:
    return await api.post("/orders", content=content, headers={"Content-Type": "application/json"} | KEYED | headers)


@pytest.mark.parametrize(("body", "status", "code", "pointer"), BAD_ORDERS)
async def test_a_wrong_order_is_told_what_is_wrong_and_where(
    api: httpx.AsyncClient, body: str, status: int, code: str, pointer: str
) -> None:
    answer = await post(api, body)
    details = problem(answer)
    assert (answer.status_code, details["code"], details["errors"][0]["pointer"]) == (status, code, pointer)
    assert details["errors"][0]["code"] == code


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
async def test_broken_json_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    answer = await post(api, body)
    assert (answer.status_code, problem(answer)["code"]) == (400, "malformed_json")


async def test_all_that_is_wrong_is_told_at_once(api: httpx.AsyncClient) -> None:
    details = problem(await post(api, line("1350", "0").replace("EUR", "eur")))
    assert [(flaw["code"], flaw["pointer"]) for flaw in details["errors"]] == [
        ("unknown_currency", "#/currency"),
        ("unit_price_out_of_range", "#/lines/0/unit_price"),
    ]


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
async def test_only_json_is_read(api: httpx.AsyncClient, media_type: str) -> None:
    answer = await post(api, ORDER, **{"Content-Type": media_type})
    assert (answer.status_code, problem(answer)["code"]) == (415, "unsupported_media_type")


async def test_a_packed_body_is_not_read(api: httpx.AsyncClient) -> None:
    answer = await post(api, gzip.compress(ORDER.encode()), **{"Content-Encoding": "gzip"})
    assert (answer.status_code, problem(answer)["code"]) == (415, "unsupported_media_type")


async def test_a_large_body_is_refused(api: httpx.AsyncClient) -> None:
    answer = await post(api, ORDER + " " * 65_536)
    assert (answer.status_code, problem(answer)["code"]) == (413, "body_too_large")


async def test_an_order_needs_an_idempotency_key(api: httpx.AsyncClient) -> None:
    answer = await api.post("/orders", content=ORDER, headers={"Content-Type": "application/json"})
    assert (answer.status_code, problem(answer)["code"]) == (400, "idempotency_key_missing")


@pytest.mark.parametrize("keys", [[b""], [b"two words"], [b"k" * 256], [b"caf\xe9"], [b"one", b"two"]])
async def test_an_idempotency_key_is_visible_ascii_and_sent_once(api: httpx.AsyncClient, keys: list[bytes]) -> None:
    headers = [(b"Content-Type", b"application/json"), *((b"Idempotency-Key", key) for key in keys)]
    answer = await api.post("/orders", content=ORDER, headers=headers)
    assert (answer.status_code, problem(answer)["code"]) == (400, "idempotency_key_invalid")


@pytest.mark.parametrize("path", ["/orders/a%00b", "/orders/a%0Ab/events", "/orders/%FF", "/orders/" + "a" * 129])
async def test_an_id_in_a_path_is_an_id(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    details = problem(answer)
    assert (answer.status_code, details["code"], details["errors"][0]["parameter"]) == (422, "invalid_id", "order_id")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("status=lost", "invalid_status"),
        ("customer_id=%00", "invalid_id"),
        ("limit=0", "invalid_limit"),
        ("limit=101", "invalid_limit"),
        ("limit=many", "invalid_limit"),
        ("limit=" + "9" * 5000, "invalid_limit"),
        ("limit=", "invalid_limit"),
        ("cursor=", "invalid_cursor"),
        ("cursor=%00", "invalid_cursor"),
        ("cursor=AAAA", "invalid_cursor"),
        ("cursor=caf%C3%A9", "invalid_cursor"),
        ("colour=red", "unknown_parameter"),
        ("limit=1&limit=2", "repeated_parameter"),
    ],
)
async def test_a_wrong_query_is_told_what_is_wrong(api: httpx.AsyncClient, query: str, code: str) -> None:
    answer = await api.get(f"/orders?{query}")
    details = problem(answer)
    assert (answer.status_code, details["code"]) == (422, code)
    assert details["errors"][0]["parameter"] == query.partition("=")[0]


@pytest.mark.parametrize(
    ("sku", "body", "code"),
    [
        ("MUG%00", PRODUCT, "invalid_id"),
        ("MUG", PRODUCT.replace("Mug", ""), "invalid_name"),
        ("MUG", PRODUCT.replace("Mug", "Mug\\u0007"), "invalid_name"),
        ("MUG", PRODUCT.replace("Mug", "\\udc00"), "invalid_name"),
        ("MUG", PRODUCT.replace("Mug", "m" * 201), "invalid_name"),
        ("MUG", PRODUCT.replace("1350", "0"), "unit_price_out_of_range"),
        ("MUG", PRODUCT.replace("EUR", "XXX"), "unknown_currency"),
        ("MUG", PRODUCT.replace("10", "-1"), "on_hand_out_of_range"),
        ("MUG", PRODUCT.replace("10", str(10**13)), "on_hand_out_of_range"),
        ("MUG", PRODUCT.replace("10", "1.5"), "not_an_integer"),
        ("MUG", PRODUCT.replace("{", '{"sku": "MUG", '), "unknown_field"),
        ("MUG", PRODUCT.replace("{", '{"name": "Cup", '), "repeated_field"),
    ],
)
async def test_a_wrong_product_is_told_what_is_wrong(api: httpx.AsyncClient, sku: str, body: str, code: str) -> None:
    headers = OPERATOR | {"Content-Type": "application/json"}
    answer = await api.put(f"/catalogue/{sku}", content=body, headers=headers)
    assert (answer.status_code, problem(answer)["code"]) == (422, code)


NO_TIMES = ["2026", "20261126", "1764179119", "1764179119.5", "-1", "2026-11-26", "2026-11-26T10:00:00", "now"]


@pytest.mark.parametrize("time", NO_TIMES)
async def test_a_time_is_rfc_3339_with_its_offset_wherever_one_is_asked_for(api: httpx.AsyncClient, time: str) -> None:
    for path, name, code in (
        ("parked", "since", "invalid_time"),
        ("parked", "before", "invalid_time"),
        ("subjects", "since", "invalid_time"),
        ("subjects", "before", "invalid_time"),
        ("funnel", "from", "invalid_window"),
        ("funnel", "to", "invalid_window"),
    ):
        answer = await api.get(f"/operations/{path}", params={name: time}, headers=OPERATOR)
        assert (answer.status_code, answer.json()["code"]) == (422, code), (path, name)
    for sent in (time, 2026):
        body = {"since": sent, "why": "x", "dry_run": True}
        answer = await api.post("/operations/parked/release", json=body, headers=OPERATOR)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_time")


async def test_a_byte_order_mark_is_named(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/orders", content=b"\xef\xbb\xbf" + ORDER.encode(), headers={"Content-Type": "application/json", **KEYED}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")
    assert "byte order mark" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/catalogue?colour=red", "unknown_parameter"),
        ("/operations/parked?chain=support&link=payment", "invalid_link"),
        ("/operations/subjects?chain=orders&link=assign", "invalid_link"),
        ("/operations/funnel?hours=2&from=2026-11-26T10:00:00Z", "invalid_window"),
        ("/orders/%01", "invalid_id"),
    ],
)
async def test_what_means_nothing_is_refused_and_told_once(api: httpx.AsyncClient, path: str, code: str) -> None:
    answer = await api.get(path, headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert len(answer.json().get("errors", [1])) == 1


async def test_an_unknown_parking_is_not_called_an_order(api: httpx.AsyncClient) -> None:
    answer = await api.post("/operations/parked/mistyped.cart.parked.1f/release", json={"why": "x"}, headers=OPERATOR)
    assert (answer.status_code, "parking" in answer.json()["detail"]) == (404, True)
