"""One trace for each order: from the request that it came with, through dispatch, workflow and consumers, to its end.

The trace context is kept with the order in PostgreSQL, so hours, restarts and other processes may lie between. A batch
of one travels in its order's trace. A batch of several has a trace of its own, linked with those of its orders; each
order has a span for each link in its own trace, and its calls to the provider are below that.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

import structlog
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from temporalio import activity
from temporalio.client import OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from chain.batch import Batch, Processed
from chain.event import short
from chain.failures import Outage
from store.database import Pool, open_pool
from store.traces import keep, traceparents
from telemetry.switch import Tracing

log = structlog.get_logger()

W3C = TraceContextTextMapPropagator()

REMEMBERED = 20_000
"""Subjects whose trace a process keeps in mind; it never changes."""

FOUND_WITHIN = 5.0
"""Seconds that the trace of a batch may take to be found. Without it the work goes on, untraced."""

NOBODYS = trace.INVALID_SPAN
"""That of an order without a trace: what is set on it is gone."""

_SPANS: ContextVar[Mapping[str, Span]] = ContextVar("_SPANS")
"""Of the batch that is worked on in this context, by subject."""

NOT_TRACED = {"/livez", "/readyz", "/metrics"}

Found = TypeVar("Found")


def exporting_provider(service: str) -> TracerProvider:
    """Sends to where `OTEL_EXPORTER_OTLP_ENDPOINT` says, under `OTEL_SERVICE_NAME` or else `service`."""
    named = os.environ.get("OTEL_SERVICE_NAME") or SERVICE_NAME in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {SERVICE_NAME: service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class On(Tracing):
    def __init__(self, provider: TracerProvider, database_url: str) -> None:
        provider.sampler = SomebodysCalls(provider.sampler)
        self._provider = provider
        self._database_url = database_url
        self._orders = Orders(provider.get_tracer("lanka"))
        self.web = {
            "tracer_provider": provider,
            "metrics": False,  # telemetry/metrics.py has them
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": lambda scope: scope.get("path") in NOT_TRACED,
        }
        self.interceptors = [self._orders]
        self.processors = [_with_trace_id]

    def traceparent(self) -> str | None:
        return _carrier(contexts.get_current()).get("traceparent")

    def about(self, subject: str, /) -> AbstractContextManager[Any]:
        span = _SPANS.get({}).get(subject)
        return _within(span) if span else nullcontext()

    def apart(self, name: str, /) -> AbstractContextManager[Any]:
        return self._provider.get_tracer("lanka").start_as_current_span(name, Context())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        instrumentors: list[BaseInstrumentor] = [
            AsyncPGInstrumentor(),  # type: ignore[no-untyped-call]
            AioHttpClientInstrumentor(),
        ]
        for each in instrumentors:
            each.instrument(tracer_provider=self._provider)
        # Connections of its own, so that looking a trace up never waits for, nor holds up, the work.
        async with open_pool(self._database_url, size=2) as self._orders.pool:
            yield
        for each in instrumentors:
            each.uninstrument()
        await asyncio.to_thread(self._provider.shutdown)


async def _in_time(asked: Awaitable[Found], nothing: Found, otherwise: str) -> Found:
    try:
        with suppress_instrumentation():
            async with asyncio.timeout(FOUND_WITHIN):
                return await asked
    except (Outage, TimeoutError) as error:
        log.warning(otherwise, error=str(error))
        return nothing


class SomebodysCalls(Sampler):
    """Drops calls to a database or a server that belong to no trace, such as a look that finds nothing to do."""

    def __init__(self, configured: Sampler) -> None:
        self._configured = configured

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        *more: Any,
        **named: Any,
    ) -> SamplingResult:
        if kind is SpanKind.CLIENT and not trace.get_current_span(parent_context).get_span_context().is_valid:
            return SamplingResult(Decision.DROP)
        return self._configured.should_sample(parent_context, trace_id, name, kind, *more, **named)

    def get_description(self) -> str:
        return f"SomebodysCalls({self._configured.get_description()})"


class Orders(TracingInterceptor):
    """The SDK's own tracing of workflows and activities, and the orders in it. For clients; their workers follow."""

    def __init__(self, tracer: trace.Tracer) -> None:
        super().__init__(tracer)
        self.pool: Pool | None = None  # there while traces can be looked up and kept
        self._known: dict[str, str] = {}

    async def find(self, subjects: Sequence[str]) -> dict[str, Context]:
        """The trace context of each subject that has one."""
        unknown = [subject for subject in subjects if subject not in self._known]
        if unknown and self.pool:
            if len(self._known) > REMEMBERED:
                self._known.clear()
                unknown = list(subjects)
            self._known |= await _in_time(traceparents(self.pool, unknown), {}, "a trace could not be looked up")
        return {s: W3C.extract({"traceparent": self._known[s]}, Context()) for s in subjects if s in self._known}

    async def keep(self, traces: Mapping[str, str]) -> set[str]:
        """Keeps the `traceparent` of those subjects that had none, and tells which."""
        return await _in_time(keep(self.pool, traces), set(), "a trace could not be kept") if self.pool else set()

    async def found_or_begun(self, subjects: Sequence[str]) -> dict[str, Context]:
        """Whoever came without a trace (from an outbox, or while traces were off) has one from here on."""
        found = await self.find(subjects)
        spans = {
            subject: self.tracer.start_span("arrival", Context(), SpanKind.PRODUCER, {"lanka.order_id": subject})
            for subject in subjects
            if subject not in found
        }
        if not spans:
            return found
        begun = {subject: trace.set_span_in_context(span, Context()) for subject, span in spans.items()}
        kept = await self.keep({subject: _carrier(each)["traceparent"] for subject, each in begun.items()})
        for subject in kept:
            spans[subject].end()  # one without an end is not sent
        return found | {subject: begun[subject] for subject in kept}

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002, Temporal's name
        return _Dispatches(super().intercept_client(next), next, self)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return super().intercept_activity(_Consumers(next, self))


class _Dispatches(OutboundInterceptor):
    """Where orders are handed to their workflow. `sdks` traces every other call, `bare` none."""

    def __init__(self, sdks: OutboundInterceptor, bare: OutboundInterceptor, tracing: Orders) -> None:
        super().__init__(sdks)
        self._bare = bare
        self._tracing = tracing
        self._failed: str | None = None

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002, Temporal's name
        if input.start_signal != "received":
            return await super().start_workflow(input)
        subjects = [event.subject for event in input.start_signal_args[0]]
        alone = len(subjects) == 1
        orders = await self._tracing.found_or_begun(subjects)
        about: dict[str, str | int] = {"lanka.workflow_id": input.id, "lanka.orders": len(subjects)}
        span = self._tracing.tracer.start_span(
            "dispatch" if alone else "dispatch batch",
            context=orders.get(subjects[0], Context()) if alone else Context(),
            kind=SpanKind.PRODUCER,
            attributes=about | ({"lanka.order_id": subjects[0]} if alone else {}),
            links=[] if alone else [Link(_span_in(each)) for each in orders.values()],
        )
        payload = self._tracing.payload_converter.to_payloads([_carrier(trace.set_span_in_context(span))])[0]
        input.headers = {**input.headers, self._tracing.header_key: payload}
        try:
            handle = await self._bare.start_workflow(input)
        except Exception as error:
            span.record_exception(error)
            span.set_status(StatusCode.ERROR, type(error).__name__)
            # It is tried again until Temporal is back: only the first time is sent, a span without an end is not.
            if self._failed != input.id:
                span.end()
            self._failed = input.id
            raise
        span.end()
        if not alone:
            link = [Link(span.get_span_context())]
            for subject, order in orders.items():
                attributes = about | {"lanka.order_id": subject}
                self._tracing.tracer.start_span("dispatch", order, SpanKind.PRODUCER, attributes, link).end()
        return handle


class _Consumers(ActivityInboundInterceptor):
    """A span for each order of the batch, named by the link."""

    def __init__(self, next: ActivityInboundInterceptor, tracing: Orders) -> None:  # noqa: A002, Temporal's name
        super().__init__(next)
        self._tracing = tracing

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, Temporal's name
        batch = input.args[0] if input.args else None
        if not isinstance(batch, Batch):
            return await super().execute_activity(input)
        spans = self._begin(batch, await self._tracing.find([event.subject for event in batch.events]))
        _SPANS.set(spans)  # this attempt runs in a context of its own
        try:
            # A statement for several orders is below the span of the batch, one for a single order below the order's.
            with _within(*spans.values()) if len(batch.events) == len(spans) == 1 else nullcontext():
                processed: Processed = await super().execute_activity(input)
        except BaseException as error:
            for span in spans.values():
                span.set_status(StatusCode.ERROR, str(error)[:200])
            raise
        else:
            for event in processed.events:
                spans.get(event.subject, NOBODYS).set_attribute("lanka.made", short(event.type))
            for subject in processed.left_out:
                spans.get(subject, NOBODYS).set_attribute("lanka.left_out", True)  # noqa: FBT003
            return processed
        finally:
            for span in spans.values():
                span.end()

    def _begin(self, batch: Batch, orders: Mapping[str, Context]) -> dict[str, Span]:
        of_the_batch = trace.get_current_span()
        here = of_the_batch.get_span_context()
        spans: dict[str, Span] = {}
        for event in batch.events:
            if event.subject not in orders or event.subject in spans:
                continue
            order = orders[event.subject]
            in_its_trace = _span_in(order).trace_id == here.trace_id
            if not in_its_trace:
                of_the_batch.add_link(_span_in(order))
            spans[event.subject] = self._tracing.tracer.start_span(
                batch.link,
                context=None if in_its_trace else order,
                kind=SpanKind.CONSUMER,
                attributes={
                    "lanka.order_id": event.subject,
                    "lanka.event": short(event.type),
                    "lanka.attempt": activity.info().attempt,
                    "lanka.orders": len(batch.events),
                },
                links=[] if in_its_trace else [Link(here)],
            )
        return spans


def _within(span: Span) -> AbstractContextManager[Any]:
    return trace.use_span(span, set_status_on_exception=False)


def _span_in(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()


def _carrier(context: Context) -> dict[str, str]:
    carrier: dict[str, str] = {}
    W3C.inject(carrier, context)
    return carrier


def _with_trace_id(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    here = trace.get_current_span().get_span_context()
    if here.is_valid:
        event["trace_id"] = trace.format_trace_id(here.trace_id)
    return event
