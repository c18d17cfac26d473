"""The workflow that compares provider, orders, journal and stock once a day, and what starts it by the clock."""

from contextlib import suppress
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import stamina
    from temporalio import client
    from temporalio.service import RPCError

    from activities.reconcile import Reconcile
    from orders.discrepancies import Report
    from workflows.router import HEARTBEAT_TIMEOUT, OUTAGE_RETRIES

LONGEST = timedelta(hours=1)  # the books of a large shop have thousands of pages
NAME = "reconciliation"


@workflow.defn
class Reconciliation:
    @workflow.run
    async def run(self) -> Report:
        return await workflow.execute_activity_method(
            Reconcile.reconcile,
            task_queue="finalize",
            start_to_close_timeout=LONGEST,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=OUTAGE_RETRIES,
        )


@stamina.retry(on=RPCError, attempts=None, timeout=None, wait_max=60.0)
async def schedule_reconciliation(temporal: client.Client) -> None:
    """Every day at 03:00 UTC. A schedule that is there stays as it is: somebody may have moved or paused it."""
    daily = client.Schedule(
        action=client.ScheduleActionStartWorkflow(Reconciliation.run, id=NAME, task_queue="order-confirmation"),
        spec=client.ScheduleSpec(calendars=[client.ScheduleCalendarSpec(hour=[client.ScheduleRange(3)])]),
        policy=client.SchedulePolicy(overlap=client.ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(days=1)),
    )
    with suppress(client.ScheduleAlreadyRunningError):
        await temporal.create_schedule(NAME, daily)
