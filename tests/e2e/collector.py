"""An OpenTelemetry collector in memory: takes OTLP over HTTP and keeps every span."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """Ids are hexadecimal; `parent` is None for a root; `links` are the traces that it points to."""

    trace: str
    id: str
    parent: str | None
    name: str
    service: str
    links: frozenset[str]
    about: dict[str, Any] = field(hash=False)


class Collector:
    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.environment: dict[str, str] = {}

    def trace(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace == trace]

    def of_order(self, order_id: str) -> list[Span]:
        """All spans of the trace that the order was accepted in."""
        kept = [span.trace for span in self.spans if span.about.get("lanka.order_id") == order_id]
        return self.trace(kept[0]) if kept else []

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(each.value.string_value for each in resource.resource.attributes if each.key == SERVICE)
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Span(
                            trace=span.trace_id.hex(),
                            id=span.span_id.hex(),
                            parent=span.parent_span_id.hex() or None,
                            name=span.name,
                            service=service,
                            links=frozenset(link.trace_id.hex() for link in span.links),
                            about={each.key: _value(each.value) for each in span.attributes},
                        )
                    )


SERVICE = "service.name"


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


def story(spans: list[Span]) -> str:
    """The trace as a tree of names, for whoever reads a test that failed."""
    ids = {span.id for span in spans}

    def below(parent: str | None, depth: int) -> Iterator[str]:
        for span in spans:
            if span.parent == parent or (parent is None and span.parent not in ids):
                yield f"{'  ' * depth}{span.service}: {span.name} {span.about.get('lanka.made', '')}"
                yield from below(span.id, depth + 1)

    return "\n".join(below(None, 0))


@contextmanager
def a_collector() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",  # ms
        }
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
