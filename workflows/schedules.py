"""What runs by the clock."""

from contextlib import suppress
from datetime import timedelta

import stamina
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
)
from temporalio.service import RPCError

from workflows.reconciliation import Reconciliation

RECONCILIATION = "reconciliation"


@stamina.retry(on=RPCError, attempts=None, timeout=None, wait_max=60.0)
async def schedule_reconciliation(client: Client) -> None:
    """Every day at 03:00 UTC. A schedule that is there stays as it is: somebody may have moved or paused it."""
    daily = Schedule(
        action=ScheduleActionStartWorkflow(Reconciliation.run, id=RECONCILIATION, task_queue="order-confirmation"),
        spec=ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(3)])]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(days=1)),
    )
    with suppress(ScheduleAlreadyRunningError):
        await client.create_schedule(RECONCILIATION, daily)
