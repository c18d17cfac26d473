"""A line in the log for each call of a consumer: with order, link and attempt, as every line that is logged in it."""

import asyncio
import time
from collections import Counter as Tally
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.failures import OUTAGE
from chain.batch import Batch, Processed
from chain.event import short
from telemetry.metrics import failed

log = structlog.get_logger()

GIVEN_UP = "given_up"
"""The reason where Temporal no longer waits for an attempt, and makes another."""


class ActivityLog(Interceptor):
    """Add to a worker's interceptors, before the one that sorts failures."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002, Temporal's name
        return _Logging(next)


class _Logging(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, Temporal's name
        batch = input.args[0] if input.args else None
        if not isinstance(batch, Batch):
            return await super().execute_activity(input)
        began = time.perf_counter()
        with bound_contextvars(link=batch.link, attempt=activity.info().attempt, **_subjects(batch)):
            try:
                processed: Processed = await super().execute_activity(input)
            except ApplicationError as failure:
                kind = OUTAGE if failure.type == OUTAGE else "fault"
                failed.labels(batch.link, kind, failure.type or "unknown").inc()
                log.warning("not consumed", kind=kind, reason=failure.type, error=failure.message, ms=_ms(began))
                raise
            except asyncio.CancelledError:
                limit = activity.info().start_to_close_timeout
                if limit and _ms(began) < limit.total_seconds() * 1000:  # the worker stops, or the workflow is gone
                    raise
                failed.labels(batch.link, OUTAGE, GIVEN_UP).inc()
                log.warning("not consumed", kind=OUTAGE, reason=GIVEN_UP, error="it took too long", ms=_ms(began))
                raise
            made = Tally(short(event.type) for event in processed.events)
            log.info("consumed", made=dict(made), left_out=len(processed.left_out), ms=_ms(began))
            return processed


def _subjects(batch: Batch) -> dict[str, Any]:
    subjects = [event.subject for event in batch.events]
    name = "order_id" if activity.info().workflow_type == "OrderConfirmation" else "subject"
    return {name: subjects[0]} if len(subjects) == 1 else {f"{name}s": subjects}


def _ms(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)
