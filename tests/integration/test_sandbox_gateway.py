"""The gateway to the sandbox provider: what the provider says becomes a payment, an outage or a fault."""

import asyncio
import gzip
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Protocol

import httpx
import pytest

from chain.failures import Fault, Outage, UnexpectedAnswer
from gateways.sandbox import SandboxPayments
from orders.payment import Payment, PaymentStatus
from orders.ports import PaymentProvider
from tests.servers import HANGS_AFTER, Said, free_port, one_who_says, process, until

PAYMENT: dict[str, Any] = {
    "id": "pay_1",
    "status": "captured",
    "amount": 4150,
    "currency": "EUR",
    "captured_amount": 4150,
    "refunded_amount": 0,
}


@pytest.fixture(scope="module")
async def provider(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    env = {
        "SANDBOX_PORT": str(port),
        "SANDBOX_DATABASE": str(tmp_path_factory.mktemp("sandbox") / "sandbox.db"),
    }
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HANGS_AFTER, trust_env=False) as client,
        process(sys.executable, "-m", "sandbox", env=env),
    ):
        await until(lambda: client.get("/livez"), HANGS_AFTER, "the sandbox provider")
        yield client


@pytest.fixture
async def payments(provider: httpx.AsyncClient) -> AsyncIterator[SandboxPayments]:
    """The gateway to a provider that is whole again after the test."""
    payments = SandboxPayments(str(provider.base_url))
    yield payments
    await payments.close()
    await provider.put("/faults", json={})


@pytest.fixture
async def twin() -> AsyncIterator["Twin"]:
    """Makes the gateway to a provider that answers what the real one never would."""
    async with AsyncExitStack() as stack:

        async def make(status: int, content: bytes = b"", **headers: str) -> SandboxPayments:
            said = Said(status, content, {name.replace("_", "-"): value for name, value in headers.items()})
            payments = SandboxPayments(await stack.enter_async_context(one_who_says(lambda: said)))
            stack.push_async_callback(payments.close)
            return payments

        yield make


class Twin(Protocol):
    async def __call__(self, status: int, content: bytes = b"", **headers: str) -> SandboxPayments: ...


async def created(provider: httpx.AsyncClient, outcome: str = "authorized") -> str:
    body = {"amount": 4150, "currency": "EUR", "outcome": outcome}
    return str((await provider.post("/payments", json=body)).raise_for_status().json()["id"])


async def operations(provider: httpx.AsyncClient, payment_id: str) -> list[str]:
    payment = (await provider.get(f"/payments/{payment_id}")).json()
    return [each["operation"] for each in payment["operations"]]


# ---- payments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["authorized", "captured", "declined", "pending", "expired"])
async def test_a_payment_is_found_as_the_provider_has_it(
    provider: httpx.AsyncClient, payments: SandboxPayments, outcome: str
) -> None:
    port: PaymentProvider = payments
    payment_id = await created(provider, outcome)
    assert await port.find(payment_id, timeout=HANGS_AFTER) == Payment(
        provider="sandbox",
        payment_id=payment_id,
        status=PaymentStatus(outcome),
        amount=4150,
        currency="EUR",
        captured_amount=4150 if outcome == "captured" else 0,
    )


async def test_a_payment_that_the_provider_does_not_know_is_none(payments: SandboxPayments) -> None:
    assert await payments.find("pay_unknown", timeout=HANGS_AFTER) is None


@pytest.mark.parametrize("payment_id", ["../faults", "../livez", "a/b?c#d"])
async def test_an_id_never_leads_to_another_call(payments: SandboxPayments, payment_id: str) -> None:
    assert await payments.find(payment_id, timeout=HANGS_AFTER) is None, "a payment that nobody knows"


async def test_a_capture_and_a_refund_tell_what_became_of_the_money(
    provider: httpx.AsyncClient, payments: SandboxPayments
) -> None:
    payment_id = await created(provider)
    captured = await payments.capture(payment_id, key=f"{payment_id}.capture", timeout=HANGS_AFTER)
    assert (captured.status, captured.captured_amount) == (PaymentStatus.CAPTURED, 4150)

    refunded = await payments.refund(payment_id, key=f"{payment_id}.refund", timeout=HANGS_AFTER)
    assert (refunded.status, refunded.refunded_amount) == (PaymentStatus.REFUNDED, 4150)


@pytest.mark.parametrize("operation", ["capture", "refund"])
async def test_twenty_calls_at_once_with_one_key_are_one_operation(
    provider: httpx.AsyncClient, payments: SandboxPayments, operation: str
) -> None:
    payment_id = await created(provider)
    ask = getattr(payments, operation)
    answers = await asyncio.gather(*(ask(payment_id, key=payment_id, timeout=HANGS_AFTER) for _ in range(20)))

    assert len(set(answers)) == 1
    assert await operations(provider, payment_id) == [operation]


@pytest.mark.parametrize(
    ("operation", "outcome"),
    [
        ("capture", "declined"),
        ("capture", "expired"),
        ("capture", "pending"),
        ("capture", "captured"),
        ("refund", "declined"),
        ("refund", "pending"),
        ("refund", "expired"),
    ],
)
async def test_a_refused_capture_or_refund_says_how_the_payment_stands(
    provider: httpx.AsyncClient, payments: SandboxPayments, operation: str, outcome: str
) -> None:
    payment_id = await created(provider, outcome)
    payment = await getattr(payments, operation)(payment_id, key=payment_id, timeout=HANGS_AFTER)
    assert payment == await payments.find(payment_id, timeout=HANGS_AFTER)
    assert payment.status == outcome
    assert await operations(provider, payment_id) == []


async def test_a_capture_of_a_payment_that_nobody_knows_is_a_fault(payments: SandboxPayments) -> None:
    with pytest.raises(Fault, match="payment_not_found"):
        await payments.capture("pay_unknown", key="k", timeout=HANGS_AFTER)


async def test_a_key_that_served_another_payment_is_a_fault(
    provider: httpx.AsyncClient, payments: SandboxPayments
) -> None:
    one, other = await created(provider), await created(provider)
    await payments.capture(one, key=one, timeout=HANGS_AFTER)
    with pytest.raises(Fault, match="idempotency_key_reused"):
        await payments.capture(other, key=one, timeout=HANGS_AFTER)
    assert await operations(provider, other) == []


# ---- outages -------------------------------------------------------------------------------------


async def test_a_provider_that_is_down_is_an_outage(provider: httpx.AsyncClient, payments: SandboxPayments) -> None:
    payment_id = await created(provider)
    await provider.put("/faults", json={"down": True})
    for call in (
        payments.find(payment_id, timeout=HANGS_AFTER),
        payments.capture(payment_id, key=payment_id, timeout=HANGS_AFTER),
        payments.refund(payment_id, key=payment_id, timeout=HANGS_AFTER),
    ):
        with pytest.raises(Outage, match=f"{payment_id}.* answered 503"):
            await call


async def test_a_provider_that_is_not_there_is_an_outage() -> None:
    payments = SandboxPayments(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Outage, match="GET /payments/pay_1 failed: ClientConnectorError"):
        await payments.find("pay_1", timeout=HANGS_AFTER)
    await payments.close()


async def test_a_provider_that_hangs_up_is_an_outage() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        payments = SandboxPayments(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Outage, match="POST /payments/pay_1/capture failed"):
            await payments.capture("pay_1", key="k", timeout=HANGS_AFTER)
        await payments.close()


async def test_an_error_on_demand_is_an_outage_and_takes_no_money(
    provider: httpx.AsyncClient, payments: SandboxPayments
) -> None:
    payment_id = await created(provider)
    await provider.put("/faults", json={"error_rate": 1})
    failures = await asyncio.gather(
        *(payments.capture(payment_id, key=payment_id, timeout=HANGS_AFTER) for _ in range(40)), return_exceptions=True
    )
    assert {type(failure) for failure in failures} == {Outage}
    # 500 asks for nothing, 429 for a second.
    pauses = {failure.retry_after for failure in failures if isinstance(failure, Outage)}
    assert pauses == {None, 1.0}

    await provider.put("/faults", json={})
    assert await operations(provider, payment_id) == []


async def test_a_slow_provider_is_an_outage_once_the_time_is_over(
    provider: httpx.AsyncClient, payments: SandboxPayments
) -> None:
    payment_id = await created(provider)
    await provider.put("/faults", json={"latency_ms": 600_000})
    with pytest.raises(Outage, match="not answered in time"):
        await payments.find(payment_id, timeout=0.3)


async def test_a_trickling_answer_does_not_stretch_the_time() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not reader.at_eof() and not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.05)
        writer.close()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        payments = SandboxPayments(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Outage, match="not answered in time"):
            await payments.find("pay_1", timeout=0.5)
        await payments.close()


@pytest.mark.parametrize("operation", ["capture", "refund"])
async def test_an_unknown_outcome_is_repeated_with_the_same_key_and_done_once(
    provider: httpx.AsyncClient, payments: SandboxPayments, operation: str
) -> None:
    payment_id = await created(provider)
    ask = getattr(payments, operation)
    await provider.put("/faults", json={"timeout_rate": 1})
    with pytest.raises(Outage, match="not answered in time"):
        await ask(payment_id, key=payment_id, timeout=0.5)

    await provider.put("/faults", json={})
    again = await ask(payment_id, key=payment_id, timeout=HANGS_AFTER)
    assert again == await payments.find(payment_id, timeout=HANGS_AFTER)
    assert await operations(provider, payment_id) == [operation]


@pytest.mark.parametrize(("header", "pause"), [("7", 7), ("0", 0), ("99999999999999999999", 3600)])
async def test_the_pause_that_the_provider_asks_for_is_handed_on(twin: Twin, header: str, pause: float) -> None:
    payments = await twin(503, Retry_After=header)
    with pytest.raises(Outage) as outage:
        await payments.find("pay_1", timeout=HANGS_AFTER)
    assert outage.value.retry_after == pause


@pytest.mark.parametrize(("seconds", "most"), [(1800, 3600), (-60, 3600), (10**8, 3600)])
async def test_a_pause_until_a_date_is_handed_on_in_seconds(twin: Twin, seconds: int, most: float) -> None:
    then = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)

    def left() -> float:
        return min(max((then - datetime.now(UTC)).total_seconds(), 0), most)

    payments = await twin(503, Retry_After=format_datetime(then, usegmt=True))
    before = left()
    with pytest.raises(Outage) as outage:
        await payments.find("pay_1", timeout=HANGS_AFTER)
    assert outage.value.retry_after is not None
    assert left() <= outage.value.retry_after <= before


@pytest.mark.parametrize(
    "header", ["soon", "-1", "1.5", pytest.param("9" * 5000, id="endless"), "", "Mon, 99 Foo 2026 00:00:00 GMT"]
)
async def test_a_pause_that_nobody_can_read_is_no_pause(twin: Twin, header: str) -> None:
    payments = await twin(429, Retry_After=header)
    with pytest.raises(Outage) as outage:
        await payments.find("pay_1", timeout=HANGS_AFTER)
    assert outage.value.retry_after is None


# ---- faults --------------------------------------------------------------------------------------


async def test_nonsense_on_demand_is_a_fault_whatever_it_looks_like(
    provider: httpx.AsyncClient, payments: SandboxPayments
) -> None:
    payment_id = await created(provider)
    await provider.put("/faults", json={"garbage_rate": 1})
    failures = await asyncio.gather(
        *(payments.find(payment_id, timeout=HANGS_AFTER) for _ in range(40)), return_exceptions=True
    )
    assert {type(failure) for failure in failures} == {UnexpectedAnswer}


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "pay_2"},
        {"id": None},
        {"status": "succeeded"},
        {"amount": "4150"},
        {"amount": 4150.0},
        {"amount": True},
        {"amount": -1},
        {"amount": 4149},
        {"currency": "eur"},
        {"refunded_amount": 4151},
        {"status": "refunded", "captured_amount": 4150, "refunded_amount": 0},
    ],
)
async def test_an_answer_that_is_nearly_a_payment_is_a_fault(twin: Twin, wrong: dict[str, object]) -> None:
    sound = await twin(200, json.dumps(PAYMENT).encode())
    assert await sound.find("pay_1", timeout=HANGS_AFTER)
    unsound = await twin(200, json.dumps(PAYMENT | wrong).encode())
    with pytest.raises(Fault, match=r"no payment|another payment"):
        await unsound.find("pay_1", timeout=HANGS_AFTER)


@pytest.mark.parametrize("status", [201, 301, 400, 401, 403, 404, 418, 422])
async def test_an_unexpected_status_is_a_fault_and_never_a_payment_that_was_not_found(twin: Twin, status: int) -> None:
    payments = await twin(status, b"nginx", Location="/elsewhere")
    with pytest.raises(Fault, match=f"answered {status} nginx$"):
        await payments.find("pay_1", timeout=HANGS_AFTER)


async def test_what_is_told_of_an_answer_is_text_that_can_be_stored_and_is_short(twin: Twin) -> None:
    payments = await twin(400, b'{"detail": "\xc3\xbc \x00\xff"}' + b" " * 5_000)
    with pytest.raises(Fault) as fault:
        await payments.find("pay_1", timeout=HANGS_AFTER)
    assert 'answered 400 {"detail": "ü \ufffd"}' in str(fault.value)
    assert len(str(fault.value)) < 300


async def test_an_answer_that_is_packed_unasked_is_a_fault(twin: Twin) -> None:
    payments = await twin(200, gzip.compress(json.dumps(PAYMENT).encode()), Content_Encoding="gzip")
    with pytest.raises(Fault, match="no payment"):
        await payments.find("pay_1", timeout=HANGS_AFTER)


async def test_an_answer_that_ends_too_early_is_an_outage() -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        writer.close()

    async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
        payments = SandboxPayments(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Outage, match="GET /payments/pay_1 failed"):
            await payments.find("pay_1", timeout=HANGS_AFTER)
        await payments.close()


async def test_calls_that_were_given_up_leave_room_for_those_that_follow(
    provider: httpx.AsyncClient, payments: SandboxPayments
) -> None:
    payment_id = await created(provider)
    await provider.put("/faults", json={"latency_ms": 600_000})
    given_up = await asyncio.gather(
        *(payments.find(payment_id, timeout=0.05 + nth / 1000) for nth in range(300)), return_exceptions=True
    )
    assert {type(failure) for failure in given_up} == {Outage}

    await provider.put("/faults", json={})
    assert all(await asyncio.gather(*(payments.find(payment_id, timeout=HANGS_AFTER) for _ in range(100))))
