"""Whether this process traces. Off, as it is by default, OpenTelemetry's SDK is not even imported."""

import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import Any

import structlog
from fastapi.telemetry import TelemetryConfig
from temporalio.client import Interceptor

log = structlog.get_logger()

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


class Tracing:
    """What the roots put together: `web` is for FastAPI, `interceptors` for Temporal, `processors` for the logs.

    This one is off; `telemetry.tracing.On` is the other.
    """

    web = TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False)
    interceptors: Sequence[Interceptor] = ()
    processors: Sequence[structlog.types.Processor] = ()

    def traceparent(self) -> str | None:
        """Where the current request stands, as W3C Trace Context writes it; kept with what the request accepts."""
        return None

    def about(self, _subject: str, /) -> AbstractContextManager[Any]:
        """Within it, what a consumer does belongs to the subject's own trace."""
        return nullcontext()

    def apart(self, _name: str, /) -> AbstractContextManager[Any]:
        """Within it begins a trace of its own: for an order that no request has brought."""
        return nullcontext()

    def running(self) -> AbstractAsyncContextManager[Any]:
        """Sends what was traced to its end when left."""
        return nullcontext()


def tracing_of(service: str, database_url: str) -> Tracing:
    """As OpenTelemetry's own settings say: on when they name where traces go to. `service` is the default name."""
    if not wanted():
        return Tracing()
    from telemetry.tracing import On, exporting_provider  # noqa: PLC0415, heavy

    return On(exporting_provider(service), database_url)


def wanted() -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return False
    exporter = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    protocol = next((os.environ[name] for name in PROTOCOLS if os.environ.get(name)), "http/protobuf")
    if exporter != "none" and (exporter, protocol) != ("otlp", "http/protobuf"):
        log.warning("traces are sent by OTLP as http/protobuf only, so there are none", asked=[exporter, protocol])
    return (exporter, protocol) == ("otlp", "http/protobuf")
