"""Whatever text comes from outside, it is stored or refused in words: never a 500 that is sent again for ever."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api.events import STRUCTURED
from store.seed import seed
from tests.conftest import fresh_database
from tests.integration.conftest import KEYS, OPERATOR, calling
from tests.integration.test_sandbox_provider import provider

# As JSON writes them.
TEXTS = {
    "NUL": r'"\u0000"',
    "half a surrogate pair": r'"\ud83d"',
    "the other half": r'"a\udc00"',
    "the two halves swapped": r'"\ude00\ud83d"',
    "a control character": r'"\u001b[31m"',
    "no character": r'"\uffff"',
    "right to left": '"\u202egnp.exe"',
    "4,000 characters": '"' + "x" * 4_000 + '"',
    "an emoji of 4 bytes, 4,000 times": '"' + "🎁" * 4_000 + '"',
    "an infinite number": "1e400",
    "a huge number": "1" * 4_000,
    "a tiny number": "1e-400",
    "NaN": "NaN",
    "minus infinity": "-Infinity",
    "deep arrays": "[" * 150 + "]" * 150,
    "deeper arrays": "[" * 20_000 + "]" * 20_000,
    "deep objects": '{"a":' * 150 + "1" + "}" * 150,
    "a name that is NUL": r'{"\u0000": 1}',
    "a name that is half a pair": r'{"\ud83d": 1}',
    "formula": '"=1+1"',
}
HERE = "@@"
"""Where the text goes."""

CALL = '"customer_id": "cus_1", "language": "uk", "skill": "orders"'
EVENT = '"specversion": "1.0", "type": "lanka.SupportCallStarted"'
LINE = '{"sku": "MUG", "quantity": 1, "unit_price": 100}'

BODIES: list[tuple[str, str, str]] = [
    ("POST", "/orders", f'{{"customer_id": @@, "payment_id": "p", "currency": "EUR", "lines": [{LINE}]}}'),
    ("POST", "/orders", f'{{"customer_id": "c", "payment_id": @@, "currency": "EUR", "lines": [{LINE}]}}'),
    ("POST", "/orders", f'{{"customer_id": "c", "payment_id": "p", "currency": @@, "lines": [{LINE}]}}'),
    ("POST", "/orders", '{"customer_id": "c", "payment_id": "p", "currency": "EUR", "lines": @@}'),
    ("POST", "/orders", '{"customer_id": "c", "payment_id": "p", "currency": "EUR", "lines": [@@]}'),
    ("POST", "/orders", f'{{"customer_id": "c", "payment_id": "p", "currency": "EUR", "lines": [{LINE}], "more": @@}}'),
    ("POST", "/orders/none/cancel", '{"why": @@}'),
    ("POST", "/events", f'{{{EVENT}, "id": @@, "source": "/pbx", "subject": "c", "data": {{{CALL}}}}}'),
    ("POST", "/events", f'{{{EVENT}, "id": "1", "source": @@, "subject": "c", "data": {{{CALL}}}}}'),
    ("POST", "/events", f'{{{EVENT}, "id": "2", "source": "/pbx", "subject": @@, "data": {{{CALL}}}}}'),
    ("POST", "/events", f'{{{EVENT}, "id": "3", "source": "/pbx", "subject": "d", "time": @@, "data": {{{CALL}}}}}'),
    ("POST", "/events", f'{{{EVENT}, "id": "4", "source": "/pbx", "subject": "e", "data": {{{CALL}, "more": @@}}}}'),
    ("POST", "/events", f'{{{EVENT}, "id": "5", "source": "/pbx", "subject": "f", "data": @@}}'),
    ("POST", "/events", '{"specversion": @@}'),
    ("POST", "/events", '{"specversion": "1.0", "type": @@, "id": "6", "source": "/pbx", "subject": "g"}'),
    ("PUT", "/catalogue/MUG", '{"name": @@, "unit_price": 100, "currency": "EUR", "on_hand": 5}'),
    ("PUT", "/catalogue/MUG", '{"name": "Mug", "unit_price": @@, "currency": "EUR", "on_hand": 5}'),
    ("PUT", "/catalogue/MUG", '{"name": "Mug", "unit_price": 100, "currency": "EUR", "on_hand": @@}'),
    ("POST", "/operations/parked/none/release", '{"why": @@}'),
    ("POST", "/operations/parked/none/reject", '{"why": "x", "by": @@}'),
    ("POST", "/operations/parked/release", '{"why": @@}'),
    ("POST", "/operations/parked/release", '{"why": "x", "by": @@, "reason": @@, "link": @@, "customer_id": @@}'),
    ("POST", "/operations/parked/reject", '{"why": "x", "rate_per_second": @@}'),
    ("PUT", "/support/operators/ann", '{"name": @@, "languages": ["uk"], "skills": ["a"], "available": true}'),
    ("PUT", "/support/operators/ann", '{"name": "Ann", "languages": [@@], "skills": [@@], "available": true}'),
    ("POST", "/console/session", '{"key": @@}'),
    ("PUT", "/operations/sandbox/faults", '{"latency_ms": @@}'),
]


@pytest.fixture(scope="module")
async def api(postgres_url: str, template: str) -> AsyncIterator[httpx.AsyncClient]:
    """One shop for all."""
    async with fresh_database(postgres_url, template) as url:
        await seed(url, skus=3, keys=KEYS)
        async with calling(url) as client:
            client.headers.update(OPERATOR | {"Origin": "http://lanka"})
            yield client


def understood(answer: httpx.Response) -> bool:
    """Taken, or refused in words; and whatever is said can be read."""
    answer.json() if answer.content else None
    return answer.status_code < 500


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_no_text_in_a_body_is_our_mistake(api: httpx.AsyncClient, text: str) -> None:
    for nth, (method, path, body) in enumerate(BODIES):
        headers = {"Content-Type": STRUCTURED if path == "/events" else "application/json"}
        content = body.replace(HERE, text).encode()
        answer = await api.request(
            method,
            path,
            content=content,
            headers=headers | {"Idempotency-Key": f"{nth} {hash(text)}".replace(" ", "-")},
        )
        assert understood(answer), (method, path, body, answer.text)
    binary = {f"ce-{name}": value for name, value in json.loads(f"{{{EVENT}}}").items()}
    for name in ("id", "source", "subject", "time"):
        encoded = quote(json.loads(text), errors="surrogatepass") if text.startswith('"') else quote(text)[:8_000]
        given = {"ce-id": "b", "ce-source": "/pbx", "ce-subject": "b", f"ce-{name}": encoded}
        answer = await api.post("/events", json=json.loads(f"{{{CALL}}}"), headers=binary | given)
        assert understood(answer), (name, answer.text)


PARTS = [
    "%00",
    "%FF",
    "%ED%A0%BD",
    "%C3",
    "%1B",
    "x" * 4_000,
    "%F0%9F%8E%81" * 2_000,
    "%E2%80%AE",
    "..%2F..",
    "%",
    "%zz",
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part[:12])
async def test_no_text_in_an_address_is_our_mistake(api: httpx.AsyncClient, part: str) -> None:
    for path in (
        "/orders/@@", "/orders/@@/events", "/orders?customer_id=@@", "/orders?status=@@", "/orders?cursor=@@",
        "/events/@@", "/chains/@@", "/operations/subjects?q=@@", "/operations/orders/@@", "/operations/subjects/@@",
        "/operations/subjects?customer_id=@@", "/operations/subjects?reason=@@", "/operations/subjects?cursor=@@",
        "/operations/parked?reason=@@", "/operations/parked?link=@@", "/operations/parked?customer_id=@@",
        "/operations/parked?cursor=@@", "/operations/parked?since=@@", "/operations/refunds?cursor=@@",
        "/operations/funnel?from=@@", "/@@", "/static/shop/@@",
    ):  # fmt: skip
        answer = await api.get(httpx.URL("http://lanka", raw_path=path.replace(HERE, part).encode()))
        assert answer.status_code < 500, (path, answer.text)
    for path in ("/operations/parked/@@/release", "/orders/@@/cancel", "/webhooks/@@", "/shop/orders/@@/bank"):
        url = httpx.URL("http://lanka", raw_path=path.replace(HERE, part).encode())
        answer = await api.post(url, json={"why": "x"})
        assert answer.status_code < 500, (path, answer.text)


@pytest.mark.parametrize("value", [b"\xff", b"\xed\xa0\xbd", b"\x01", b"x" * 4_000, "чашка".encode(), b"%00", b"=1+1"])
async def test_no_text_in_a_header_is_our_mistake(api: httpx.AsyncClient, value: bytes) -> None:
    for name in (
        b"Idempotency-Key",
        b"Last-Event-ID",
        b"Accept-Language",
        b"Order-Signature",
        b"Accept",
        b"traceparent",
    ):
        body = json.dumps({"customer_id": "c", "payment_id": "p", "currency": "EUR", "lines": [json.loads(LINE)]})
        headers = [(name, value), (b"Content-Type", b"application/json")]
        assert understood(await api.post("/orders", content=body, headers=headers))
        for path in ("/orders/none", "/orders/none/events"):
            assert understood(await api.get(path, headers=[(name, value)]))
    for path in ("/orders", "/orders/none"):
        del_key: list[tuple[bytes, bytes]] = [
            (b"Cookie", b"lanka_shop=" + value),
            (b"Authorization", b"Bearer " + value),
        ]
        for each in del_key:
            assert understood(await api.get(path, headers=[each]))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_no_text_is_the_sandboxs_mistake(tmp_path: Any, text: str) -> None:
    async with provider(tmp_path / "sandbox.db") as (sandbox, _):
        for method, path, body in (
            ("POST", "/payments", '{"amount": @@, "currency": "EUR", "outcome": "pending"}'),
            ("POST", "/payments", '{"amount": 1, "currency": @@, "outcome": @@}'),
            ("POST", "/payments", '{"amount": 1, "currency": "EUR", "outcome": "pending", "more": @@}'),
            ("POST", "/payments/none/settle", '{"outcome": @@}'),
            ("PUT", "/faults", '{"latency_ms": @@}'),
            ("PUT", "/faults", '{"error_rate": @@}'),
            ("PUT", "/faults", "{@@: 1}"),
        ):
            content = body.replace(HERE, text)
            answer = await sandbox.request(
                method, path, content=content.encode(), headers={"Content-Type": "application/json"}
            )
            assert understood(answer), (method, path, body, answer.text)
        for part in ("a%2Fb", "%00", "%FF", "x" * 4_000, "%F0%9F%8E%81"):
            answer = await sandbox.get(httpx.URL(str(sandbox.base_url), raw_path=f"/payments/{part}".encode()))
            assert (answer.status_code, answer.json()["code"]) == (404, "payment_not_found")
