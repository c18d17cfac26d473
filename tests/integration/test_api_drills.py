"""Drills: an operator breaks the sandbox provider through the API, and sends sample orders."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.problems import Code
from tests.integration.conftest import OPERATOR, calling
from tests.servers import HANGS_AFTER, free_port, process, until

WHOLE = {"down": False, "latency_ms": 0, "error_rate": 0.0, "timeout_rate": 0.0, "garbage_rate": 0.0}


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    port = free_port()
    env = {"SANDBOX_HOST": "127.0.0.1", "SANDBOX_PORT": str(port), "SANDBOX_DATABASE": str(tmp_path / "payments.db")}
    async with (
        process(sys.executable, "-m", "sandbox", env=env),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=HANGS_AFTER) as client,
    ):
        await until(lambda: client.get("/livez"), HANGS_AFTER, "the sandbox")
        yield client


@pytest.fixture
async def drilling(
    shop: str, sandbox: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """The API with a sandbox, called by an operator."""
    monkeypatch.setenv("LANKA_PAYMENTS_URL", str(sandbox.base_url))
    async with calling(shop) as api:
        api.headers.update(OPERATOR)
        yield api


async def test_an_operator_breaks_the_sandbox_and_mends_it(
    drilling: httpx.AsyncClient, sandbox: httpx.AsyncClient
) -> None:
    assert (await drilling.get("/operations/faults")).json() == WHOLE
    answer = await drilling.put("/operations/faults", json={"down": True, "error_rate": 0.5})
    broken = WHOLE | {"down": True, "error_rate": 0.5}
    assert (answer.status_code, answer.json()) == (200, broken)
    assert (await sandbox.get("/faults")).json() == broken
    assert (await drilling.put("/operations/faults", json={})).json() == WHOLE
    assert (await drilling.get("/operations/faults")).json() == WHOLE


async def test_sample_orders_are_paid_and_accepted(drilling: httpx.AsyncClient, sandbox: httpx.AsyncClient) -> None:
    answer = await drilling.post("/operations/sample-orders", json={"orders": 5, "rate_per_second": 1000})
    assert (answer.status_code, answer.json()) == (202, {"orders": 5})

    async def accepted() -> list[dict[str, Any]] | None:
        orders: list[dict[str, Any]] = (await drilling.get("/orders")).json()["orders"]
        return orders if len(orders) == 5 else None

    for order in await until(accepted, HANGS_AFTER, "the sample orders") or []:
        payment = (await sandbox.get(f"/payments/{order['payment_id']}")).json()
        assert (payment["status"], payment["amount"]) == ("authorized", order["total"])


async def test_one_drill_at_a_time(drilling: httpx.AsyncClient) -> None:
    assert (await drilling.post("/operations/sample-orders", json={"orders": 3, "rate_per_second": 0.01})).is_success
    answer = await drilling.post("/operations/sample-orders", json={"orders": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "drill_under_way")


async def test_while_the_sandbox_is_down_nothing_can_be_paid(drilling: httpx.AsyncClient) -> None:
    await drilling.put("/operations/faults", json={"down": True})
    answer = await drilling.post("/operations/sample-orders", json={"orders": 2})
    assert (answer.status_code, answer.json()["code"]) == (503, "payments_unavailable")
    assert (await drilling.get("/orders")).json()["orders"] == []


async def test_without_a_sandbox_there_are_no_drills(api: httpx.AsyncClient) -> None:
    for method, path, body in (
        ("GET", "/operations/faults", None),
        ("PUT", "/operations/faults", {}),
        ("POST", "/operations/sample-orders", {"orders": 1}),
    ):
        answer = await api.request(method, path, json=body, headers=OPERATOR)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_sandbox")


async def test_a_sandbox_that_does_not_answer_is_named(shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANKA_PAYMENTS_URL", f"http://127.0.0.1:{free_port()}")
    async with calling(shop) as api:
        answer = await api.get("/operations/faults", headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (503, "payments_unavailable")


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("PUT", "/operations/faults", {"error_rate": 2}, Code.INVALID_FAULTS),
        ("PUT", "/operations/faults", {"down": "yes"}, Code.INVALID_FAULTS),
        ("PUT", "/operations/faults", {"latency_ms": -1}, Code.INVALID_FAULTS),
        ("PUT", "/operations/faults", {"fire": True}, Code.UNKNOWN_FIELD),
        ("POST", "/operations/sample-orders", {}, Code.MISSING_FIELD),
        ("POST", "/operations/sample-orders", {"orders": 501}, Code.INVALID_NUMBER),
        ("POST", "/operations/sample-orders", {"orders": 1, "rate_per_second": 0}, Code.INVALID_RATE),
        ("POST", "/operations/sample-orders", {"orders": 1, "rate_per_second": 1e-9}, Code.INVALID_RATE),
    ],
)
async def test_what_is_wrong_is_said(api: httpx.AsyncClient, method: str, path: str, body: Any, code: Code) -> None:
    answer = await api.request(method, path, json=body, headers=OPERATOR)
    assert (answer.status_code, answer.json()["code"]) == (code.status, code)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/operations/faults"), ("PUT", "/operations/faults"), ("POST", "/operations/sample-orders")],
)
async def test_only_an_operator_breaks_anything(api: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await api.request(method, path, json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "operator_key_required")
