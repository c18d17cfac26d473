"""Switched off, as it is by default, tracing costs nothing; switched on by the platform's own settings."""

import subprocess
import sys

import httpx
import pytest

from store.database import Pool
from telemetry.switch import Tracing, tracing_of, wanted
from tests.shop import fetch

HEAVY = ("opentelemetry.sdk", "opentelemetry.instrumentation", "opentelemetry.exporter", "temporalio.contrib.opentel")
ROOTS = """
import sys
import worker
from api.app import create_app
from telemetry.switch import tracing_of
create_app()
tracing_of("lanka-worker", "postgresql://127.0.0.1/none")
print(*[name for name in sys.modules if name.startswith(tuple(sys.argv[1:]))])
"""


def loaded_by_the_roots(**environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", ROOTS, *HEAVY],
        env={"DATABASE_URL": "postgresql://127.0.0.1/none", "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_switched_off_nothing_of_it_is_even_loaded() -> None:
    assert loaded_by_the_roots() == []
    assert loaded_by_the_roots(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"), "that looked at the right names"


async def test_switched_off_an_order_has_no_trace_even_if_its_client_has(api: httpx.AsyncClient, pool: Pool) -> None:
    body = {
        "customer_id": "cus_42",
        "payment_id": "pay_1",
        "currency": "EUR",
        "lines": [{"sku": "cup", "quantity": 1, "unit_price": 250}],
    }
    client = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    answer = await api.post("/orders", json=body, headers={"Idempotency-Key": "k", **client})

    assert answer.status_code == 202, answer.text
    assert await fetch(pool, "SELECT traceparent FROM subjects") == [{"traceparent": None}]


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "console"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_the_platforms_own_settings_switch_it(
    environment: dict[str, str], on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert wanted() is on
    if not on:
        assert type(off := tracing_of("lanka-api", "")) is Tracing
        assert not off.interceptors
