"""Sorts every failure of every consumer, in one place, and tells Temporal that the work is alive.

An outage is retried by Temporal without end. Anything else is a fault: not retried by Temporal, the router decides.
"""

import asyncio
import random
import re
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from chain.batch import Batch
from chain.failures import Failure, Outage

OUTAGE = "outage"  # the type of failure that Temporal retries; every other type is a fault, named by its reason
FIRST_DELAY, LONGEST_DELAY = 0.25, 10.0
"""Seconds between two attempts during an outage: doubled each time up to the longest, each shifted at random by a
quarter, so that a dependency which comes back is not hit by everybody at once."""

HEARTBEAT = 1.0  # seconds between two heartbeats; the router gives up on a worker that was silent for several


class Failures(Interceptor):
    """Add to a worker's interceptors."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002, Temporal's name
        return _Sorting(next)


class _Sorting(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002, Temporal's name
        alive = asyncio.create_task(_heartbeat())
        together = _together(input)
        try:
            return await super().execute_activity(input)
        except (ApplicationError, CancelledError):
            raise
        except Outage as outage:
            message = (outage.for_all or "somebody who is needed is away") if together else str(outage)
            raise ApplicationError(message, type=OUTAGE, next_retry_delay=_delay(outage)) from None
        except Exception as fault:  # noqa: BLE001, whatever it is, Temporal hears of it
            activity.logger.exception("a consumer failed unexpectedly")
            raise _fault(fault, together=together) from (None if together else fault)
        finally:
            alive.cancel()


def _together(call: ExecuteActivityInput) -> bool:
    """Whether the failure is shown on several subjects, though it may be about one of them."""
    batch = call.args[0] if call.args else None
    return isinstance(batch, Batch) and len(batch.events) > 1


def _fault(fault: Exception, *, together: bool) -> ApplicationError:
    said = (fault.for_all if isinstance(fault, Failure) else None) if together else str(fault)
    message = f"{type(fault).__name__}: {said or 'about one of several'}"
    return ApplicationError(message, activity.info().attempt, type=reason_of(fault), non_retryable=True)


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
