"""Tracing of orders: what is told once, what not at all, and what replay does not notice."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from temporalio.client import OutboundInterceptor, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer

from telemetry.tracing import W3C, On, Orders
from tests.servers import free_port
from tests.workflows.conftest import HISTORIES
from workflows.chains import CHAINS

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Temporal(OutboundInterceptor):
    """Away as often as it is told to be; keeps the headers of what reached it."""

    def __init__(self, away: int) -> None:
        self.away = away
        self.headers: list[str] = []

    async def start_workflow(self, input: Any) -> Any:  # noqa: A002, Temporal's name
        if self.away:
            self.away -= 1
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        self.headers.append(input.headers["_tracer-data"].data.decode())


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> On:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return On(provider, f"postgresql://127.0.0.1:{free_port()}/none")


class Known(Orders):
    """Has the traces of some subjects without a database, and keeps none of `others`."""

    def __init__(self, tracing: On, *, others: Sequence[str] = ()) -> None:
        super().__init__(tracing._provider.get_tracer("test"))
        self.others = others
        self.kept: dict[str, str] = {}

    async def find(self, subjects: Sequence[str]) -> dict[str, Context]:
        known = {"o1": PARENT} | self.kept
        return {s: W3C.extract({"traceparent": known[s]}, Context()) for s in subjects if s in known}

    async def keep(self, traces: Mapping[str, str]) -> set[str]:
        self.kept |= {subject: trace for subject, trace in traces.items() if subject not in self.others}
        return set(traces) - set(self.others)


def dispatch_of(*subjects: str) -> Any:
    events = [SimpleNamespace(subject=subject) for subject in subjects]
    return SimpleNamespace(start_signal="received", start_signal_args=[events], id=f"order-{subjects[0]}", headers={})


async def test_a_dispatch_that_is_tried_again_and_again_is_told_once_in_vain_and_once_done(
    tracing: On, spans: InMemorySpanExporter
) -> None:
    temporal = Temporal(away=100)
    client = Known(tracing).intercept_client(temporal)

    for _ in range(100):
        with pytest.raises(RPCError):
            await client.start_workflow(dispatch_of("o1"))
    await client.start_workflow(dispatch_of("o1"))

    failed, done = spans.get_finished_spans()
    assert (failed.name, failed.status.is_ok) == ("dispatch", False)
    assert (done.name, done.status.is_unset) == ("dispatch", True)
    assert done.parent
    assert f"{done.parent.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{done.context.span_id:016x}" in temporal.headers[0], "the workflow goes on below the one that reached it"


async def test_whoever_comes_without_a_trace_has_one_from_the_dispatch_on(
    tracing: On, spans: InMemorySpanExporter
) -> None:
    orders = Known(tracing, others=["o3"])  # of which the database has a trace that was not found in time
    client = orders.intercept_client(Temporal(away=1))
    with pytest.raises(RPCError):
        await client.start_workflow(dispatch_of("o1", "o2", "o3"))
    await client.start_workflow(dispatch_of("o1", "o2", "o3"))

    assert list(orders.kept) == ["o2"]
    told = [span.name for span in spans.get_finished_spans() if f"{span.context.trace_id:032x}" in orders.kept["o2"]]
    assert told == ["arrival", "dispatch"]
    assert [span.name for span in spans.get_finished_spans()].count("arrival") == 1


async def test_a_call_that_belongs_to_nothing_is_not_told_and_one_that_does_is(
    tracing: On, spans: InMemorySpanExporter
) -> None:
    tracer = tracing._provider.get_tracer("test")

    tracer.start_span("a look into the database", kind=SpanKind.CLIENT).end()
    with tracer.start_as_current_span("a request", kind=SpanKind.SERVER):
        tracer.start_span("a look for it", kind=SpanKind.CLIENT).end()

    assert [span.name for span in spans.get_finished_spans()] == ["a look for it", "a request"]


async def test_a_database_that_is_away_does_not_keep_an_order_from_its_workflow(
    tracing: On, spans: InMemorySpanExporter
) -> None:
    temporal = Temporal(away=0)
    (orders,) = tracing.interceptors
    async with tracing.running():
        await orders.intercept_client(temporal).start_workflow(dispatch_of("o1"))

        (span,) = spans.get_finished_spans()
    assert temporal.headers
    assert span.parent is None


@pytest.mark.parametrize("story", sorted(HISTORIES.glob("*.json")), ids=lambda story: story.stem)
async def test_an_order_that_was_accepted_without_goes_on_with_traces(
    story: Any, tracing: On, spans: InMemorySpanExporter
) -> None:
    workflows = [chain.workflow for chain in CHAINS.values()]
    (orders,) = tracing.interceptors
    assert isinstance(orders, Orders)
    replayer = Replayer(workflows=workflows, data_converter=pydantic_data_converter, interceptors=[orders])
    events = WorkflowHistory.from_json("", story.read_text()).events
    workflow_id = events[0].workflow_execution_started_event_attributes.workflow_id

    await replayer.replay_workflow(WorkflowHistory(workflow_id, events))

    assert spans.get_finished_spans() == (), "what is replayed has been told"
