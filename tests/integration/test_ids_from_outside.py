"""Ids and SKUs as shops really have them: 1 to 128 printable characters of any script, everywhere the same."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from pydantic import TypeAdapter, ValidationError

from api.events import STRUCTURED
from chain.subject import Identifier
from store.database import Pool, open_pool, transaction
from store.intake import register
from store.seed import seed
from tests.conftest import fresh_database
from tests.integration.conftest import KEYS, OPERATOR, calling, serving
from workflows.chains import accepted

REAL = [
    "ART 12/3",
    "a+b",
    "a/b/c",
    "/",
    "//",
    "50%",
    "%2F",
    "%252f",
    "a?b=c&d#e",
    "a,b",
    'say "hi"',
    "{curly}\\back",
    "cs_test_" + "a1B2" * 14 + "xy",
    "someone+tag@example.com",
    "Чашка №5",
    "e\u0301",
    "\u00e9",
    "...",
    "-1",
    "=1+1",
    "release",
    "x/release",
    "👩‍🚀" * 42,
    "🎁" * 128,
    "x" * 128,
]

REFUSED = ["", ".", "..", " a", "a ", "\u00a0a", "a\u3000", "a\u2028", "a\nb", "a\x00", "a\x7f", "a\x85b"]
REFUSED += ["\ud83d", "x" * 129]

IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


@pytest.fixture(scope="module")
async def shop(postgres_url: str, template: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_url, template) as url:
        await seed(url, skus=3, keys=KEYS)
        yield url


@pytest.fixture(scope="module")
async def pool(shop: str) -> AsyncIterator[Pool]:
    async with open_pool(shop) as pool:
        async with transaction(pool) as tx:
            await register(tx, accepted())
        yield pool


@pytest.fixture(scope="module")
async def api(shop: str) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(shop) as client:
        yield client


def in_path(text: str) -> str:
    return quote(text, safe="")


async def begins(api: httpx.AsyncClient, subject: str, **data: str) -> httpx.Response:
    call = {"customer_id": "cus_1", "language": "uk", "skill": "orders"} | data
    event = {"specversion": "1.0", "id": subject, "source": "/pbx", "type": "lanka.SupportCallStarted"}
    content = json.dumps(event | {"subject": subject, "data": call})
    return await api.post("/events", content=content, headers={"Content-Type": STRUCTURED})


async def orders(api: httpx.AsyncClient, **ids: str) -> httpx.Response:
    line = {"sku": ids.pop("sku", "MUG"), "quantity": 1, "unit_price": 100}
    order = {"customer_id": "cus_1", "payment_id": "pay_1", "currency": "EUR", "lines": [line]} | ids
    key = quote(json.dumps(order, ensure_ascii=True))[:100] + str(hash(json.dumps(order)))
    return await api.post("/orders", content=json.dumps(order), headers={"Idempotency-Key": key} | JSON)


JSON = {"Content-Type": "application/json"}
PRODUCT = {"name": "A thing", "unit_price": 100, "currency": "EUR", "on_hand": 5}


@pytest.mark.parametrize("sku", REAL, ids=ascii)
async def test_a_sku_is_put_listed_and_ordered_as_it_is(api: httpx.AsyncClient, sku: str) -> None:
    answer = await api.put(f"/catalogue/{in_path(sku)}", json=PRODUCT, headers=OPERATOR)
    assert (answer.status_code, answer.json().get("sku")) == (200, sku), answer.text
    assert sku in [each["sku"] for each in (await api.get("/catalogue")).json()]
    accepted = await orders(api, sku=sku)
    assert accepted.status_code == 202, accepted.text
    (line,) = (await api.get(accepted.headers["Location"])).json()["lines"]
    assert line["sku"] == sku


@pytest.mark.parametrize("name", REAL, ids=ascii)
async def test_a_customer_and_a_payment_are_found_by_the_ids_they_have(api: httpx.AsyncClient, name: str) -> None:
    accepted = await orders(api, customer_id=name, payment_id=f"{name[:127]}!")
    assert accepted.status_code == 202, accepted.text
    order_id = accepted.json()["order_id"]
    (listed,) = (await api.get("/orders", params={"customer_id": name})).json()["orders"]
    assert (listed["order_id"], listed["customer_id"]) == (order_id, name)
    for sought in (name, f"{name[:127]}!"):
        found = (await api.get("/operations/subjects", params={"q": sought}, headers=OPERATOR)).json()
        assert [each["subject"] for each in found] == [order_id]


@pytest.mark.parametrize("subject", REAL, ids=ascii)
async def test_a_subject_is_read_by_its_id(api: httpx.AsyncClient, pool: Pool, subject: str) -> None:
    assert (await begins(api, subject, customer_id=subject, skill=subject)).status_code == 202
    path = in_path(subject)
    (told,) = (await api.get(f"/events/{path}")).json()
    assert (told["subject"], told["data"]["customer_id"]) == (subject, subject)
    seen = await api.get(f"/operations/subjects/{path}", headers=OPERATOR)
    assert (seen.status_code, seen.json()["subject"]) == (200, subject)
    for verb in ("release", "reject"):
        decided = await api.post(f"/operations/parked/{path}/{verb}", json={"why": "x"}, headers=OPERATOR)
        assert (decided.status_code, decided.json()) == (200, {"verdict": "not_parked"})
    operator = {"name": "Ann", "languages": ["uk"], "skills": [subject], "available": False}
    put = await api.put(f"/support/operators/{path}", json=operator, headers=OPERATOR)
    assert (put.status_code, put.json()["operator_id"]) == (200, subject)
    assert await pool.fetchval("SELECT is_identifier($1)", subject)


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
async def test_what_no_id_may_be_is_refused_everywhere(api: httpx.AsyncClient, pool: Pool, name: str) -> None:
    with pytest.raises(ValidationError):
        IDENTIFIER.validate_python(name)
    for ids in ({"sku": name}, {"customer_id": name}, {"payment_id": name}):
        answer = await orders(api, **ids)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_id")
    answer = await begins(api, name)
    assert answer.status_code == 422
    assert "invalid_id" in [flaw["code"] for flaw in answer.json()["errors"]]
    if name and name.isprintable() and name not in (".", ".."):  # which a client takes out of a path
        operator = {"name": "Ann", "languages": ["uk"], "skills": ["orders"], "available": False}
        for path, body in ((f"/catalogue/{in_path(name)}", PRODUCT), (f"/support/operators/{in_path(name)}", operator)):
            answer = await api.put(path, json=body, headers=OPERATOR)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_id")
    if not any(each == "\x00" or "\ud800" <= each <= "\udfff" for each in name):  # which PostgreSQL cannot even be told
        assert not await pool.fetchval("SELECT is_identifier($1)", name)


@pytest.mark.parametrize("path", ["/events/%FF", "/events/%ED%A0%80", "/events/a%C3", "/events/a%00"])
async def test_bytes_that_are_no_text_are_no_id(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_id")


async def test_two_spellings_of_a_letter_are_two_ids(api: httpx.AsyncClient) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for sku in (composed, decomposed):
        assert (await api.put(f"/catalogue/{in_path(sku)}", json=PRODUCT, headers=OPERATOR)).json()["sku"] == sku
    listed = {each["sku"] for each in (await api.get("/catalogue")).json()}
    assert {composed, decomposed} <= listed


async def test_an_encoded_slash_is_no_way_to_another_route(api: httpx.AsyncClient) -> None:
    for path in ("/orders%2Fx", "/operations%2Fparked", "/catalogue%2FMUG", "/static%2Fshop/main.js"):
        answer = await api.get(path, headers=OPERATOR)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_real_server_takes_them_as_well(shop: str) -> None:
    """In this process the path is made by the test's client."""
    async with serving(shop) as served:
        for subject in ("call/1 2", "50%25", "дзвінок"):
            assert (await begins(served, subject)).status_code == 202
            answer = await served.get(f"/events/{in_path(subject)}")
            assert [each["subject"] for each in answer.json()] == [subject]


async def test_the_live_stream_follows_ids_with_commas_and_quotes(shop: str, pool: Pool) -> None:
    """Each is told at once, and not only when all that is watched is looked at anyway."""
    async with serving(shop) as served:
        for subject in ('live a,b "c"', "live кома, й", "live"):
            assert (await begins(served, subject)).status_code == 202
            headers = {"Accept": "text/event-stream"}
            async with served.stream("GET", f"/events/{in_path(subject)}", headers=headers) as stream:
                lines = stream.aiter_lines()
                assert await _next_type(lines) == "lanka.SupportCallStarted"
                heard = await _notified(pool, served, subject)
                assert subject in json.loads(heard)
                assert await _next_type(lines) == "lanka.SupportCallEnded"


async def _next_type(lines: AsyncIterator[str]) -> str:
    async for line in lines:
        if line.startswith("event: "):
            return line.removeprefix("event: ")
    raise AssertionError("the stream has ended")


async def _notified(pool: Pool, served: httpx.AsyncClient, subject: str) -> str:
    """Ends the call; what PostgreSQL notified."""
    heard: list[str] = []

    def hear(*notification: Any) -> None:
        heard.append(notification[3])

    async with pool.acquire() as connection:
        await connection.add_listener("lanka_journal", hear)
        ended = {"specversion": "1.0", "id": f"{subject} ended"[-128:], "source": "/pbx", "subject": subject}
        content = json.dumps(ended | {"type": "lanka.SupportCallEnded"})
        assert (await served.post("/events", content=content, headers={"Content-Type": STRUCTURED})).is_success
        await connection.execute("SELECT 1")
        await connection.remove_listener("lanka_journal", hear)
    return heard[-1]


async def test_many_long_subjects_at_once_are_told_as_any(pool: Pool) -> None:
    """A payload of PostgreSQL holds less than 8,000 bytes."""
    heard: list[str] = []

    def hear(*notification: Any) -> None:
        heard.append(notification[3])

    async with pool.acquire() as connection:
        await connection.add_listener("lanka_journal", hear)
        await connection.execute(
            """
            SELECT record_events(array_agg('/many'::text), array_agg(n::text), array_agg('x'::text),
                array_agg('fact'::text), array_agg(NULL::text), array_agg(repeat(chr(128512), 120) || n),
                array_agg(now()), array_agg('{}'::jsonb))
            FROM generate_series(1, 20) AS n
            """
        )
        await connection.execute("SELECT 1")
        await connection.remove_listener("lanka_journal", hear)
    assert heard == [""]


@pytest.mark.parametrize("subject", REAL, ids=ascii)
async def test_the_outbox_takes_them(pool: Pool, subject: str) -> None:
    insert = "INSERT INTO event_outbox (source, id, type, subject) VALUES ('/app', $1, 'lanka.SupportCallEnded', $1)"
    async with pool.acquire() as connection:
        await connection.execute(insert, subject)


@pytest.mark.parametrize("subject", [each for each in REFUSED if each.isprintable() or each.isspace()], ids=ascii)
async def test_the_outbox_refuses_what_is_no_id(pool: Pool, subject: str) -> None:
    insert = "INSERT INTO event_outbox (source, id, type, subject) VALUES ('/app', 'x', 'lanka.SupportCallEnded', $1)"
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(insert, subject)
