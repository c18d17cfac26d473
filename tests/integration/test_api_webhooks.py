"""Webhooks of payment providers: believed when signed, stored once, and only then answered."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from store.database import Pool
from tests.integration.conftest import calling
from tests.servers import free_port
from tests.shop import fetch

SECRET = "whsec_bGFua2EgbGFua2EgbGFua2EgbGFua2E="
SETTLED = json.dumps({"type": "payment.captured", "data": {"payment_id": "pay_1", "status": "captured"}})


@pytest.fixture
async def api(shop: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("LANKA_WEBHOOK_SECRET", SECRET)
    async with calling(shop) as api:
        del api.headers["Authorization"]
        yield api


def signed(body: str, webhook_id: str = "msg_1", at: datetime | None = None, secret: str = SECRET) -> dict[str, str]:
    at = at or datetime.now(UTC)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, at, body),
    }


async def send(
    api: httpx.AsyncClient, body: str, headers: Mapping[str, str], provider: str = "sandbox"
) -> tuple[int, str]:
    answer = await api.post(f"/webhooks/{provider}", content=body, headers=headers)
    return answer.status_code, answer.json()["code"] if answer.content else ""


async def stored(pool: Pool) -> list[dict[str, Any]]:
    return await fetch(pool, "SELECT provider, webhook_id, payment_id, status, body FROM webhooks ORDER BY position")


async def test_a_signed_webhook_is_stored_before_it_is_answered(api: httpx.AsyncClient, pool: Pool) -> None:
    assert await send(api, SETTLED, signed(SETTLED)) == (204, "")
    (row,) = await stored(pool)
    assert row == {
        "provider": "sandbox",
        "webhook_id": "msg_1",
        "payment_id": "pay_1",
        "status": "captured",
        "body": SETTLED.encode(),
    }


async def test_a_webhook_that_comes_fifty_times_at_once_is_one(api: httpx.AsyncClient, pool: Pool) -> None:
    headers = signed(SETTLED)
    assert set(await asyncio.gather(*(send(api, SETTLED, headers) for _ in range(50)))) == {(204, "")}
    assert len(await stored(pool)) == 1
    assert await send(api, SETTLED, signed(SETTLED, "msg_2")) == (204, "")
    assert len(await stored(pool)) == 2


async def test_another_webhook_under_a_known_id_does_not_vanish(api: httpx.AsyncClient, pool: Pool) -> None:
    other = SETTLED.replace("pay_1", "pay_2")
    assert await send(api, SETTLED, signed(SETTLED)) == (204, "")
    assert await send(api, other, signed(other)) == (409, "event_id_reused")
    assert await send(api, SETTLED, signed(SETTLED)) == (204, "")
    assert [row["payment_id"] for row in await stored(pool)] == ["pay_1"]


NAMED = '{"data": {"payment_id": "pay_1"}, "said": %s}'


@pytest.mark.parametrize(
    "said",
    [
        r'"\u0000"',
        r'"\ud83d"',
        r'{"\ud83d\u0000": 1}',
        "1e400",
        "-1e400",
        "NaN",
        "Infinity",
        "1" * 4_000,
        '"' + "x" * 60_000 + '"',
        "[" * 500 + "]" * 500,
    ],
    ids=lambda said: said[:20],
)
async def test_what_jsonb_could_not_hold_is_stored_as_it_came(api: httpx.AsyncClient, pool: Pool, said: str) -> None:
    body = NAMED % said
    assert await send(api, body, signed(body)) == (204, "")
    assert [(row["payment_id"], row["status"], row["body"]) for row in await stored(pool)] == [
        ("pay_1", None, body.encode())
    ]


@pytest.mark.parametrize("status", ['"captured"', '"nonsense"', "1", "null", "[]", r'"\u0000"', r'"\ud83d"'])
async def test_a_status_that_is_none_is_none(api: httpx.AsyncClient, pool: Pool, status: str) -> None:
    body = f'{{"data": {{"payment_id": "pay_1", "status": {status}}}}}'
    assert await send(api, body, signed(body)) == (204, "")
    assert [row["status"] for row in await stored(pool)] == ["captured" if status == '"captured"' else None]


async def test_the_id_of_a_webhook_is_an_id(api: httpx.AsyncClient, pool: Pool) -> None:
    for webhook_id in ("m" * 4_000, "m" * 129):
        assert await send(api, SETTLED, signed(SETTLED, webhook_id)) == (422, "webhook_unreadable")
    assert await send(api, SETTLED, signed(SETTLED, "m" * 128)) == (204, "")
    assert len(await stored(pool)) == 1


RIGHT = signed(SETTLED)
LONG_AGO, SOON = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        RIGHT | {"webhook-id": "msg_2"},
        RIGHT | {"webhook-timestamp": "yesterday"},
        RIGHT | {"webhook-timestamp": "nan"},
        RIGHT | {"webhook-signature": ""},
        RIGHT | {"webhook-signature": "v1"},
        RIGHT | {"webhook-signature": "v1,v1,v1"},
        RIGHT | {"webhook-signature": "v1,!"},
        RIGHT | {"webhook-signature": RIGHT["webhook-signature"].replace("v1,", "v2,")},
        signed(SETTLED + " "),
        signed(SETTLED, secret="whsec_c29tZWJvZHkgZWxzZSBzaWducyBsaWtlIHRoaXM="),
        signed(SETTLED, at=LONG_AGO),
        signed(SETTLED, at=SOON),
    ],
)
async def test_what_is_not_signed_by_the_provider_is_not_believed(
    api: httpx.AsyncClient, pool: Pool, headers: dict[str, str]
) -> None:
    with capture_logs() as logs:
        assert await send(api, SETTLED, headers) == (401, "webhook_signature_invalid")
    assert [log["log_level"] for log in logs] == ["info"]
    assert await stored(pool) == []


async def test_bytes_that_are_no_text_are_not_believed(api: httpx.AsyncClient, pool: Pool) -> None:
    answer = await api.post("/webhooks/sandbox", content=b"\xff", headers=signed("\xff"))
    assert (answer.status_code, answer.json()["code"]) == (401, "webhook_signature_invalid")


async def test_a_provider_that_nobody_knows_is_not_found(
    api: httpx.AsyncClient, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await send(api, SETTLED, signed(SETTLED), provider="other") == (404, "provider_not_found")
    monkeypatch.delenv("LANKA_WEBHOOK_SECRET")
    async with calling(shop) as without_secret:
        assert await send(without_secret, SETTLED, signed(SETTLED)) == (404, "provider_not_found")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 422, "webhook_unreadable"),
        ("[" * 60_000, 422, "webhook_unreadable"),
        ("[]", 422, "webhook_unreadable"),
        ("{}", 422, "webhook_unreadable"),
        ('{"data": {}}', 422, "webhook_unreadable"),
        ('{"data": {"payment_id": 1}}', 422, "webhook_unreadable"),
        ('{"data": {"payment_id": "%s"}}' % ("p" * 4_000), 422, "webhook_unreadable"),
        (r'{"data": {"payment_id": "a\u0000b"}}', 422, "webhook_unreadable"),
        (r'{"data": {"payment_id": "\ud83d"}}', 422, "webhook_unreadable"),
        ("1" * 5_000, 422, "webhook_unreadable"),
        ('{"data": {"payment_id": "a "}}', 422, "webhook_unreadable"),
        (" " * 70_000, 413, "body_too_large"),
    ],
)
async def test_a_signed_webhook_that_makes_no_sense_is_refused(
    api: httpx.AsyncClient, pool: Pool, body: str, status: int, code: str
) -> None:
    assert await send(api, body, signed(body)) == (status, code)
    assert await stored(pool) == []


async def test_a_provider_whose_webhook_cannot_be_stored_is_told_to_send_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LANKA_WEBHOOK_SECRET", SECRET)
    async with calling(f"postgresql://nobody@127.0.0.1:{free_port()}/none") as api:
        assert await send(api, SETTLED, signed(SETTLED)) == (503, "database_unavailable")
