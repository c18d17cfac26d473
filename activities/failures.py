"""Sorts every failure of every consumer, in one place, and tells Temporal that the work is alive.

An outage is retried by Temporal without end. Anything else is a fault: not retried by Temporal, the router decides.
"""

import asyncio
import random
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from temporalio import activity
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from chain.batch import Batch, Processed
from chain.failures import Failure, Outage

OUTAGE = "outage"  # the type of failure that Temporal retries; every other type is a fault, named by its reason
FIRST_DELAY, LONGEST_DELAY = 0.25, 10.0
"""Seconds between two attempts during an outage: doubled each time up to the longest, each shifted at random by a
quarter, so that a dependency which comes back is not hit by everybody at once."""

HEARTBEAT = 1.0  # seconds between two heartbeats; the router gives up on a worker that was silent for several


FAULT = "fault"
FAULT_AGAIN = 10.0
"""Seconds within which the router brings what had a fault again, or parks it."""


class Told(Protocol):
    """Who is told at once of what fails, and of what works again. See `store.link_failures.LinkFailures`."""

    def failed(
        self, workflow_type: str, link: str, subjects: Sequence[str], kind: str, error: str, again_in: float
    ) -> None: ...
    def works(self, workflow_type: str, link: str, subjects: Sequence[str]) -> None: ...


class Failures(Interceptor):
    """Add to a worker's interceptors."""

    def __init__(self, told: Told | None = None) -> None:
        self._told = told

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002, Temporal's name
        return _Sorting(next, self._told)


class _Sorting(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, told: Told | None) -> None:  # noqa: A002, Temporal's name
        super().__init__(next)
        self._told = told

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, Temporal's name
        alive = asyncio.create_task(_heartbeat())
        together = _together(input)
        try:
            made = await super().execute_activity(input)
        except (ApplicationError, CancelledError):
            raise
        except Outage as outage:
            of_all = outage.for_all or "somebody who is needed is away"
            delay = _delay(outage)
            self._failed(input, OUTAGE, of_all, delay.total_seconds())
            raise ApplicationError(
                of_all if together else _utf_8(str(outage)), type=OUTAGE, next_retry_delay=delay
            ) from None
        except Exception as fault:  # noqa: BLE001, whatever it is, Temporal hears of it
            activity.logger.exception("a consumer failed unexpectedly")
            named = fault.for_all if isinstance(fault, Failure) else None
            self._failed(input, FAULT, named or reason_of(fault), FAULT_AGAIN)
            raise _fault(fault, together=together) from (None if together or not _is_utf_8(fault) else fault)
        else:
            self._works(input, made)
            return made
        finally:
            alive.cancel()

    def _failed(self, call: ExecuteActivityInput, kind: str, error: str, again_in: float) -> None:
        """`error` names none of the subjects."""
        batch = _batch(call)
        if self._told and batch:
            subjects = [event.subject for event in batch.events]
            self._told.failed(activity.info().workflow_type or "", batch.link, subjects, kind, error, again_in)

    def _works(self, call: ExecuteActivityInput, made: Any) -> None:
        batch = _batch(call)
        if self._told and batch and (batch.tried or activity.info().attempt > 1):
            left_out = made.left_out if isinstance(made, Processed) else ()
            subjects = [event.subject for event in batch.events if event.subject not in left_out]
            self._told.works(activity.info().workflow_type or "", batch.link, subjects)


def _batch(call: ExecuteActivityInput) -> Batch | None:
    batch = call.args[0] if call.args else None
    return batch if isinstance(batch, Batch) else None


def _together(call: ExecuteActivityInput) -> bool:
    """Whether the failure is shown on several subjects, though it may be about one of them."""
    batch = _batch(call)
    return batch is not None and len(batch.events) > 1


def _said(fault: Exception, *, together: bool) -> str:
    said = (fault.for_all if isinstance(fault, Failure) else None) if together else str(fault)
    return _utf_8(f"{type(fault).__name__}: {said or 'about one of several'}")


def _utf_8(text: str) -> str:
    """Half a surrogate pair cannot be sent to Temporal, which would never hear of the failure."""
    return text.encode(errors="backslashreplace").decode()


def _is_utf_8(fault: BaseException | None) -> bool:
    """Of what is sent with it: itself, and what it came from."""
    while fault is not None:
        if _utf_8(text := str(fault)) != text:
            return False
        fault = fault.__cause__ or fault.__context__
    return True


def _fault(fault: Exception, *, together: bool) -> ApplicationError:
    return ApplicationError(
        _said(fault, together=together), activity.info().attempt, type=reason_of(fault), non_retryable=True
    )


def reason_of(fault: Exception) -> str:
    """What failed alike has the same reason: the name of the exception in snake_case, `unreadable_event`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(fault).__name__).lower()


async def _heartbeat() -> None:
    while True:
        await asyncio.sleep(HEARTBEAT)
        activity.heartbeat()


def _delay(outage: Outage) -> timedelta:
    attempt = min(activity.info().attempt, 10)  # 2**10 is far beyond the longest delay
    seconds = max(min(FIRST_DELAY * 2 ** (attempt - 1), LONGEST_DELAY), outage.retry_after or 0)
    return timedelta(seconds=seconds * random.uniform(1, 1.25))  # noqa: S311, no secret
