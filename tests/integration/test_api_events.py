"""Events from outside: read as CloudEvents 1.0 in each of their three shapes, stored once, or refused in words."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from structlog.testing import capture_logs

from api.events import BATCH, STRUCTURED
from orders.order import Order
from store.database import Pool, open_pool
from store.seed import seed
from tests.conftest import fresh_database
from tests.integration.conftest import KEYS, OPERATOR, calling
from tests.servers import free_port
from tests.shop import accept, an_order, fetch

CALL = {"customer_id": "cus_1", "language": "uk", "skill": "orders"}
WITHOUT = object()


def event(**changes: Any) -> dict[str, Any]:
    """The beginning of a call, with `changes`."""
    sent = {
        "specversion": "1.0",
        "id": "1",
        "source": "/pbx",
        "type": "lanka.SupportCallStarted",
        "subject": "call_1",
        "data": CALL,
    } | changes
    return {name: value for name, value in sent.items() if value is not WITHOUT}


async def send(
    api: httpx.AsyncClient, body: Any, media_type: str = STRUCTURED, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    return await api.post("/events", content=content, headers={"Content-Type": media_type, **(headers or {})})


def stored(answer: httpx.Response) -> list[bool]:
    """Which of the events are stored only now."""
    assert answer.status_code == 202, answer.text
    return [not each["duplicate"] for each in answer.json()["events"]]


def refused(answer: httpx.Response) -> list[tuple[str, str | None]]:
    """What is wrong, and where."""
    details = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status_code, details["code"]) == (422, details["errors"][0]["code"])
    return [(flaw["code"], flaw.get("pointer", flaw.get("parameter"))) for flaw in details["errors"]]


async def journal(pool: Pool) -> list[dict[str, Any]]:
    return await fetch(pool, "SELECT source, id, type, subject, data FROM journal ORDER BY position")


async def test_an_event_is_stored_and_its_subject_begins(api: httpx.AsyncClient, pool: Pool) -> None:
    answer = await send(api, event(time="2026-07-01T12:00:00+02:00"))
    assert answer.status_code == 202
    assert answer.json() == {
        "events": [{"source": "/pbx", "id": "1", "subject": "call_1", "duplicate": False}],
    }
    (row,) = await journal(pool)
    assert row == {
        "source": "/pbx",
        "id": "1",
        "type": "lanka.SupportCallStarted",
        "subject": "call_1",
        "data": CALL,
    }
    assert await fetch(pool, "SELECT subject, chain, status FROM subjects") == [
        {"subject": "call_1", "chain": "support", "status": "received"}
    ]
    (told,) = (await api.get("/events/call_1")).json()
    assert told == event(time="2026-07-01T10:00:00Z")


def sent(message: HTTPMessage) -> dict[str, Any]:
    return {"body": message.body, "media_type": message.headers["content-type"], "headers": message.headers}


async def test_the_official_library_names_no_media_type_by_itself(api: httpx.AsyncClient, pool: Pool) -> None:
    attributes = {"id": "1", "source": "/pbx", "type": "lanka.SupportCallStarted", "subject": "call_1"}
    message = to_binary(CloudEvent(attributes, CALL), JSONFormat())
    assert "content-type" not in message.headers
    assert stored(await api.post("/events", content=message.body, headers=message.headers)) == [True]
    assert [row["data"] for row in await journal(pool)] == [CALL]


@pytest.mark.parametrize("shape", [to_structured, to_binary])
async def test_what_the_official_library_writes_is_read(api: httpx.AsyncClient, pool: Pool, shape: Any) -> None:
    attributes = {
        "id": "дзвінок 1/€",
        "source": "https://pbx.example/line?n=1",
        "type": "lanka.SupportCallStarted",
        "subject": "call_1",
        "datacontenttype": "application/json",
    }
    message = shape(CloudEvent(attributes, CALL), JSONFormat())
    assert stored(await send(api, **sent(message))) == [True]
    assert stored(await send(api, event(id="дзвінок 1/€", source="https://pbx.example/line?n=1"))) == [False]
    assert [(row["id"], row["data"]) for row in await journal(pool)] == [("дзвінок 1/€", CALL)]


async def test_an_event_without_data_needs_no_body(api: httpx.AsyncClient, pool: Pool) -> None:
    ended = {"type": "lanka.SupportCallEnded", "data": WITHOUT}
    assert stored(await send(api, event(**ended))) == [True]
    headers = {f"ce-{name}": value for name, value in event(**ended, id="2").items()}
    assert stored(await send(api, b"", "application/json", headers)) == [True]
    assert [row["data"] for row in await journal(pool)] == [{}, {}]


async def test_an_event_sent_again_is_stored_once(api: httpx.AsyncClient, pool: Pool) -> None:
    answers = await asyncio.gather(*(send(api, event()) for _ in range(20)))
    assert sorted(stored(answer) for answer in answers) == [[False]] * 19 + [[True]]
    assert stored(await send(api, event(source="/other"))) == [True]
    assert [row["source"] for row in await journal(pool)] == ["/pbx", "/other"]
    assert len(await fetch(pool, "SELECT FROM messages")) == 1


NOON = "2026-07-01T12:00:00Z"


@pytest.mark.parametrize(
    ("first", "second", "again"),
    [
        ({}, {}, True),
        ({"time": NOON}, {"time": "2026-07-01T14:00:00+02:00"}, True),
        ({"time": NOON}, {}, True),
        ({"time": NOON}, {"time": "2026-07-01T12:00:01Z"}, False),
        ({}, {"subject": "call_2"}, False),
        ({}, {"data": CALL | {"language": "en"}}, False),
        ({}, {"type": "lanka.SupportCallEnded", "data": {}}, False),
    ],
)
@pytest.mark.parametrize("binary", [False, True])
async def test_other_content_under_a_known_id_is_refused_and_the_same_is_a_duplicate(
    api: httpx.AsyncClient, pool: Pool, first: dict[str, Any], second: dict[str, Any], again: bool, binary: bool
) -> None:
    assert stored(await send(api, event(**first))) == [True]
    if binary:
        sent_event = event(**second)
        data = sent_event.pop("data")
        answer = await send(api, data, "application/json", {f"ce-{name}": value for name, value in sent_event.items()})
    else:
        answer = await send(api, event(**second))
    if again:
        assert stored(answer) == [False]
    else:
        assert (answer.status_code, answer.json()["code"]) == (409, "event_id_reused")
    assert [(row["type"], row["subject"], row["data"]) for row in await journal(pool)] == [
        ("lanka.SupportCallStarted", "call_1", CALL)
    ]
    # One of a batch: nothing of the batch is stored.
    batch = await send(api, [event(id="new", subject="call_3"), event(**second)], BATCH)
    assert batch.status_code == (202 if again else 409)
    assert len(await journal(pool)) == (2 if again else 1)


async def test_a_batch_is_stored_in_its_order(api: httpx.AsyncClient, pool: Pool) -> None:
    batch = [event(id=str(n), subject=f"call_{n}") for n in range(99)]
    batch.append(batch[7])
    assert stored(await send(api, batch[:5], BATCH)) == [True] * 5
    answer = await send(api, [dict(each, data=CALL) for each in batch], BATCH, {"x-large": "yes"})
    assert stored(answer) == [False] * 5 + [True] * 94 + [False]
    assert [row["id"] for row in await journal(pool)] == [str(n) for n in range(99)]


async def test_a_batch_in_which_one_event_has_no_chain_stores_nothing(api: httpx.AsyncClient, pool: Pool) -> None:
    batch = [event(), event(id="2", type="lanka.OrderReceived"), event(id="3"), event(id="4", type="Anything")]
    assert refused(await send(api, batch, BATCH)) == [("no_route", "#/1/type"), ("no_route", "#/3/type")]
    assert await journal(pool) == []


async def test_an_event_of_another_chain_does_not_touch_an_order(api: httpx.AsyncClient, pool: Pool) -> None:
    order: Order = an_order(cup=1)
    await accept(pool, order)
    for kind in ("lanka.SupportCallStarted", "lanka.SupportCallEnded"):
        data = CALL if kind.endswith("Started") else {}
        batch = [event(id="good"), event(id="bad", type=kind, subject=order.order_id, data=data)]
        answer = await send(api, batch, BATCH)
        assert (answer.status_code, answer.json()["code"]) == (409, "subject_of_another_chain")
        assert order.order_id in answer.json()["detail"]
    assert [row["type"] for row in await journal(pool)] == ["lanka.OrderReceived"]
    assert await fetch(pool, "SELECT status, ended_at FROM subjects") == [{"status": "received", "ended_at": None}]


async def test_the_journal_of_any_subject_can_be_read(api: httpx.AsyncClient, pool: Pool) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    orders_own = await api.get(f"/orders/{order.order_id}/events")
    assert (await api.get(f"/events/{order.order_id}")).json() == orders_own.json() != []
    await send(api, event(id="2", type="lanka.SupportCallEnded", data={}))
    await send(api, event())
    told = (await api.get("/events/call_1")).json()
    assert [each["type"] for each in told] == ["lanka.SupportCallEnded", "lanka.SupportCallStarted"]


async def test_what_links_side_by_side_made_is_read_in_the_order_of_the_table(
    api: httpx.AsyncClient, pool: Pool
) -> None:
    order = an_order(cup=1)
    await accept(pool, order)
    for link in ("price", "cart"):
        await pool.execute(
            "INSERT INTO journal (source, id, type, kind, subject, time, data) "
            "VALUES ($1, $2, 'Made', 'fact', $2, now(), '{}')",
            f"/lanka/{link}",
            order.order_id,
        )
    told = (await api.get(f"/events/{order.order_id}")).json()
    assert [each["source"] for each in told] == ["/lanka/intake", "/lanka/cart", "/lanka/price"]


async def test_a_subject_of_which_nothing_is_known_is_not_found(api: httpx.AsyncClient) -> None:
    answer = await api.get("/events/call_9")
    assert (answer.status_code, answer.json()["code"]) == (404, "subject_not_found")
    assert refused(await api.get("/events/a%00b")) == [("invalid_id", "subject")]


async def test_an_event_that_cannot_be_stored_is_to_be_sent_again() -> None:
    async with calling(f"postgresql://nobody@127.0.0.1:{free_port()}/none") as api:
        answer = await send(api, event())
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")


async def test_nobody_publishes_without_a_key(api: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/events"), ("GET", "/events/call_1")):
        answer = await api.request(method, path, headers={"Authorization": ""})
        assert (answer.status_code, answer.json()["code"]) == (401, "api_key_missing")


# ---- what is refused: nothing of it is stored, and nobody is alarmed ---------------------------------------------


@pytest.fixture(scope="module")
async def quiet_shop(postgres_url: str, template: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_url, template) as url:
        await seed(url, skus=1, keys=KEYS)
        yield url


@pytest.fixture
async def quiet(quiet_shop: str) -> AsyncIterator[httpx.AsyncClient]:
    async with calling(quiet_shop) as api:
        with capture_logs() as logs:
            yield api
    assert {(entry["event"], entry["log_level"]) for entry in logs} == {("request", "info")}
    async with open_pool(quiet_shop) as pool:
        assert await journal(pool) == []


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


BAD: Sequence[tuple[dict[str, Any], str, str]] = [
    ({"specversion": WITHOUT}, "missing_field", "specversion"),
    ({"specversion": "0.3"}, "unsupported_specversion", "specversion"),
    ({"specversion": "1.1"}, "unsupported_specversion", "specversion"),
    ({"id": WITHOUT}, "missing_field", "id"),
    ({"id": ""}, "invalid_event_id", "id"),
    ({"id": "a\u0000"}, "invalid_event_id", "id"),
    ({"id": "x" * 256}, "invalid_event_id", "id"),
    ({"source": WITHOUT}, "missing_field", "source"),
    ({"source": ""}, "invalid_source", "source"),
    ({"source": "a b"}, "invalid_source", "source"),
    ({"source": "/100%"}, "invalid_source", "source"),
    ({"source": "/" + "x" * 255}, "invalid_source", "source"),
    ({"source": "/lanka/payment"}, "reserved_source", "source"),
    ({"type": WITHOUT}, "missing_field", "type"),
    ({"type": "lanka.SupportCallStopped"}, "no_route", "type"),
    ({"type": "lanka.OperatorAssigned"}, "no_route", "type"),
    ({"subject": WITHOUT}, "missing_field", "subject"),
    ({"subject": ""}, "invalid_id", "subject"),
    ({"subject": "c" * 129}, "invalid_id", "subject"),
    ({"subject": "call 1 "}, "invalid_id", "subject"),
    ({"time": "yesterday"}, "invalid_time", "time"),
    ({"time": "2026-01-01T00:00:00"}, "invalid_time", "time"),
    ({"time": "0001-01-01T00:00:00+14:00"}, "invalid_time", "time"),
    ({"time": "9999-12-31T23:59:59-14:00"}, "invalid_time", "time"),
    ({"time": "2026-01-01T00:00:00+99:99"}, "invalid_time", "time"),
    ({"dataschema": "https://pbx.example/call"}, "unknown_field", "dataschema"),
    ({"traceparent": "00-1"}, "unknown_field", "traceparent"),
]
BAD_DATA: Sequence[tuple[Any, str, str]] = [
    ([], "not_an_object", ""),
    ("call", "not_an_object", ""),
    ({}, "missing_field", "/customer_id"),
    (CALL | {"colour": "red"}, "unknown_field", "/colour"),
    (CALL | {"language": "Ukrainian"}, "invalid_language", "/language"),
    (CALL | {"customer_id": 1}, "not_a_string", "/customer_id"),
    (CALL | {"customer_id": "\ud800"}, "invalid_value", ""),
    (CALL | {"note": "a\u0000"}, "invalid_value", ""),
    (CALL | {"note": nested(100)}, "invalid_value", ""),
]
BAD_DOCUMENTS: Sequence[tuple[Any, str, str]] = [
    ([], "not_an_object", "#"),
    (event(specversion="0.3", datacontentencoding="base64", data="!"), "unsupported_specversion", "#/specversion"),
    (event(specversion=1.0), "unsupported_specversion", "#/specversion"),
    (event(id=1), "not_a_string", "#/id"),
    (event(time=1), "invalid_time", "#/time"),
    (event(time=None), "invalid_time", "#/time"),
    (event(datacontenttype="text/plain"), "unsupported_data", "#/datacontenttype"),
    (event(data=WITHOUT, data_base64="e30="), "unknown_field", "#/data_base64"),
    (json.dumps(event()).replace('"uk"', '"uk", "skill": "x"'), "repeated_field", "#/data/skill"),
    (json.dumps(event()).replace('"uk"', '"uk", "rate": 1e400'), "invalid_value", "#/data"),
]


@pytest.mark.parametrize(("changes", "code", "name"), BAD)
async def test_what_is_wrong_with_an_event_is_said(
    quiet: httpx.AsyncClient, changes: dict[str, Any], code: str, name: str
) -> None:
    wrong = event(**changes)
    assert refused(await send(quiet, wrong))[0] == (code, f"#/{name}")
    assert refused(await send(quiet, [event(), wrong], BATCH))[0] == (code, f"#/1/{name}")
    headers = {f"ce-{name}": value.encode() for name, value in wrong.items() if name != "data"}
    if b"\x00" not in b"".join(headers.values()):
        assert (code, f"ce-{name}") in refused(await send(quiet, CALL, "application/json", headers))


@pytest.mark.parametrize(("data", "code", "at"), BAD_DATA)
async def test_what_is_wrong_with_the_data_is_said(quiet: httpx.AsyncClient, data: Any, code: str, at: str) -> None:
    assert refused(await send(quiet, event(data=data)))[0] == (code, f"#/data{at}")
    assert refused(await send(quiet, [event(data=data)], BATCH))[0] == (code, f"#/0/data{at}")
    headers = {f"ce-{name}": value for name, value in event(data=WITHOUT).items()}
    assert refused(await send(quiet, json.dumps(data), "application/json", headers))[0] == (code, f"#{at}")


@pytest.mark.parametrize(("document", "code", "pointer"), BAD_DOCUMENTS)
async def test_what_is_wrong_with_the_document_is_said(
    quiet: httpx.AsyncClient, document: Any, code: str, pointer: str
) -> None:
    assert refused(await send(quiet, document)) == [(code, pointer)]


@pytest.mark.parametrize(("batch", "code"), [({}, "not_an_array"), ([], "too_many_events"), ([1], "not_an_object")])
async def test_a_batch_holds_one_to_a_hundred_events(quiet: httpx.AsyncClient, batch: Any, code: str) -> None:
    assert refused(await send(quiet, batch, BATCH))[0][0] == code
    assert refused(await send(quiet, [event()] * 101, BATCH)) == [("too_many_events", "#")]


async def test_a_header_that_is_sent_twice_is_refused(quiet: httpx.AsyncClient) -> None:
    headers = [(f"ce-{name}", value) for name, value in event(data=WITHOUT).items()]
    for more, code in ((("ce-id", "2"), "repeated_field"), (("ce-data", "{}"), "unknown_field")):
        answer = await quiet.post("/events", json=CALL, headers=[*headers, ("Content-Type", "application/json"), more])
        assert refused(answer) == [(code, more[0])]


@pytest.mark.parametrize("media_type", [STRUCTURED, BATCH, "application/json"])
@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 60_000, b"NaN", b'{"a":' * 10_000])
async def test_broken_json_is_no_event(quiet: httpx.AsyncClient, body: bytes, media_type: str) -> None:
    answer = await send(quiet, body, media_type)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/cloudevents+xml", "application/cloudevents"])
async def test_an_event_is_json(quiet: httpx.AsyncClient, media_type: str) -> None:
    answer = await send(quiet, event(), media_type)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert STRUCTURED in answer.json()["detail"]


async def test_an_event_that_is_too_large_is_refused(quiet: httpx.AsyncClient) -> None:
    for media_type in (STRUCTURED, BATCH, "application/json"):
        answer = await send(quiet, b" " * 70_000, media_type)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


# ---- operators ---------------------------------------------------------------------------------------------------

ANN = {"name": "Ann", "languages": ["uk", "en"], "skills": ["orders"], "available": True}


async def put(api: httpx.AsyncClient, operator_id: str = "ann", **changes: Any) -> httpx.Response:
    body = {name: value for name, value in (ANN | changes).items() if value is not WITHOUT}
    return await api.put(f"/support/operators/{operator_id}", json=body, headers=OPERATOR)


async def test_operators_are_put_and_listed_with_the_call_they_are_in(api: httpx.AsyncClient, pool: Pool) -> None:
    answer = await put(api)
    assert (answer.status_code, answer.json()) == (200, ANN | {"operator_id": "ann"})
    assert (await put(api, "bob", available=False)).status_code == 200
    assert (await put(api, "bob", available=False, skills=["orders", "refunds"])).json()["skills"][1] == "refunds"
    await send(api, event())
    await pool.execute(
        "INSERT INTO calls (call_id, customer_id, language, skill, operator_id, assigned_at) "
        "VALUES ('call_1', 'cus_1', 'uk', 'orders', 'ann', now())"
    )
    listed = await api.get("/support/operators", headers=OPERATOR)
    assert [(each["operator_id"], each["available"], each["busy"]) for each in listed.json()] == [
        ("ann", True, "call_1"),
        ("bob", False, None),
    ]


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"name": ""}, "invalid_name", "#/name"),
        ({"languages": []}, "invalid_language", "#/languages"),
        ({"languages": ["uk", "Ukrainian"]}, "invalid_language", "#/languages/1"),
        ({"languages": "uk"}, "not_an_array", "#/languages"),
        ({"skills": ["a b "]}, "invalid_skills", "#/skills/0"),
        ({"skills": ["orders"] * 21}, "invalid_skills", "#/skills"),
        ({"available": "yes"}, "invalid_availability", "#/available"),
        ({"available": WITHOUT}, "missing_field", "#/available"),
        ({"busy": None}, "unknown_field", "#/busy"),
    ],
)
async def test_what_is_wrong_with_an_operator_is_said(
    quiet: httpx.AsyncClient, changes: dict[str, Any], code: str, pointer: str
) -> None:
    assert refused(await put(quiet, **changes)) == [(code, pointer)]


async def test_only_an_operator_changes_or_sees_operators(quiet: httpx.AsyncClient) -> None:
    for answer in (await quiet.put("/support/operators/ann", json=ANN), await quiet.get("/support/operators")):
        assert (answer.status_code, answer.json()["code"]) == (403, "operator_key_required")


async def test_one_id_twice_in_a_batch_is_told_as_what_it_is(api: httpx.AsyncClient) -> None:
    other = event(data=CALL | {"language": "en"})
    answer = await send(api, [event(), other], BATCH)
    assert (answer.status_code, answer.json()["code"]) == (409, "event_id_reused")
    assert answer.json()["errors"][0]["pointer"] == "#/1/id"
    assert "published before" not in answer.text
    assert (await send(api, event())).json()["events"][0]["duplicate"] is False, "nothing of it was kept"


async def test_a_whole_event_as_plain_json_is_told_its_media_type(api: httpx.AsyncClient) -> None:
    answer = await send(api, event(), "application/json")
    assert (answer.status_code, "application/cloudevents+json" in answer.json()["detail"]) == (415, True)


async def test_events_of_what_has_not_begun_are_not_denied(api: httpx.AsyncClient) -> None:
    ended = event(type="lanka.SupportCallEnded", subject="unheard", id="end", data={})
    assert (await send(api, ended)).status_code == 202
    answer = await api.get("/operations/subjects/unheard", headers=OPERATOR)
    assert (answer.status_code, "GET /events" in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize("accept", ["text/event-stream;q=0", "application/json, text/event-stream", "*/*;q=x"])
async def test_a_stream_is_for_whoever_likes_it_best(api: httpx.AsyncClient, accept: str) -> None:
    subject = event()["subject"]
    await send(api, event())
    answer = await api.get(f"/events/{subject}", headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "application/json"
